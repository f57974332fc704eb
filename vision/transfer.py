"""An image model that starts from the weights of another: other classes, another image size, another deployment."""

import functools
import math

import numpy as np
import tensorflow as tf

from official.checkpoints import pretrained
from widenet.weight_transfer import Row, counted, mismatch, shapes, split_names, transfer_model, transfer_parts


def load_pretrained(model, path, setting="path"):
    """Assigns what a model of the zoo can take from a saved one; see `transfer_weights`.

    Args:
      model: what vision.create_model returns.
      path: a run's workdir, a folder of checkpoints, a checkpoint's prefix, a SavedModel, or the handle of a published one
        (official.checkpoints.weights.read_weights).
      setting: what the caller's user calls the path, for messages.

    Returns:
      List of Rows, the table of what became of every weight; official.files.tables.text_table makes a text of it.

    Raises:
      ValueError: a path without weights, or the weights of another kind of model.
    """
    return pretrained.load_pretrained(model, path, transfer_weights, setting)


def transfer_weights(model, weights):
    """Assigns what a model takes of given weights; the rest of it keeps its initial values.

    The encoder's follow widenet.weight_transfer. Positions are resampled to the model's grid of patches. Head, representation
    layer and patch projection are taken as they are or not at all: the head where the number of classes is equal, the projection
    where a patch has as many values.

    Args:
      model: what vision.create_model returns.
      weights: {full name: array}, as official.checkpoints.weights.read_weights returns them.

    Returns:
      List of widenet.weight_transfer.Row, in the order of the model, then what else the source has.

    Raises:
      ValueError: where not one weight fits.
    """
    return transfer_model(model, weights, {"embedding": _transfer_embedding, "head": counted("bias", "classes")})


def resample_positions(positions, rows):
    """Bicubic resampling of learned positions to another grid, as for ViT (arXiv:2010.11929, section 3.2).

    Args:
      positions: float [1, n * n, width], of a square grid row by row.
      rows: side of the new grid.

    Returns:
      float32 [1, rows * rows, width].
    """
    side, width = math.isqrt(positions.shape[1]), positions.shape[2]
    grid = tf.image.resize(positions.reshape(1, side, side, width), (rows, rows), method="bicubic", antialias=False)
    return grid.numpy().reshape(1, rows * rows, width)


def _transfer_embedding(name, target, source):
    positions = functools.partial(_transfer_positions, split_names(target), split_names(source or {}))
    return transfer_parts(name, target, source, {"position_embedding": positions})


def _transfer_positions(targets, sources, name, target, source):
    """The grid's positions, resampled where there are other ones, and apart from them the class token's.

    Args:
      targets, sources: all parts of the embeddings, which tell whether there is a class token.
      name, target, source: as in widenet.weight_transfer.transfer_layer.
    """
    shape = shapes(target)
    if source is None or source[""].ndim != 3 or source[""].shape[2] != target[""].shape[2]:
        return {}, [Row(name, shape, "fresh", mismatch(target, source))]
    target, source = target[""], source[""]
    has_token, had_token = ("class_token" in layers for layers in (targets, sources))
    first, grid = np.split(source, [int(had_token)], axis=1)
    side, old_side = (math.isqrt(tokens) for tokens in (target.shape[1] - has_token, grid.shape[1]))
    if old_side**2 != grid.shape[1]:
        return {}, [Row(name, shape, "fresh", f"{grid.shape[1]} positions in the source, which are no square grid")]
    row = Row(name, shape, "loaded")
    if side != old_side:
        grid = resample_positions(grid, side)
        row = row._replace(result="resampled", reason=f"{old_side} x {old_side} to {side} x {side} patches")
    rows = [row]
    of_token = Row(f"{name} of the class token", f"[1, 1, {target.shape[2]}]", "dropped", "the model has no class token")
    if has_token and not had_token:
        first = target.numpy()[:, :1]
        rows.append(of_token._replace(result="fresh", reason="the source has no class token"))
    if had_token and not has_token:
        first = first[:, :0]
        rows.append(of_token)
    return {name: np.concatenate([first, grid], axis=1)}, rows
