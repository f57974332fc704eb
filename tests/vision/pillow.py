"""The image operations as Pillow makes them, and images to try them on."""

import numpy as np
from PIL import Image, ImageEnhance, ImageOps


def pictures(channels):
    """{name: uint8 [height, width, channels]}: noise, smooth slopes, one value, and sides of 1 and 2 pixels."""
    random = np.random.default_rng(channels)
    y, x = np.mgrid[0:40, 0:53]
    slopes = np.stack([2 * x + 3 * y, 230 - 4 * x + y, 60 + 50 * np.sin(x / 9) * np.cos(y / 5)], axis=-1)
    return {
        "noise": random.integers(0, 256, (31, 46, channels), dtype=np.uint8),
        "dull": random.integers(90, 140, (24, 24, channels), dtype=np.uint8),
        "slopes": np.clip(slopes, 0, 255)[..., :channels].astype(np.uint8),
        "black": np.zeros((5, 7, channels), np.uint8),
        "one value": np.full((20, 30, channels), 77, np.uint8),
        "column": random.integers(0, 256, (300, 1, channels), dtype=np.uint8),
        "row": random.integers(0, 256, (1, 9, channels), dtype=np.uint8),
        "two columns": random.integers(0, 256, (6, 2, channels), dtype=np.uint8),
        "pixel": random.integers(0, 256, (1, 1, channels), dtype=np.uint8),
    }


def by_pillow(name, image, *strength):
    """The operation of vision.image_operations of that name, by Pillow."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    return np.asarray(OPERATIONS[name](picture, *strength)).reshape(image.shape)


def _affine(picture, *matrix):
    return picture.transform(picture.size, Image.AFFINE, matrix, resample=Image.NEAREST, fillcolor=_grey(picture))


def _grey(picture):
    return (128,) * len(picture.getbands()) if picture.mode == "RGB" else 128


OPERATIONS = {
    "identity": lambda picture: picture,
    "auto_contrast": ImageOps.autocontrast,
    "equalize": ImageOps.equalize,
    "rotate": lambda picture, degrees: picture.rotate(degrees, resample=Image.NEAREST, fillcolor=_grey(picture)),
    "solarize": ImageOps.solarize,
    "color": lambda picture, factor: ImageEnhance.Color(picture).enhance(factor),
    "posterize": ImageOps.posterize,
    "contrast": lambda picture, factor: ImageEnhance.Contrast(picture).enhance(factor),
    "brightness": lambda picture, factor: ImageEnhance.Brightness(picture).enhance(factor),
    "sharpness": lambda picture, factor: ImageEnhance.Sharpness(picture).enhance(factor),
    "shear_x": lambda picture, amount: _affine(picture, 1, amount, 0, 0, 1, 0),
    "shear_y": lambda picture, amount: _affine(picture, 1, 0, 0, amount, 1, 0),
    "translate_x": lambda picture, fraction: _affine(picture, 1, 0, fraction * picture.width, 0, 1, 0),
    "translate_y": lambda picture, fraction: _affine(picture, 1, 0, 0, 0, 1, fraction * picture.height),
}
