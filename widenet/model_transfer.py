"""A whole model that starts from the weights of another: an encoder, and layers before and after it."""

from widenet.transfer import split_names, transfer_encoder, transfer_layer, weights_by_name


def transfer_model(model, weights, special):
    """Assigns what a model takes of given weights; the rest of it keeps its initial values.

    Args:
      model: a built model with an Encoder called "encoder".
      weights: {full name: array}.
      special: as in `transfer_parts`, for layers other than the encoder.

    Returns:
      List of widenet.transfer.Row, in the order of the model, then what else the source has.

    Raises:
      ValueError: where not one weight fits, in words that go on after "... is not allowed: "; nothing is changed then.
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
    for name, array in values.items():
        targets[name].assign(array.astype(targets[name].dtype.as_numpy_dtype))
    return rows


def transfer_parts(name, target, source, special):
    """A layer of several, each of which is taken as it is or not at all, or as a function of its own says.

    Args:
      name: of the layer; "" for a whole model.
      target: {name within the layer: variable}.
      source: {name within the layer: array}, or None where there is no such layer.
      special: {name of a part: function}; a function is called with the part's name, target and source, as
        widenet.transfer.transfer_layer is, and returns the same.

    Returns:
      ({full name: array}, list of Rows).
    """
    targets, sources = split_names(target), split_names(source or {})
    prefix = f"{name}/" if name else ""
    values, rows = {}, []
    for part in dict.fromkeys([*targets, *sources]):
        found, told = special.get(part, transfer_layer)(part, targets.get(part), sources.get(part))
        values |= {prefix + inner: array for inner, array in found.items()}
        rows += [row._replace(weight=prefix + row.weight) for row in told]
    return values, rows


def counted(weight, what):
    """A function for `special`: a layer as it is, with numbers as the reason where they are why it is not taken.

    Args:
      weight: name within the layer of the weight whose first axis is that number.
      what: what is counted, such as "classes".
    """

    def transfer(name, target, source):
        values, rows = transfer_layer(name, target, source)
        if target and source and target.keys() == source.keys():
            number, before = (layer[weight].shape[0] for layer in (target, source))
            if number != before:
                rows = [row._replace(reason=f"{number} {what}, {before} in the source") for row in rows]
        return values, rows

    return transfer
