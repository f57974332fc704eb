"""Signatures of exported image models: they take encoded images, and decode them in the graph as in evaluation.

A bad image raises an error that names its index in the request. An image that is too large is refused before it is decoded.
"""

import tensorflow as tf

from official.exportable import model_endpoint
from vision.decoding import PNG, TOO_MANY_SCANS, has_too_many_scans, or_else
from vision.preprocessing import evaluation_image
from vision.sizes import sides

PNG_HEADER = 24  # bytes, up to and including width and height
PARALLEL_DECODES = 4  # decoding takes memory for at most this many images of max_pixels
MAX_REPORTED = 5  # bad images of a request that the error names
GOOD = ""


def classify_endpoint(model, class_names, config):
    """The endpoint (official.task.Task.endpoints) from encoded images to classes.

    Args:
      model: function of images to logits.
      class_names: list of str, in the order of the logits.
      config: of the run, for `data`, model.image_size and model.channels.

    Returns:
      A function of `image_bytes`, string [batch], to a dict of class_ids int32 [batch], labels string [batch] and probabilities
      float32 [batch, classes], which raises the errors of decode_request; and the list of its arguments' tf.TensorSpecs.
    """
    decode = request_decoder(config)

    def classify(image_bytes):
        logits = tf.cast(model(decode(image_bytes), training=False), tf.float32)
        ids = tf.argmax(logits, axis=-1, output_type=tf.int32)
        return {"class_ids": ids, "labels": tf.gather(tf.constant(class_names), ids), "probabilities": tf.nn.softmax(logits)}

    return classify, [IMAGE_BYTES]


def features_endpoints(model, config):
    """Endpoints of a model from images to features: "embed" takes encoded images, "serve" float ones."""
    decode = request_decoder(config)

    def embed(image_bytes):
        return {"features": model(decode(image_bytes), training=False)}

    return {"embed": (embed, [IMAGE_BYTES]), "serve": model_endpoint(model)}


IMAGE_BYTES = tf.TensorSpec([None], tf.string, name="image_bytes")


def request_decoder(config):
    """decode_request as a function of image_bytes alone, with the settings of a run's config."""
    data, model = config.data, config.model
    size, channels, eval_crop, max_pixels = model.image_size, model.channels, data.eval_crop, data.max_pixels
    return lambda image_bytes: decode_request(image_bytes, size, channels, eval_crop, max_pixels)


def decode_request(image_bytes, size, channels, eval_crop, max_pixels):
    """Decodes and preprocesses images with vision.preprocessing.evaluation_image.

    Args:
      image_bytes: string [batch], JPEG or PNG files.
      size, channels, eval_crop: as of evaluation_image.
      max_pixels: larger images are refused because of their header, before they are decoded.

    Returns:
      float32 [batch, height, width, channels] in [-1, 1].

    Raises:
      tf.errors.InvalidArgumentError: a bad image; names the indices of the first MAX_REPORTED ones.
    """
    nothing = tf.zeros([*sides(size), channels])

    def decode_one(image):
        problem = header_problem(image, max_pixels)

        def decode():
            pixels, ok = or_else(lambda: evaluation_image(image, size, channels, eval_crop), nothing)
            return pixels, tf.cond(ok, lambda: tf.constant(GOOD), lambda: _decoding_problem(image))

        return tf.cond(tf.equal(problem, GOOD), decode, lambda: (nothing, problem))

    specs = (tf.TensorSpec(nothing.shape, tf.float32), tf.TensorSpec([], tf.string))
    pixels, problems = tf.map_fn(decode_one, image_bytes, fn_output_signature=specs, parallel_iterations=PARALLEL_DECODES)
    with tf.control_dependencies([_refuse(problems)]):
        return tf.identity(pixels)


def _refuse(problems):
    """Asserts that all problems, string [batch], are GOOD."""
    is_bad = tf.not_equal(problems, GOOD)
    indices = tf.strings.as_string(tf.where(is_bad)[:MAX_REPORTED, 0])
    messages = tf.strings.join(["image_bytes[", indices, "]: ", tf.boolean_mask(problems, is_bad)[:MAX_REPORTED]])
    return tf.debugging.Assert(~tf.reduce_any(is_bad), [tf.strings.reduce_join(messages, separator="; ")])


def _decoding_problem(image):
    def jpeg():
        is_long = has_too_many_scans(image, tf.io.extract_jpeg_shape(image))
        return tf.where(is_long, TOO_MANY_SCANS, "it cannot be decoded")

    return tf.cond(tf.io.is_jpeg(image), jpeg, lambda: tf.constant("it cannot be decoded"))


def header_problem(image, max_pixels):
    """Why the header of an encoded image is invalid, a clause, string []; GOOD if it is valid.

    Args:
      image: string [].
      max_pixels: int.
    """

    def jpeg():
        shape, ok = or_else(lambda: tf.ensure_shape(tf.io.extract_jpeg_shape(image), [3]), tf.zeros([3], tf.int32))
        return tf.cond(ok, lambda: _size_problem(shape[0], shape[1], max_pixels), lambda: tf.constant("its header is damaged"))

    def png():
        def sides():
            # Width and height, big-endian numbers of four bytes.
            numbers = tf.cast(tf.io.decode_raw(tf.strings.substr(image, PNG_HEADER - 8, 8), tf.uint8), tf.int64)
            width, height = tf.unstack(tf.reduce_sum(tf.reshape(numbers, [2, 4]) * [2**24, 2**16, 2**8, 1], axis=1))
            return _size_problem(height, width, max_pixels)

        is_whole = tf.strings.length(image) >= PNG_HEADER
        return tf.cond(is_whole, sides, lambda: tf.constant("its header is cut off"))

    def other():
        return tf.where(tf.strings.length(image) > 0, "it is neither JPEG nor PNG", "it is empty")

    is_png = tf.equal(tf.strings.substr(image, 0, len(PNG)), PNG)
    return tf.cond(tf.io.is_jpeg(image), jpeg, lambda: tf.cond(is_png, png, other))


def _size_problem(height, width, max_pixels):
    height, width = tf.cast(height, tf.int64), tf.cast(width, tf.int64)
    # Sides are compared first, since the product of the sides in a damaged header may overflow an int64.
    is_large = (tf.maximum(height, width) > max_pixels) | (height * width > max_pixels)
    sides = tf.strings.as_string(tf.stack([height, width]))
    message = tf.strings.join(["it has ", sides[0], " x ", sides[1], f" pixels, and at most {max_pixels} are decoded"])
    return tf.where(is_large, message, GOOD)
