"""An image model that starts from the weights of another: other classes, another image size, another deployment."""

import math

import numpy as np
import tensorflow as tf

from official.weights import read_weights
from widenet.transfer import Row, full_names, mismatch, shapes, split_names, transfer_encoder, transfer_layer, weights_by_name

PARTS = ("embedding", "encoder", "representation", "head")


def load_pretrained(model, path, setting="path"):
    """Assigns what a model of the zoo can take from a saved one; see `transfer_weights`.

    Args:
      model: what vision.create_model returns.
      path: a run's workdir, a folder of checkpoints, a checkpoint's prefix or a SavedModel (official.weights.read_weights).
      setting: what the caller's user calls the path, for messages.

    Returns:
      List of Rows, the table of what became of every weight; official.tables.text_table makes a text of it.

    Raises:
      ValueError: a path without weights, or the weights of another kind of model.
    """
    weights = read_weights(path, setting)
    try:
        return transfer_weights(model, weights)
    except ValueError as error:
        raise ValueError(f"{setting}={str(path)!r} is not allowed: {error}") from error


def transfer_weights(model, weights):
    """Assigns what a model takes of given weights; the rest of it keeps its initial values.

    The encoder's follow widenet.transfer. Positions are resampled to the model's grid of patches. Head, representation layer and
    patch projection are taken as they are or not at all: the head where the number of classes is equal, the projection where a
    patch has as many values.

    Args:
      model: what vision.create_model returns.
      weights: {full name: array}, as official.weights.read_weights returns them.

    Returns:
      List of widenet.transfer.Row, in the order of the model, then what else the source has.

    Raises:
      ValueError: where not one weight fits.
    """
    targets, sources = split_names(weights_by_name(model)), split_names(weights)
    for whose, layers in (("the model's", targets), ("its", sources)):
        if "attention_0" in layers:
            raise ValueError(f"{whose} weights must have their full names, which loading a .keras file does not keep")
    parts = [
        _transfer_embedding(targets["embedding"], sources.get("embedding", {})),
        transfer_encoder(model.get_layer("encoder"), weights),
        transfer_layer("representation", targets.get("representation"), sources.get("representation")),
        _transfer_head(targets.get("head"), sources.get("head")),
    ]
    parts += [transfer_layer(name, None, layer) for name, layer in sources.items() if name not in PARTS]
    values = {name: array for part, _ in parts for name, array in part.items()}
    rows = [row for _, part in parts for row in part]
    if not values:
        first = next(row for row in rows if row.result == "fresh")
        raise ValueError(
            f"it must be of a model like {model.name}, which none of its {len(weights)} weights fits "
            f"({first.weight}: {first.reason})"
        )
    for name, weight in weights_by_name(model).items():
        if name in values:
            weight.assign(values[name].astype(weight.dtype.as_numpy_dtype))
    return rows


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


def _transfer_embedding(target, source):
    targets, sources = split_names(target), split_names(source)
    parts = [transfer_layer(name, targets.get(name), sources.get(name)) for name in ("projection", "class_token")]
    parts.append(_transfer_positions(targets, sources))
    known = ("projection", "class_token", "position_embedding")
    parts += [transfer_layer(name, None, layer) for name, layer in sources.items() if name not in known]
    values = {name: array for part, _ in parts for name, array in full_names("embedding", part).items()}
    return values, [row._replace(weight=f"embedding/{row.weight}") for _, rows in parts for row in rows]


def _transfer_positions(targets, sources):
    """The grid's positions, resampled where there are other ones, and apart from them the class token's."""
    name = "position_embedding"
    target, source = targets[name][""], sources.get(name, {}).get("")
    shape = shapes(targets[name])
    if source is None or source.ndim != 3 or source.shape[2] != target.shape[2]:
        return {}, [Row(name, shape, "fresh", mismatch(targets[name], sources.get(name)))]
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


def _transfer_head(target, source):
    """The head as it is, with the numbers of classes where they are why it is not taken."""
    values, rows = transfer_layer("head", target, source)
    if target and source and target.keys() == source.keys():
        classes, before = (layer["bias"].shape[0] for layer in (target, source))
        if classes != before:
            rows = [row._replace(reason=f"{classes} classes, {before} in the source") for row in rows]
    return values, rows
