"""Decoding and cropping of images, as TensorFlow operations."""

import functools
import math

import tensorflow as tf

from official.data.bad_examples import op_message

# Images with a shorter side are bad examples.
SMALLEST_SIDE = 2
# Largest ratio of width to height that inception_box draws; the smallest is its inverse.
WIDEST_BOX = 4 / 3
# Weights of red, green and blue in grey (ITU-R BT.601, as in JPEG), in units of 2**-16.
GREY_WEIGHTS = (19595, 38470, 7471)


def decode_crop(image, channels, choose_box):
    """A box of an image; of a JPEG file only that box is decoded.

    Args:
      image: string [] (JPEG, PNG, GIF's first frame or BMP), or the pixels [height, width, channels] of any dtype.
      channels: 1 or 3, of the result. Images are converted between grey, RGB and CMYK; transparency is dropped, and 16-bit
        values keep their higher 8 bits.
      choose_box: function of an int32 shape [3] to the int32 box [4] (top, left, height, width).

    Returns:
      The box, [height, width, channels], uint8 or the dtype of `image`.

    Raises:
      tf.errors.InvalidArgumentError: the bytes are not an image, or a side has fewer than SMALLEST_SIDE pixels.
    """

    def checked_box(shape):
        tf.debugging.assert_greater_equal(tf.reduce_min(shape[:2]), SMALLEST_SIDE, "too few pixels along a side")
        return choose_box(shape)

    def crop(pixels):
        top, left, height, width = tf.unstack(checked_box(tf.shape(pixels)))
        # A slice would lose the static shape.
        return pixels if choose_box is whole else pixels[top : top + height, left : left + width]

    def jpeg():
        shape = tf.io.extract_jpeg_shape(image)
        decode = functools.partial(tf.io.decode_and_crop_jpeg, image, checked_box(shape), dct_method="INTEGER_ACCURATE")
        if channels == 3:
            return decode(channels=3)
        # The decoder does not convert CMYK, which has four channels, to grey.
        return tf.cond(shape[2] == 4, lambda: to_grey(decode(channels=3)), lambda: decode(channels=1))

    def other():
        pixels = crop(tf.io.decode_image(image, channels=3, expand_animations=False))
        return pixels if channels == 3 else to_grey(pixels)

    return crop(image) if image.dtype != tf.string else tf.cond(tf.io.is_jpeg(image), jpeg, other)


def to_grey(pixels):
    """uint8 [height, width, 3] to [height, width, 1]; grey pixels keep their value exactly."""
    weighted = tf.reduce_sum(tf.cast(pixels, tf.int32) * GREY_WEIGHTS, axis=-1, keepdims=True)
    return tf.cast((weighted + 2**15) // 2**16, tf.uint8)


def whole(shape):
    """The box of all pixels."""
    return tf.stack([0, 0, shape[0], shape[1]])


def inception_box(shape, seed, smallest_area, largest_area=1.0):
    """A random box, as in the training of Inception (arXiv:1409.4842, section 6).

    Args:
      shape: int32 [3].
      seed: int [2].
      smallest_area, largest_area: the box's area is uniform between these shares of the image's area. The logarithm of its
        aspect ratio is uniform between those of 3/4 and 4/3, or between those for which a box of that area fits. In a long
        image the largest area is reduced to what fits; if even the smallest does not fit, the box is the whole image.

    Returns:
      int32 [4]: top, left, height, width.
    """
    height, width = tf.unstack(tf.cast(shape[:2], tf.float32))
    aspect = width / height
    # A box of ratio r and share s of the area fits where s * aspect <= r <= aspect / s.
    largest_area = tf.reduce_min([largest_area, WIDEST_BOX * aspect, WIDEST_BOX / aspect])
    draws = tf.unstack(tf.random.stateless_uniform([4], seed))
    area = smallest_area + draws[0] * (largest_area - smallest_area)
    narrowest = tf.maximum(tf.math.log(area * aspect), -math.log(WIDEST_BOX))
    widest = tf.minimum(tf.math.log(aspect / area), math.log(WIDEST_BOX))
    ratio = tf.exp(narrowest + draws[1] * (widest - narrowest))
    pixels = area * height * width
    box_height = tf.clip_by_value(tf.round(tf.sqrt(pixels / ratio)), 1, height)
    box_width = tf.clip_by_value(tf.round(tf.sqrt(pixels * ratio)), 1, width)
    top, left = tf.floor(draws[2] * (height - box_height + 1)), tf.floor(draws[3] * (width - box_width + 1))
    box = tf.cast(tf.stack([top, left, box_height, box_width]), tf.int32)
    return tf.where(largest_area >= smallest_area, box, whole(shape))


def central_box(shape, share):
    """The central square whose side is `share` of the image's shorter side: int32 [4].

    A share of 224/256, resized to 224 pixels, is the usual "resize the shorter side to 256, then crop the central 224 pixels".
    """
    shorter = tf.cast(tf.minimum(shape[0], shape[1]), tf.float32)
    side = tf.maximum(tf.cast(tf.round(share * shorter), tf.int32), 1)
    return tf.stack([(shape[0] - side) // 2, (shape[1] - side) // 2, side, side])


def or_else(make, otherwise):
    """(make(), True), or (otherwise, False) if an operation of make() fails.

    TensorFlow graphs cannot catch errors, but a tf.data.Dataset can skip elements that raise one.

    Args:
      make: function without arguments that returns a tensor.
      otherwise: a tensor of the same dtype and static shape.
    """
    tried = tf.data.Dataset.from_tensors(0).map(lambda _: (make(), True)).ignore_errors()
    return tried.concatenate(tf.data.Dataset.from_tensors((otherwise, False))).take(1).get_single_element()


def image_problem(read, image, channels):
    """Why an image cannot be read or decoded, a clause; runs eagerly.

    Args:
      read: function of `image` to its encoded bytes.
      image: bytes, as in the source's examples (vision.data).
      channels: 1 or 3.
    """
    try:
        encoded = read(tf.constant(image))
    except tf.errors.OpError as error:
        return f"it cannot be read ({op_message(error)})"
    if not tf.strings.length(encoded):
        return "it is empty"
    try:
        height, width = tf.io.decode_image(encoded, expand_animations=False).shape[:2]
        if min(height, width) < SMALLEST_SIDE:
            return f"it has {height} x {width} pixels, and each side must have at least {SMALLEST_SIDE}"
        decode_crop(encoded, channels, whole)
    except tf.errors.OpError as error:
        return f"it cannot be decoded ({op_message(error)})"
    return "it could not be decoded"  # but it can now: the file was different at the first attempt
