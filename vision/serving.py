"""What an exported image model takes: encoded images as a request has them, decoded in the graph as in evaluation.

A bad image is an error that names its place in the request, and an image that is too large is refused before it is decoded.
"""

import tensorflow as tf

from official.exportable import model_endpoint
from vision.decoding import or_else
from vision.preprocessing import evaluation_image

PNG = b"\x89PNG\r\n\x1a\n"
PNG_HEADER = 24  # bytes, up to and with width and height
AT_ONCE = 4  # images that are decoded at the same time: what decoding may take of memory is this times max_pixels
TOLD = 5  # so many bad images of a request are told of
GOOD = ""


def classify_endpoint(model, class_names, config):
    """Encoded images to classes: (function, list of tf.TensorSpec), an endpoint of an official.task.Task.

    Args:
      model: images to logits.
      class_names: list of str, in the order of the logits.
      config: of the run; read are its `data` and the model's image_size and channels.

    Returns:
      A function of `image_bytes`, string [batch], to a dict of class_ids int32 [batch], labels string [batch], and probabilities
      float32 [batch, classes]; it raises as decode_request.
    """
    decode = request_decoder(config)

    def classify(image_bytes):
        logits = tf.cast(model(decode(image_bytes), training=False), tf.float32)
        ids = tf.argmax(logits, axis=-1, output_type=tf.int32)
        return {"class_ids": ids, "labels": tf.gather(tf.constant(class_names), ids), "probabilities": tf.nn.softmax(logits)}

    return classify, [IMAGE_BYTES]


def features_endpoints(model, config):
    """Endpoints of a model that gives features: "embed" takes encoded images, "serve" float ones."""
    decode = request_decoder(config)

    def embed(image_bytes):
        return {"features": model(decode(image_bytes), training=False)}

    return {"embed": (embed, [IMAGE_BYTES]), "serve": model_endpoint(model)}


IMAGE_BYTES = tf.TensorSpec([None], tf.string, name="image_bytes")


def request_decoder(config):
    """decode_request with the settings of a run's config."""
    data, model = config.data, config.model
    size, channels, eval_crop, max_pixels = model.image_size, model.channels, data.eval_crop, data.max_pixels
    return lambda image_bytes: decode_request(image_bytes, size, channels, eval_crop, max_pixels)


def decode_request(image_bytes, size, channels, eval_crop, max_pixels):
    """Each image as vision.preprocessing.evaluation_image makes it.

    Args:
      image_bytes: string [batch], JPEG or PNG.
      size, channels, eval_crop: as of evaluation_image.
      max_pixels: an image of more is refused by what its header says, before anything of it is decoded.

    Returns:
      float32 [batch, size, size, channels] in [-1, 1].

    Raises:
      tf.errors.InvalidArgumentError: where there is a bad image; names the first ones by their places in the batch.
    """
    nothing = tf.zeros([size, size, channels])

    def decode_one(image):
        problem = header_problem(image, max_pixels)

        def decode():
            pixels, ok = or_else(lambda: evaluation_image(image, size, channels, eval_crop), nothing)
            return pixels, tf.where(ok, GOOD, "it cannot be decoded")

        return tf.cond(tf.equal(problem, GOOD), decode, lambda: (nothing, problem))

    specs = (tf.TensorSpec(nothing.shape, tf.float32), tf.TensorSpec([], tf.string))
    pixels, problems = tf.map_fn(decode_one, image_bytes, fn_output_signature=specs, parallel_iterations=AT_ONCE)
    with tf.control_dependencies([_refuse(problems)]):
        return tf.identity(pixels)


def _refuse(problems):
    """An assertion that none of the problems, string [batch], says anything."""
    is_bad = tf.not_equal(problems, GOOD)
    places = tf.strings.as_string(tf.where(is_bad)[:TOLD, 0])
    told = tf.strings.join(["image_bytes[", places, "]: ", tf.boolean_mask(problems, is_bad)[:TOLD]])
    return tf.debugging.Assert(~tf.reduce_any(is_bad), [tf.strings.reduce_join(told, separator="; ")])


def header_problem(image, max_pixels):
    """What is wrong with an encoded image, as far as its header says: a clause, string []; GOOD where it is nothing.

    Args:
      image: string [].
      max_pixels: int.
    """

    def jpeg():
        shape, ok = or_else(lambda: tf.ensure_shape(tf.io.extract_jpeg_shape(image), [3]), tf.zeros([3], tf.int32))
        return tf.cond(ok, lambda: _size_problem(shape[0], shape[1], max_pixels), lambda: tf.constant("its header is damaged"))

    def png():
        def sides():
            # Two numbers of four bytes, the highest first.
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
    # A side alone is looked at first: the product of two that a header claims may be more than an int64 holds.
    is_large = (tf.maximum(height, width) > max_pixels) | (height * width > max_pixels)
    sides = tf.strings.as_string(tf.stack([height, width]))
    told = tf.strings.join(["it has ", sides[0], " x ", sides[1], f" pixels, and at most {max_pixels} are decoded"])
    return tf.where(is_large, told, GOOD)
