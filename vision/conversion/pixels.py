"""The mean and deviation by which a published model normalizes pixels; they become a part of the patch projection."""

from typing import NamedTuple

import numpy as np

from official.conversion.files import read_json
from vision.sizes import plain_size, sides

FILE = "preprocessor_config.json"  # in a folder of Hugging Face
CENTERED = (0.5,)
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# What the published models of a type were trained with, where the file is not there.
USUAL = {
    "vit": (CENTERED, CENTERED),
    "deit": (IMAGENET_MEAN, IMAGENET_DEVIATION),
    "dinov2": (IMAGENET_MEAN, IMAGENET_DEVIATION),
}
BILINEAR, BICUBIC = 2, 3  # of Pillow


class Pixels(NamedTuple):
    """How a model is given images.

    Attributes:
      scale, shift: float64 [channels]; of a pixel x in [-1, 1] the model is given x * scale + shift.
      eval_crop: the share of an image of which the centre is taken (vision.preprocessing.DATA).
      notes: list of sentences that the user should read.
    """

    scale: np.ndarray
    shift: np.ndarray
    eval_crop: float
    notes: list


def read_pixels(source, kind, channels, image_size, mean=None, deviation=None):
    """The Pixels of a source in Hugging Face's layout.

    Args:
      source: an official.conversion.source.Source.
      kind: a key of USUAL.
      channels: number of channels.
      image_size: of the model.
      mean, deviation: sequences of numbers that the user gives, for values from 0 to 1; they take the place of those of the file.

    Raises:
      ValueError: a file that cannot be read, or values that are not numbers, in words that complete "... is not allowed: ".
    """
    file = source.folder / FILE
    config = read_json(file) if file.is_file() else {}
    told = {name: config[name] for name in ("image_mean", "image_std") if config.get(name) is not None}
    if config.get("do_normalize") is False:
        told = dict(image_mean=(0.0,), image_std=(1.0,))
    given = {name: value for name, value in (("image_mean", mean), ("image_std", deviation)) if value is not None}
    usual = dict(zip(("image_mean", "image_std"), USUAL[kind], strict=True))
    for name, value in usual.items():
        if len(value) not in (1, channels) and name not in {**told, **given}:
            needed = f"the command vision.convert needs --{name}"
            raise ValueError(f"it has {channels} channels, and nothing tells how they are normalized: {needed}")
    used = {**usual, **told, **given}
    mean, deviation = (_numbers(value, channels, name) for name, value in used.items())
    if not (deviation > 0).all():
        raise ValueError(f"image_std={used['image_std']!r} must be above 0")
    # Most files divide pixels from 0 to 255 by 255 before they are normalized.
    factor = _numbers(config.get("rescale_factor", 1 / 255), 1, "rescale_factor")[0] if config.get("do_rescale", True) else 1.0
    half = np.round(127.5 * factor, 9)
    if not ((mean >= 0) & (mean <= 2 * half)).all():
        raise ValueError(f"image_mean={used['image_mean']!r} must be from 0 to {2 * half:g}, as the pixels are")
    crop, notes = _crop(config, image_size)
    unsaid = [f"{name}={tuple(value)}" for name, value in used.items() if name not in told and name not in given]
    if unsaid:
        notes.append(f"nothing tells how pixels are normalized: as usual for such models, by {', '.join(unsaid)}")
    if config.get("resample") == BICUBIC:
        notes.append(f"images are resized bicubically by {FILE}, and bilinearly here, which changes answers a little")
    return Pixels(half / deviation, (half - mean) / deviation, crop, notes)


def fold_pixels(weights, pixels):
    """Makes the patch projection one of pixels in [-1, 1]; there is no padding, so this is exact.

    Args:
      weights: {full name: float32 array} of a model of this zoo, which are replaced.
      pixels: a Pixels.
    """
    kernel, bias = "embedding/projection/kernel", "embedding/projection/bias"
    by_pixel = weights[kernel].astype(np.float64).reshape(-1, len(pixels.scale), weights[kernel].shape[1])
    constant = np.einsum("pcd,c->d", by_pixel, pixels.shift)
    weights[kernel] = (by_pixel * pixels.scale[:, np.newaxis]).astype(np.float32).reshape(weights[kernel].shape)
    weights[bias] = (weights[bias] + constant).astype(np.float32)


def _numbers(value, count, name):
    """Float64 [count] of a number or a sequence of one or `count` numbers."""
    try:
        numbers = np.broadcast_to(np.asarray(value, np.float64).reshape(-1), [count])
    except (TypeError, ValueError):
        numbers = np.array([np.nan])
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name}={value!r} must be " + (f"{count} numbers, one for each channel" if count > 1 else "a number"))
    return numbers


def _crop(config, image_size):
    """(data.eval_crop, notes) of the sizes in a file: to which images are resized, and of the box in their middle."""
    size, crop = config.get("size"), config.get("crop_size")
    crop = (crop.get("height"), crop.get("width")) if isinstance(crop, dict) else (crop, crop)
    if not (config.get("do_center_crop") and all(isinstance(side, int) and side > 0 for side in crop)):
        return 0.0, []
    if isinstance(size, dict):
        size = size.get("shortest_edge") or size.get("height")
    share = min(crop) / size if isinstance(size, int) and size >= min(crop) else 0.0
    if crop == sides(image_size):
        return share, []
    height, width = sides(image_size)
    note = f"the model is of images of {height} x {width} pixels, and {FILE} has {crop[0]} x {crop[1]}"
    return share, [f"{note}: image_size={plain_size(crop)} makes a model of these, with resampled positions"]


def processor_of(settings, eval_crop):
    """The content of FILE for a model of this zoo: pixels in [-1, 1], and the centre of an image if `eval_crop` is not 0."""
    height, width = sides(settings["image_size"])
    half = [0.5] * settings["channels"]
    resized = dict(image_processor_type="ViTImageProcessor", size={"height": height, "width": width})
    if eval_crop:
        shortest = {"shortest_edge": round(min(height, width) / eval_crop)}
        crop = dict(do_center_crop=True, crop_size={"height": height, "width": width})
        resized = dict(image_processor_type="BitImageProcessor", size=shortest, **crop)
    scaled = dict(do_rescale=True, rescale_factor=1 / 255, do_normalize=True, image_mean=half, image_std=half)
    return dict(**resized, do_resize=True, resample=BILINEAR, **scaled)
