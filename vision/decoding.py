"""From encoded images to pixels, as TensorFlow operations."""

import tensorflow as tf

# With fewer pixels along a side there is nothing to see, and nothing to resize from.
SMALLEST_SIDE = 2


def decode_crop(image, channels, choose_box):
    """A box of an image; of a JPEG only what the box needs is decoded.

    Args:
      image: string [] (JPEG, PNG, GIF's first frame or BMP), or the pixels [height, width, channels] of any dtype.
      channels: 1 or 3, of the result. Grey becomes color and color grey; CMYK becomes RGB; transparency is left out.
      choose_box: function of an int32 shape [3] to the int32 box [4] (top, left, height, width).

    Returns:
      The box, [height, width, channels], uint8 or the dtype of `image`.

    Raises:
      tf.errors.InvalidArgumentError: where the bytes are no image, or a side has fewer than SMALLEST_SIDE pixels.
    """

    def checked_box(shape):
        tf.debugging.assert_greater_equal(tf.reduce_min(shape[:2]), SMALLEST_SIDE, "too few pixels along a side")
        return choose_box(shape)

    def crop(pixels):
        top, left, height, width = tf.unstack(checked_box(tf.shape(pixels)))
        return pixels[top : top + height, left : left + width]

    if image.dtype != tf.string:
        return crop(image)

    def jpeg():
        box = checked_box(tf.io.extract_jpeg_shape(image))
        return tf.io.decode_and_crop_jpeg(image, box, channels=channels, dct_method="INTEGER_ACCURATE")

    return tf.cond(
        tf.io.is_jpeg(image), jpeg, lambda: crop(tf.io.decode_image(image, channels=channels, expand_animations=False))
    )


def whole(shape):
    """The box of all pixels."""
    return tf.stack([0, 0, shape[0], shape[1]])


def inception_box(shape, seed, smallest_area, largest_area=1.0):
    """A random box, as Inception was trained on (arXiv:1409.4842, section 6).

    Args:
      shape: int32 [3].
      seed: int [2].
      smallest_area, largest_area: the box's area is uniform between these shares of the image's; its aspect ratio lies between
        3/4 and 4/3. Where ten draws do not fit into the image, it is the whole image.

    Returns:
      int32 [4]: top, left, height, width.
    """
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape,
        bounding_boxes=tf.zeros([1, 0, 4]),
        seed=seed,
        min_object_covered=0.0,
        aspect_ratio_range=[3 / 4, 4 / 3],
        area_range=[smallest_area, largest_area],
        max_attempts=10,
        use_image_if_no_bounding_boxes=True,
    )
    return tf.concat([begin[:2], size[:2]], axis=0)


def central_box(shape, share):
    """The square in the middle whose side is that share of the image's shorter side.

    Resized to 224 pixels, a share of 224/256 is what others call resizing the shorter side to 256 and cropping 224 from the
    middle.
    """
    shorter = tf.cast(tf.minimum(shape[0], shape[1]), tf.float32)
    side = tf.maximum(tf.cast(tf.round(share * shorter), tf.int32), 1)
    return tf.stack([(shape[0] - side) // 2, (shape[1] - side) // 2, side, side])


def or_else(make, otherwise):
    """(make(), True), or (otherwise, False) where an operation of make() fails.

    TensorFlow's graphs catch no errors, but its data sets can leave out elements that fail.

    Args:
      make: function without arguments that returns a tensor.
      otherwise: a tensor of the same dtype and static shape.
    """
    tried = tf.data.Dataset.from_tensors(0).map(lambda _: (make(), True)).ignore_errors()
    return tried.concatenate(tf.data.Dataset.from_tensors((otherwise, False))).take(1).get_single_element()


def what_is_wrong(encoded):
    """A clause about why `decode_crop` refuses these bytes; runs eagerly."""
    try:
        shape = tf.io.decode_image(encoded, expand_animations=False).shape
    except tf.errors.OpError as error:
        return f"its bytes cannot be decoded ({str(error.message).splitlines()[0]})" if encoded else "it has no bytes"
    return f"it has {shape[0]} x {shape[1]} pixels"
