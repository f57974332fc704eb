"""Models that start from saved weights, whatever they are models of."""

from official.checkpoints.weights import locate, read_weights
from official.files.tables import text_table


def load_pretrained(model, path, transfer, setting="path"):
    """Assigns what a model can take from a saved one.

    Args:
      model: a built model.
      path: a run's workdir, a folder of checkpoints, a checkpoint's prefix, a SavedModel, or the handle of a published one
        (official.checkpoints.weights.read_weights).
      transfer: function of the model and {full name: array} that assigns what fits and returns rows of strings, or raises a
        ValueError whose words go on after "... is not allowed: ".
      setting: what the caller's user calls the path, for messages.

    Returns:
      What `transfer` returns; official.files.tables.text_table makes a text of it.

    Raises:
      ValueError: a path without weights, or with those of another kind of model.
      OSError: a repository of handles that cannot be read.
    """
    found = locate(path, setting)
    weights = read_weights(found, setting)
    try:
        return transfer(model, weights)
    except ValueError as error:
        raise ValueError(f"{setting}={found.given!r} is not allowed: {error}") from error


def create_pretrained(build, path, transfer):
    """A new model that starts from a saved one; prints what became of the weights.

    Args:
      build: function that gives the model.
      path, transfer: as in `load_pretrained`.

    Raises:
      ValueError, OSError: as `load_pretrained`, and of a wrong path before anything is built.
    """
    found = locate(path, setting="pretrained")
    model = build()
    print(f"Starting from {path}:\n{text_table(load_pretrained(model, found, transfer, setting='pretrained'))}")
    return model
