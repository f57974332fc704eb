"""A text model that starts from the weights of another: another task, deployment, depth, vocabulary or number of positions."""

import numpy as np

from official import pretrained
from widenet.weight_transfer import Row, counted, shapes, transfer_layer, transfer_model, transfer_parts


def load_pretrained(model, path, setting="path"):
    """Assigns what a model of the zoo can take from a saved one; see `transfer_weights`.

    Args:
      model: what bert.create_model returns.
      path: a run's workdir, a folder of checkpoints, a checkpoint's prefix, a SavedModel, or the handle of a published one
        (official.weights.read_weights).
      setting: what the caller's user calls the path, for messages.

    Returns:
      List of Rows, the table of what became of every weight; official.tables.text_table makes a text of it.

    Raises:
      ValueError: a path without weights, or the weights of another kind of model.
    """
    return pretrained.load_pretrained(model, path, transfer_weights, setting)


def transfer_weights(model, weights):
    """Assigns what a model takes of given weights; the rest of it keeps its initial values.

    The encoder's follow widenet.weight_transfer. Of the positions as many are taken as both have. All else is taken as it is or
    not at all: word embedding and masked-word head where the vocabularies are of equal size, which must then be the same, and the
    classifier where the number of classes is equal.

    Args:
      model: what bert.create_model returns.
      weights: {full name: array}, as official.weights.read_weights returns them.

    Returns:
      List of widenet.weight_transfer.Row, in the order of the model, then what else the source has.

    Raises:
      ValueError: where not one weight fits.
    """
    special = {
        "embedding": _transfer_embedding,
        "mlm_logits": counted("bias", "words"),
        "classifier": counted("bias", "classes"),
    }
    return transfer_model(model, weights, special)


def _transfer_embedding(name, target, source):
    special = {
        "word_embedding": counted("", "words"),
        "position_embedding": _transfer_positions,
        "type_embedding": counted("", "types"),
    }
    return transfer_parts(name, target, source, special)


def _transfer_positions(name, target, source):
    """The first ones, which both have: position 7 is as far from the start in one model as in the other."""
    if source is None or source[""].shape[1:] != tuple(target[""].shape[1:]):
        return transfer_layer(name, target, source)
    positions, before = target[""].shape[0], source[""].shape[0]
    row = Row(name, shapes(target), "loaded")
    if positions <= before:
        reason = f"the first {positions} of {before}" if positions < before else ""
        return {name: source[""][:positions]}, [row._replace(reason=reason)]
    fresh = target[""].numpy()[before:]
    rows = [row, Row(f"{name}[{before}:]", str(list(fresh.shape)), "fresh", f"{positions} positions, {before} in the source")]
    return {name: np.concatenate([source[""], fresh])}, rows
