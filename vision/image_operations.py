"""The image operations of RandAugment (arXiv:1909.13719) in TensorFlow, bit for bit as Pillow computes them.

Axes: H height, W width, C channels (1 or 3). An operation takes a uint8 image [H, W, C], H and W static or dynamic, and returns
one of the same shape; it raises ValueError for any other image. Strengths are numbers or scalar tensors: float64, or float32 for
factors. Docstrings name the function of Pillow.
"""

import functools
import math

import tensorflow as tf

from vision.decoding import to_grey
from widenet.checks import check_count, refuse

FILL = 128  # value of pixels from outside the image


def _image_operation(operation):
    """Decorator that refuses anything but a uint8 image, and keeps the static shape."""

    @functools.wraps(operation)
    def checked(image, *args, **kwargs):
        image = tf.convert_to_tensor(image)
        if image.dtype != tf.uint8 or image.shape.rank != 3 or image.shape[-1] not in (1, 3):
            refuse("image", f"{image.dtype.name} {image.shape}", "uint8 [height, width, 1 or 3]")
        result = operation(image, *args, **kwargs)
        result.set_shape(image.shape)
        return result

    return checked


@_image_operation
def identity(image):
    """The unchanged image."""
    return image


@_image_operation
def auto_contrast(image):
    """Stretches each channel linearly to [0, 255]; a constant channel is unchanged. `ImageOps.autocontrast`."""
    # In float64 and with the steps of Pillow, so that rounding down gives the same.
    low = tf.cast(tf.reduce_min(image, axis=[0, 1]), tf.float64)
    span = tf.cast(tf.reduce_max(image, axis=[0, 1]), tf.float64) - low
    scale = 255 / tf.where(span > 0, span, 255)
    offset = tf.where(span > 0, -low * scale, 0)
    return _to_uint8(tf.cast(image, tf.float64) * scale + offset)


@_image_operation
def equalize(image):
    """Equalizes the histogram of each channel. `ImageOps.equalize`."""
    levels, channels = tf.cast(image, tf.int32), image.shape[-1]
    by_channel = tf.transpose(tf.reshape(levels, [-1, channels]))
    histogram = tf.math.bincount(by_channel, minlength=256, maxlength=256, axis=-1)
    pixels_below = tf.cumsum(histogram, axis=-1, exclusive=True)
    # As in Pillow, the pixels of the highest value are left out, and all others share 255 steps.
    highest = tf.reduce_max(by_channel, axis=-1, keepdims=True)
    step = tf.gather(pixels_below, highest, batch_dims=1) // 255
    table = tf.minimum((step // 2 + pixels_below) // tf.maximum(step, 1), 255)
    table = tf.where(step == 0, tf.range(256), table)
    return tf.gather(tf.reshape(tf.cast(table, tf.uint8), [-1]), levels + 256 * tf.range(channels))


@_image_operation
def solarize(image, threshold):
    """Inverts the values of at least `threshold`, in [0, 256]. `ImageOps.solarize`."""
    first = tf.cast(tf.math.ceil(tf.convert_to_tensor(threshold, tf.float64)), tf.int32)
    return tf.where(tf.cast(image, tf.int32) < first, image, 255 - image)


@_image_operation
def posterize(image, bits):
    """Keeps the `bits` highest bits of each value, a Python int from 1 to 8. `ImageOps.posterize`."""
    check_count("bits", bits, minimum=1, maximum=8)
    return tf.bitwise.bitwise_and(image, tf.constant(256 - 2 ** (8 - bits), tf.uint8))


@_image_operation
def color(image, factor):
    """Blends the grey image (factor 0) with the image (1), or extrapolates; a grey image is unchanged. `ImageEnhance.Color`."""
    if image.shape[-1] == 1:
        return image
    return _blend(_to_grey(image), image, factor)


@_image_operation
def contrast(image, factor):
    """Blends the grey image's rounded mean (factor 0) with the image (1), or extrapolates. `ImageEnhance.Contrast`."""
    grey = tf.cast(_to_grey(image), tf.int64)
    pixels = tf.size(grey, tf.int64)
    mean = (2 * tf.reduce_sum(grey) + pixels) // (2 * pixels)
    return _blend(mean, image, factor)


@_image_operation
def brightness(image, factor):
    """Multiplies each value by the factor. `ImageEnhance.Brightness`."""
    return _blend(0, image, factor)


@_image_operation
def sharpness(image, factor):
    """Blends the smoothed image (factor 0) with the image (1), or extrapolates. `ImageEnhance.Sharpness`.

    Smoothing is the rounded mean of 3 x 3 pixels, the central one counted five times; pixels at the border are unchanged.
    """
    padded = tf.pad(tf.cast(image, tf.float32), [[1, 1], [1, 1], [0, 0]])
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    total = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * padded[1:-1, 1:-1]
    # A multiple of 1/13 is never close to a half, so float32 rounds like exact arithmetic.
    sharpened = _blend(tf.floor(total / 13 + 0.5), image, factor)
    y, x = _pixel_indices(image)
    is_inner = (y > 0) & (y < tf.reduce_max(y)) & (x > 0) & (x < tf.reduce_max(x))
    return tf.where(is_inner[..., tf.newaxis], sharpened, image)


@_image_operation
def rotate(image, degrees):
    """Rotates the image about its centre, counter-clockwise. `Image.rotate`."""
    angle = tf.convert_to_tensor(degrees, tf.float64) * (math.pi / 180)
    cos, sin = tf.cos(angle), tf.sin(angle)
    center_y, center_x = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float64) / 2)
    shift_x = center_x - cos * center_x + sin * center_y
    shift_y = center_y - sin * center_x - cos * center_y
    return _affine(image, (cos, -sin, shift_x), (sin, cos, shift_y))


@_image_operation
def shear_x(image, amount):
    """Shifts the row with its centre at y to the left by `amount` * y pixels."""
    return _affine(image, (1, amount, 0), (0, 1, 0))


@_image_operation
def shear_y(image, amount):
    """Shifts the column with its centre at x up by `amount` * x pixels."""
    return _affine(image, (1, 0, 0), (amount, 1, 0))


@_image_operation
def translate_x(image, fraction):
    """Shifts the image to the left by a fraction of its width, rounded to whole pixels."""
    return _affine(image, (1, 0, _pixels(fraction, tf.shape(image)[1])), (0, 1, 0))


@_image_operation
def translate_y(image, fraction):
    """Shifts the image up by a fraction of its height, rounded to whole pixels."""
    return _affine(image, (1, 0, 0), (0, 1, _pixels(fraction, tf.shape(image)[0])))


def _affine(image, row_x, row_y):
    """`Image.transform` with AFFINE and NEAREST; pixels from outside the image are FILL.

    The output pixel with its centre at (x, y) = (column + 0.5, row + 0.5) is read from (a x + b y + c, d x + e y + f) of the
    input; row_x = (a, b, c) and row_y = (d, e, f), numbers or float64 scalars.
    """
    height, width = tf.unstack(tf.shape(image, tf.int64)[:2])
    y, x = _pixel_indices(image)

    def source(row, size):
        """Index of the source pixel plus 1; 0 and size + 1 are outside. Computed in Pillow's units of 2**-16 pixels."""
        a, b, c = (tf.convert_to_tensor(value, tf.float64) for value in row)
        a, b, c = (tf.cast(tf.floor(value * 65536 + 0.5), tf.int64) for value in (a, b, c + a * 0.5 + b * 0.5))
        return tf.clip_by_value(tf.bitwise.right_shift(a * x + b * y + c, 16), -1, size) + 1

    framed = tf.pad(image, [[1, 1], [1, 1], [0, 0]], constant_values=FILL)
    index = source(row_y, height) * (width + 2) + source(row_x, width)
    return tf.gather(tf.reshape(framed, [-1, image.shape[-1]]), index)


def _pixels(fraction, size):
    """A fraction of a side in pixels, halves rounded up."""
    return tf.floor(tf.convert_to_tensor(fraction, tf.float64) * tf.cast(size, tf.float64) + 0.5)


def _pixel_indices(image):
    """Row indices int64 [H, 1] and column indices int64 [1, W]."""
    height, width = tf.unstack(tf.shape(image, tf.int64)[:2])
    return tf.range(height)[:, tf.newaxis], tf.range(width)[tf.newaxis]


def _to_grey(image):
    """Luma of ITU-R 601-2 as int32 [H, W, 1], in Pillow's integer arithmetic."""
    if image.shape[-1] == 1:
        return tf.cast(image, tf.int32)
    return tf.cast(to_grey(image), tf.int32)


def _blend(degenerate, image, factor):
    """degenerate + factor * (image - degenerate), rounded down, as uint8 [H, W, C]. `Image.blend`."""
    degenerate, image = tf.cast(degenerate, tf.float32), tf.cast(image, tf.float32)
    return _to_uint8(degenerate + tf.convert_to_tensor(factor, tf.float32) * (image - degenerate))


def _to_uint8(values):
    """Clips floats to [0, 255] and rounds them down."""
    return tf.cast(tf.clip_by_value(values, 0, 255), tf.uint8)
