"""Transfer of weights to an image model with other classes, another image size or another deployment."""

import functools
import math

import numpy as np
import tensorflow as tf

from official.checkpoints import pretrained
from widenet.weight_transfer import Row, counted, mismatch, shapes, split_names, transfer_model, transfer_parts


def load_pretrained(model, path, setting="path"):
    """Assigns the weights of a saved model that fit `model`, as `transfer_weights` does.

    Arguments, result and errors are those of official.checkpoints.pretrained.load_pretrained, without `transfer`.
    """
    return pretrained.load_pretrained(model, path, transfer_weights, setting)


def transfer_weights(model, weights):
    """Assigns the weights that fit a model; its other weights keep their initial values.

    The encoder's follow widenet.weight_transfer. Positions are resampled to the model's grid of patches. Head, representation
    layer and patch projection are taken if their shapes are equal: the head if the number of classes is, the projection if the
    number of values in a patch is.

    Args:
      model: from vision.create_model.
      weights: {full name: array}, as official.checkpoints.weights.read_weights returns them.

    Returns:
      List of Rows, in the order of the model, then of the source's other weights.

    Raises:
      ValueError: no weight fits.
    """
    return transfer_model(model, weights, {"embedding": _transfer_embedding, "head": counted("bias", "classes")})


def resample_positions(positions, rows):
    """Bicubic resampling of learned positions to another grid (ViT, arXiv:2010.11929, section 3.2).

    Args:
      positions: float [1, n * n, width], a square grid in row-major order.
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
    """The grid's positions, resampled if the grids differ, and the class token's position.

    Args:
      targets, sources: all parts of the embeddings; they have the part "class_token" if the model has a class token.
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
        return {}, [Row(name, shape, "fresh", f"{grid.shape[1]} positions in the source, which are not a square grid")]
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
