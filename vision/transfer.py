"""Transfer of weights to an image model with other classes, another image size or another deployment."""

import functools
import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from official.checkpoints import pretrained
from official.checkpoints.weights import locate
from vision.embedding import CUBIC
from vision.models import settings_of
from vision.sizes import check_size, patch_grid, sides
from widenet import weight_transfer
from widenet.checks import check_choice
from widenet.weight_transfer import (
    Row,
    counted,
    mismatch,
    shapes,
    split_names,
    transfer_layer,
    transfer_model,
    transfer_parts,
)


class Patches(NamedTuple):
    """The patches that a model makes of an image.

    Attributes:
      values: (height, width, channels) of a patch.
      grid: (rows, columns) of patches.
      cubic: the model's `position_cubic`.
    """

    values: tuple
    grid: tuple
    cubic: float = CUBIC[0]


def load_pretrained(model, path, setting="path"):
    """Assigns the weights of a saved model that fit `model`, as `transfer_weights` does.

    Arguments, result and errors are those of official.checkpoints.pretrained.load_pretrained, without `transfer`.
    """
    found = locate(path, setting)
    transfer = functools.partial(transfer_weights, settings=pretrained.saved_settings(found, setting))
    return pretrained.load_pretrained(model, found, transfer, setting)


def transfer_weights(model, weights, settings=None):
    """Assigns the weights that fit a model; its other weights keep their initial values.

    The encoder's follow widenet.weight_transfer. Positions are resampled to the model's grid of patches. Head, representation
    layer and patch projection are taken if their shapes are equal: the head if the number of classes is, the projection if the
    height, width and channels of a patch are.

    Args:
      model: from vision.create_model.
      weights: {full name: array}, as official.checkpoints.weights.read_weights returns them.
      settings: dict with image_size, patch_size, channels and position_cubic (by which positions are resampled) of the model
        that the weights are of. Where they are not known, its grid is taken to be the model's if that has as many patches, and
        otherwise a square; of a patch, only the number of values is compared.

    Returns:
      List of Rows, in the order of the model, then of the source's other weights.

    Raises:
      ValueError: no weight fits.
    """
    return transfer_model(model, weights, _special(model, settings or {}))


def grow_model(child, parent, **options):
    """widenet.grow_model, with all layers but the encoder taken as by `transfer_weights`; both models of vision.create_model."""
    return weight_transfer.grow_model(child, parent, special=_special(child, settings_of(parent)), **options)


def _special(model, settings):
    """The layers that are taken in ways of their own, as of transfer_parts; `settings` of the source as of transfer_weights."""
    _, *image_size, channels = model.input_shape
    own = dict(image_size=image_size, patch_size=model.get_layer("embedding").patch_size, channels=channels)
    embedding = functools.partial(_transfer_embedding, _patches(own), _patches(settings))
    return {"embedding": embedding, "head": counted("bias", "classes")}


def resample_positions(positions, grid, old_grid=None, cubic=CUBIC[0]):
    """Bicubic resampling of learned positions to another grid (ViT, arXiv:2010.11929, section 3.2).

    Libraries differ in the cubic kernel and beyond the border, so a model keeps the rule of the library that it comes from.

    Args:
      positions: float [1, tokens, width], a grid in row-major order.
      grid: (rows, columns) of the new grid, or the side of a square one.
      old_grid: of the positions; None for a square.
      cubic: coefficient a of the kernel: -0.5 as tf.image.resize, which leaves out what lies beyond the border, or -0.75 as
        PyTorch's interpolate, which repeats the border.

    Returns:
      float32 [1, rows * columns, width].
    """
    width = positions.shape[2]
    old = sides(math.isqrt(positions.shape[1]) if old_grid is None else old_grid)
    positions, new = positions.reshape(*old, width), sides(grid)
    if cubic == CUBIC[0]:
        resized = tf.image.resize(positions[np.newaxis], new, method="bicubic", antialias=False).numpy()
    else:
        rows, columns = (_cubic_weights(*lengths, cubic) for lengths in zip(new, old, strict=True))
        resized = np.einsum("rp,cq,pqd->rcd", rows, columns, positions, optimize=True).astype(np.float32)
    return resized.reshape(1, -1, width)


def _cubic_weights(new, old, a):
    """Float64 [new, old]: how `new` values along an axis are made of `old` ones, with the border repeated.

    Args:
      a: of the cubic convolution kernel (Keys, "Cubic convolution interpolation for digital image processing", 1981, eq. 4).
    """
    places = (np.arange(new) + 0.5) * old / new - 0.5  # the middles of the new values
    weights = np.zeros((new, old))
    for offset in range(-1, 3):
        neighbours = np.floor(places) + offset
        d = np.abs(places - neighbours)
        kernel = np.where(d <= 1, (a + 2) * d**3 - (a + 3) * d**2 + 1, a * (d**3 - 5 * d**2 + 8 * d - 4))
        np.add.at(weights, (np.arange(new), np.clip(neighbours, 0, old - 1).astype(int)), kernel)
    return weights


def _patches(settings):
    """The Patches of a model with these settings, None if they lack a size or have a wrong value."""
    cubic = settings.get("position_cubic", CUBIC[0])
    try:
        image_size, patch_size = (check_size(name, settings[name]) for name in ("image_size", "patch_size"))
        check_choice("position_cubic", cubic, CUBIC)
    except (KeyError, ValueError):
        return None
    return Patches((*sides(patch_size), settings.get("channels")), patch_grid(image_size, patch_size), cubic)


def _transfer_embedding(patches, before, name, target, source):
    """As widenet.weight_transfer.transfer_layer; `patches` and `before` are those of the model and of the source, or None."""
    positions = functools.partial(_transfer_positions, split_names(target), split_names(source or {}), patches, before)
    projection = functools.partial(_transfer_projection, patches, before)
    return transfer_parts(name, target, source, {"position_embedding": positions, "projection": projection})


def _transfer_projection(patches, before, name, target, source):
    """Kernels of patches of 4 x 16 and 8 x 8 pixels have one shape, and their rows are other pixels."""
    values, rows = transfer_layer(name, target, source)
    if values and before and before.values != patches.values:
        new, old = (" x ".join(map(str, which.values)) for which in (patches, before))
        return {}, [rows[0]._replace(result="fresh", reason=f"patches of {new} values, {old} in the source")]
    return values, rows


def _transfer_positions(targets, sources, patches, before, name, target, source):
    """The grid's positions, resampled if the grids differ, and the class token's position.

    Args:
      targets, sources: all parts of the embeddings; they have the part "class_token" if the model has a class token.
      patches, before: as of _transfer_embedding.
      name, target, source: as in widenet.weight_transfer.transfer_layer.
    """
    shape = shapes(target)
    if source is None or source[""].ndim != 3 or source[""].shape[2] != target[""].shape[2]:
        return {}, [Row(name, shape, "fresh", mismatch(target, source))]
    target, source = target[""], source[""]
    has_token, had_token = ("class_token" in layers for layers in (targets, sources))
    first, positions = np.split(source, [int(had_token)], axis=1)
    grid, old_grid = patches.grid, _old_grid(positions.shape[1], before, patches.grid)
    if old_grid is None:
        reason = f"{positions.shape[1]} positions in the source, which are not a square grid"
        return {}, [Row(name, shape, "fresh", reason)]
    row = Row(name, shape, "loaded")
    if grid != old_grid:
        positions = resample_positions(positions, grid, old_grid, before.cubic if before else CUBIC[0])
        old, new = (f"{rows} x {columns}" for rows, columns in (old_grid, grid))
        row = row._replace(result="resampled", reason=f"{old} to {new} patches")
    rows = [row]
    of_token = Row(f"{name} of the class token", f"[1, 1, {target.shape[2]}]", "dropped", "the model has no class token")
    if has_token and not had_token:
        first = target.numpy()[:, :1]
        rows.append(of_token._replace(result="fresh", reason="the source has no class token"))
    if had_token and not has_token:
        first = first[:, :0]
        rows.append(of_token)
    return {name: np.concatenate([first, positions], axis=1)}, rows


def _old_grid(tokens, before, grid):
    """The source's grid, as `transfer_weights` says; None if it is neither known nor a square."""
    square = sides(math.isqrt(tokens))
    candidates = [before.grid] if before else []
    return next((found for found in (*candidates, grid, square) if math.prod(found) == tokens), None)
