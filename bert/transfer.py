"""Starts a text model from the weights of another one with a different task, deployment, depth, vocabulary or length."""

import numpy as np

from official.checkpoints import pretrained
from widenet import weight_transfer
from widenet.weight_transfer import Row, counted, shapes, transfer_layer, transfer_model, transfer_parts


def load_pretrained(model, path, setting="path"):
    """Assigns the weights of a saved model that fit; see `transfer_weights`.

    Args:
      model: of bert.create_model.
      path: a run's workdir, a folder of checkpoints, a checkpoint's prefix, a SavedModel, or the handle of a published one.
      setting: name of the path in messages.

    Returns:
      List of Rows, the source of each weight; official.files.tables.text_table formats it.

    Raises:
      ValueError: a path without weights, or with weights of another kind of model.
    """
    return pretrained.load_pretrained(model, path, transfer_weights, setting)


def transfer_weights(model, weights):
    """Assigns the given weights that fit a model; its other weights keep their initial values.

    The encoder's weights follow the rules of widenet. Of the position embeddings, as many are taken as both models have. The word
    embedding and the masked-LM head are taken if the vocabularies have equal sizes, which must then be the same vocabulary, and
    the classifier if the numbers of classes are equal.

    Args:
      model: of bert.create_model.
      weights: {full name: array}, of official.checkpoints.weights.read_weights.

    Returns:
      List of Rows, in the order of the model, followed by unused weights of the source.

    Raises:
      ValueError: no weight fits.
    """
    return transfer_model(model, weights, SPECIAL)


def grow_model(child, parent, **options):
    """widenet.grow_model, with all layers but the encoder taken as by `transfer_weights`; both models of bert.create_model."""
    return weight_transfer.grow_model(child, parent, special=SPECIAL, **options)


def _transfer_embedding(name, target, source):
    special = {
        "word_embedding": counted("", "words"),
        "position_embedding": _transfer_positions,
        "type_embedding": counted("", "types"),
    }
    return transfer_parts(name, target, source, special)


def _transfer_positions(name, target, source):
    """Takes the first positions, as many as both have, because a position means the same in both models."""
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


# The layers that are taken in ways of their own.
SPECIAL = {
    "embedding": _transfer_embedding,
    "mlm_logits": counted("bias", "words"),
    "classifier": counted("bias", "classes"),
}
