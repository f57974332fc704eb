"""A Keras layer that prepares pixels for an image model."""

from typing import Any

import tensorflow as tf

from vision.sizes import check_size, sides
from widenet.checks import check_count, is_number, refuse
from widenet.layer import Layer

register = tf.keras.saving.register_keras_serializable(package="vision")

WRONG_RANGE = (
    "images must be uint8, or numbers from 0 to 255: multiply images in [0, 1] by 255, and give images in [-1, 1] to the model "
    "itself. Smallest and largest value:"
)


@register
class Preprocessor(Layer):
    """Prepares pixels for an image model, as evaluation, `official.predict` and exported models do (vision.preprocessing).

    The image or its centre is resized bilinearly, without antialiasing, and [0, 255] becomes [-1, 1]. Images are converted
    between grey and RGB; transparency is dropped. The layer has no weights and computes in float32 under every precision policy.

    Args:
      image_size: of the result, in pixels: an int, or a pair (height, width).
      channels: of the result.
      eval_crop: sides of the central box that is taken, as a share of the largest one of the result's shape; 0 for the whole
        image. Of the model of a run it is the recipe's data.eval_crop.

    Raises:
      ValueError: a setting out of range, at construction.
    """

    def __init__(self, image_size: int | tuple[int, int], channels: int = 3, eval_crop: float = 0.0, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})
        check_count("channels", channels)
        if not is_number(eval_crop) or not 0 <= eval_crop <= 1:
            refuse("eval_crop", eval_crop, "a number from 0 to 1")
        self.image_size = check_size("image_size", image_size)
        self.channels = channels
        self.eval_crop = eval_crop

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Preprocesses one image or a batch.

        Args:
          images: [height, width, channels] or [batch, height, width, channels] of any height and width: uint8, or other numbers
            from 0 to 255. Channels are those of the result; or 1 (grey), 3 (RGB) or 4 (RGB and transparency), if those are 1
            or 3.

        Returns:
          float32, the same rank, in [-1, 1].

        Raises:
          ValueError: another shape.
          tf.errors.InvalidArgumentError: when run, values outside [0, 255], or floats of which the largest is above 0 and at
            most 1: the images are taken for ones in [0, 1]. Programs that XLA compiles as a whole do not check it.
        """
        # Not at the top: this module may be imported as soon as TensorFlow is, which vision.decoding may be the first to import.
        from vision.decoding import central_box

        size = sides(self.image_size)
        images = self._with_channels(_checked(tf.convert_to_tensor(images)))
        if self.eval_crop:
            box = central_box(tf.shape(images)[-3:], self.eval_crop, size[1] / size[0])
            top, left, height, width = tf.unstack(box)
            images = images[..., top : top + height, left : left + width, :]
        # As tf.image.convert_image_dtype does it, to the last bit.
        images = tf.cast(images, tf.float32) * (1 / 255)
        if images.shape[-3:-1] != size:
            images = tf.image.resize(images, size)
        return tf.ensure_shape(images * 2 - 1, [*images.shape[:-3], *size, self.channels])

    def _with_channels(self, images):
        from vision.decoding import to_grey  # not at the top, as above

        given = images.shape[-1]
        if given == self.channels:
            return images
        if self.channels not in (1, 3) or given not in (1, 3, 4):
            known = f"{self.channels} channels" + (", or 1, 3 or 4" if self.channels in (1, 3) else "")
            refuse("images", images.shape.as_list(), f"of {known}")
        if given == 1:
            return tf.repeat(images, self.channels, axis=-1)
        images = images[..., :3]
        if self.channels == 3:
            return images
        return to_grey(tf.round(images) if images.dtype.is_floating else images)


def _checked(images):
    """Checks rank, dtype and range; returns uint8 as it is, other integers as int32, and floats as float32."""
    if images.shape.rank not in (3, 4) or images.dtype in (tf.string, tf.bool):
        shape = None if images.shape.rank is None else images.shape.as_list()
        refuse("images", f"{images.dtype.name} {shape}", "pixels [height, width, channels] or [batch, height, width, channels]")
    if images.dtype == tf.uint8:
        return images
    is_float = images.dtype.is_floating
    images = tf.cast(images, tf.float32 if is_float else tf.int32)
    smallest, largest = tf.reduce_min(images), tf.reduce_max(images)
    is_right = tf.reduce_all((images >= 0) & (images <= 255))
    if is_float:
        is_right &= (largest <= 0) | (largest > 1)
    with tf.control_dependencies([tf.debugging.Assert(is_right, [WRONG_RANGE, smallest, largest])]):
        return tf.identity(images)
