"""Models that start from saved weights."""

from official.checkpoints.weights import locate, read_weights
from official.files.tables import text_table


def load_pretrained(model, path, transfer, setting="path"):
    """Assigns the weights of a saved model that fit to another model.

    Args:
      model: a built model.
      path: of the saved model, or its handle (official.checkpoints.weights.locate).
      transfer: function of the model and {full name: array} that assigns what fits and returns rows of strings, or raises a
        ValueError in words that complete "... is not allowed: ".
      setting: what the user calls the path, for messages.

    Returns:
      The rows of `transfer`; official.files.tables.text_table makes a text of them.

    Raises:
      ValueError: a path without weights, or with weights of another kind of model.
      OSError: a repository of handles that cannot be read.
    """
    found = locate(path, setting)
    weights = read_weights(found, setting)
    try:
        return transfer(model, weights)
    except ValueError as error:
        raise ValueError(f"{setting}={found.given!r} is not allowed: {error}") from error


def create_pretrained(build, path, transfer):
    """A new model that starts from a saved one; prints the table of what became of the weights.

    Args:
      build: function that returns the model; not called for a wrong path.
      path, transfer: as in `load_pretrained`.

    Raises:
      ValueError, OSError: as `load_pretrained`.
    """
    found = locate(path, setting="pretrained")
    model = build()
    print(f"Starting from {path}:\n{text_table(load_pretrained(model, found, transfer, setting='pretrained'))}")
    return model
