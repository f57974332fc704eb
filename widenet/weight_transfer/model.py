"""What a whole model takes from the weights of another: its encoder, and the layers before and after it."""

from widenet.weight_transfer.encoder import transfer_encoder
from widenet.weight_transfer.layers import split_names, transfer_parts, weights_by_name


def transfer_model(model, weights, special):
    """Assigns the weights that a model can take; its other weights keep their initial values.

    Args:
      model: a built model with an Encoder called "encoder".
      weights: {full name: array}.
      special: as in `transfer_parts`, for layers other than the encoder.

    Returns:
      List of Rows, in the order of the model, then the layers that only the source has.

    Raises:
      ValueError: if no weight fits, with a message that can follow "... is not allowed: "; then nothing is changed.
    """
    targets = weights_by_name(model)
    for whose, names in (("the model's", targets), ("its", weights)):
        if "attention_0" in split_names(names):
            raise ValueError(f"{whose} weights must have their full names, which loading a .keras file does not keep")
    encoder = model.get_layer("encoder")
    special = {**special, encoder.name: lambda name, target, source: transfer_encoder(encoder, weights)}
    values, rows = transfer_parts("", targets, weights, special)
    if not values:
        first = next(row for row in rows if row.result == "fresh")
        raise ValueError(
            f"it must be of a model like {model.name}, which none of its {len(weights)} weights fits "
            f"({first.weight}: {first.reason})"
        )
    assign_weights(model, values)
    return rows


def assign_weights(model, values):
    """Gives weights of a model the values {full name: array}, in their own dtypes."""
    targets = weights_by_name(model)
    for name, array in values.items():
        targets[name].assign(array.astype(targets[name].dtype.as_numpy_dtype))
