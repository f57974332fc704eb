"""RandAugment (arXiv:1909.13719). Every random number follows from the seed argument."""

import functools

import tensorflow as tf

from vision import image_operations as operations
from widenet.checks import check_count, is_number, refuse

# Operations without a strength, with a strength, and with a strength of either sign.
FIXED = (operations.identity, operations.auto_contrast, operations.equalize)
GRADED = (
    operations.solarize,
    operations.posterize,
    operations.color,
    operations.contrast,
    operations.brightness,
    operations.sharpness,
)
SIGNED = (operations.rotate, operations.shear_x, operations.shear_y, operations.translate_x, operations.translate_y)
OPERATIONS = FIXED + GRADED + SIGNED


def rand_augment(image, seed, layers, magnitude):
    """Applies `layers` operations, one after the other, each drawn uniformly from the 14 of OPERATIONS.

    The strengths are linear in m = magnitude / 10; m = 1 gives the largest ones of AutoAugment (arXiv:1805.09501, table 6):

      operation                                 strength
      identity, auto-contrast, equalize         none
      rotate                                    +-30 m degrees
      shear-x, shear-y                          +-0.3 m
      translate-x, translate-y                  +-150/331 m of the side
      solarize                                  values from 256 - 256 m on, at least 0
      posterize                                 8 - 4 m bits, rounded, at least 1
      colour, contrast, brightness, sharpness   factor 0.1 + 1.8 m

    Both signs are equally likely. Only the drawn operations are computed.

    Args:
      image: uint8 [height, width, channels], channels 1 or 3; height and width static or dynamic.
      seed: int [2].
      layers: number of operations, an int of at least 0.
      magnitude: a number from 0 to 30.

    Returns:
      uint8 of the same shape.

    Raises:
      ValueError: a setting or an image that is not allowed.
    """
    check_count("layers", layers, minimum=0)
    strength = strengths(magnitude)
    image = operations.identity(image)
    drawn, signs = draw_operations(seed, layers)
    for layer in range(layers):
        branches = [functools.partial(_apply, operation, image, strength, signs[layer]) for operation in OPERATIONS]
        image = tf.switch_case(drawn[layer], branches)
    return image


def strengths(magnitude):
    """The table of rand_augment, in the units of vision.image_operations.

    Returns:
      {operation of GRADED or SIGNED: strength}, without signs.

    Raises:
      ValueError: a magnitude that is not a number from 0 to 30.
    """
    if not is_number(magnitude) or not 0 <= magnitude <= 30:
        refuse("magnitude", magnitude, "a number from 0 to 30")
    share = magnitude / 10
    factor = 0.1 + 1.8 * share
    return {
        operations.solarize: max(0.0, 256 - 256 * share),
        operations.posterize: max(1, round(8 - 4 * share)),
        operations.color: factor,
        operations.contrast: factor,
        operations.brightness: factor,
        operations.sharpness: factor,
        operations.rotate: 30 * share,
        operations.shear_x: 0.3 * share,
        operations.shear_y: 0.3 * share,
        operations.translate_x: 150 / 331 * share,
        operations.translate_y: 150 / 331 * share,
    }


def draw_operations(seed, layers):
    """The operations that rand_augment draws from a seed.

    Returns:
      int32 [layers], indices into OPERATIONS; float64 [layers], signs 1 or -1 for operations of SIGNED. All are independent and
      uniform.
    """
    drawn = tf.random.stateless_uniform([layers], seed, 0, 2 * len(OPERATIONS), tf.int32)
    return drawn // 2, tf.cast(1 - 2 * (drawn % 2), tf.float64)


def _apply(operation, image, strength, sign):
    if operation in FIXED:
        return operation(image)
    return operation(image, strength[operation] * sign if operation in SIGNED else strength[operation])
