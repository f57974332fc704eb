"""Random changes of training images. Every random number follows from the seed given."""

import math

import tensorflow as tf


def random_affine(image, seed, rotate, scale, shift):
    """Turns, zooms and moves an image about its centre, bilinearly, with black where nothing was.

    Args:
      image: float [height, width, channels].
      seed: int [2].
      rotate: the angle is uniform in [-rotate, rotate] degrees.
      scale: the zoom factor of each axis is uniform in [1 - scale, 1 + scale].
      shift: the displacement along each axis is uniform in [-shift, shift] pixels.

    Returns:
      The same shape and dtype.
    """
    unit = tf.random.stateless_uniform([5], seed, -1.0, 1.0)
    angle = unit[0] * (rotate * math.pi / 180)
    zoom_x, zoom_y = 1 + unit[1] * scale, 1 + unit[2] * scale
    center_x, center_y = (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2
    # Rows of the matrix that takes an output pixel (x, y) to the input pixel it is read from.
    a, b = tf.cos(angle) / zoom_x, -tf.sin(angle) / zoom_x
    c, d = tf.sin(angle) / zoom_y, tf.cos(angle) / zoom_y
    x = center_x - a * center_x - b * center_y + unit[3] * shift
    y = center_y - c * center_x - d * center_y + unit[4] * shift
    transform = tf.stack([a, b, x, c, d, y, 0.0, 0.0])
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[tf.newaxis],
        transforms=transform[tf.newaxis],
        output_shape=image.shape[:2],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return tf.reshape(moved, image.shape)


def random_pad_crop(image, seed, pad):
    """Moves an image by whole pixels, uniformly up to `pad` along each axis, with black where nothing was.

    Args:
      image: float [height, width, channels].
      seed: int [2].

    Returns:
      The same shape and dtype.
    """
    padded = tf.pad(image, [[pad, pad], [pad, pad], [0, 0]])
    return tf.image.stateless_random_crop(padded, image.shape, seed)
