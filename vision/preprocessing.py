"""The `data` settings of image recipes, and what they do to one image before it is batched.

In training, in this order: a box of the image is resized to the model's size; flip; random crop of the padded image; affine
transformation; RandAugment. In evaluation and serving: a box is resized. Every random number follows from the seed argument.
"""

import functools
import math

import tensorflow as tf

from official.config import Setting, check_section, check_types, defaults_of, section_settings
from official.data.bad_examples import POLICIES
from vision.decoding import central_box, decode_crop, inception_box, whole
from vision.sizes import sides

CROPS = ("none", "inception")

DATA = {
    "name": Setting("", "digits, folder (image files in dir/SPLIT/CLASS/) or a set of TensorFlow Datasets"),
    "dir": Setting("", "the folder of name='folder', or TensorFlow Datasets' data_dir ('': its default)"),
    "train_split": Setting("", "split to train on, such as train[:90%] ('': the data set's own)"),
    "validation_split": Setting("", "split to validate on ('': the data set's own)"),
    "test_split": Setting("", "split to test on ('': the data set's own)"),
    "cache_mib": Setting(2048, "decoded images are kept in memory if a split takes at most this many MiB (0: never)"),
    "shuffle_buffer": Setting(8192, "records in the shuffle buffer, of images that are not kept in memory"),
    "bad_examples": Setting("refuse", f"what to do about unusable images and labels: {', '.join(POLICIES)}"),
    "crop": Setting("none", "training: inception (random box of the image) or none (all of it), resized"),
    "min_area": Setting(0.05, "smallest share of the image's area that crop='inception' takes"),
    "flip": Setting(False, "training: flip half of the images left to right"),
    "pad": Setting(0, "training: pixels of black on each side before a random crop (0: no crop)"),
    "rotate": Setting(0.0, "training: largest rotation, in degrees"),
    "scale": Setting(0.0, "training: largest change of each axis' zoom from 1"),
    "shift": Setting(0.0, "training: largest translation along each axis, in pixels"),
    "randaugment_layers": Setting(0, "training: number of RandAugment operations"),
    "randaugment_magnitude": Setting(15, "training: strength of RandAugment, from 0 to 30"),
    "label_smoothing": Setting(0.0, "training: share of each label that is spread over all classes"),
    "mixup": Setting(0.0, "training: alpha of mixup (0: none)"),
    "eval_crop": Setting(0.0, "evaluation: central box of the model's shape, as a share of the largest (0: whole image)"),
    "max_pixels": Setting(2**25, "largest image, in pixels, that an exported model decodes"),
    "classes": Setting(None, "names of the classes in the order of the logits (None: those of the data)"),
}


def data_settings(**overrides):
    """The `data` settings of a recipe, a dict: the defaults of DATA, some of them overridden.

    A run fills in `classes` when it starts; they are kept with the model that it exports.

    Raises:
      ValueError: an override that is not in DATA.
    """
    return section_settings("data", defaults_of(DATA), overrides)


def complete_data_settings(data):
    """Adds to the `data` of an older config.json the defaults of settings that it lacks."""
    with data.unlocked():
        for setting, value in data_settings().items():
            if setting not in data:
                data[setting] = value


def check_data_settings(data):
    """Refuses data settings out of range.

    Raises:
      ValueError: naming the setting, its value and what is allowed.
    """
    check_types("data", data, DATA)
    names = data.classes if isinstance(data.classes, (list, tuple)) else (data.classes,)
    allowed = {
        "classes": (data.classes is None or all(isinstance(name, str) for name in names), "a list of names"),
        "cache_mib": (data.cache_mib >= 0, "at least 0"),
        "shuffle_buffer": (data.shuffle_buffer >= 1, "at least 1"),
        "crop": (data.crop in CROPS, f"one of {', '.join(CROPS)}"),
        "min_area": (0 < data.min_area <= 1, "above 0, at most 1"),
        "pad": (data.pad >= 0, "at least 0"),
        "scale": (0 <= data.scale < 1, "from 0 up to, not including, 1"),
        "randaugment_layers": (data.randaugment_layers >= 0, "at least 0"),
        "randaugment_magnitude": (0 <= data.randaugment_magnitude <= 30, "from 0 to 30"),
        "label_smoothing": (0 <= data.label_smoothing < 1, "from 0 up to, not including, 1"),
        "mixup": (data.mixup >= 0, "at least 0"),
        "eval_crop": (0 <= data.eval_crop <= 1, "from 0 to 1"),
        "max_pixels": (data.max_pixels >= 4, "at least 4"),
    }
    check_section("data", data, allowed)


def training_image(image, seed, size, channels, data):
    """An augmented training image.

    Args:
      image: encoded, string [], or pixels [height, width, channels], uint8 or float32 in [0, 1].
      seed: int64 [2].
      size: of the result, in pixels: its side, or (height, width).
      channels: of the result, 1 or 3.
      data: the recipe's `data` settings.

    Returns:
      float32 [height, width, channels] in [-1, 1].

    Raises:
      tf.errors.InvalidArgumentError: an image that vision.decoding.decode_crop refuses.
    """
    seeds = tf.unstack(tf.random.split(seed, 5))
    box = whole
    if data.crop == "inception":
        box = functools.partial(inception_box, seed=seeds[0], smallest_area=data.min_area, aspect=_aspect(size))
    image = _resized(decode_crop(image, channels, box), size, channels)
    if data.flip:
        image = tf.image.stateless_random_flip_left_right(image, seeds[1])
    if data.pad:
        image = random_pad_crop(image, seeds[2], data.pad)
    if data.rotate or data.scale or data.shift:
        image = random_affine(image, seeds[3], data.rotate, data.scale, data.shift)
    if data.randaugment_layers:
        from vision.randaugment import rand_augment  # most recipes do without it

        pixels = tf.image.convert_image_dtype(image, tf.uint8, saturate=True)
        pixels = rand_augment(pixels, seeds[4], data.randaugment_layers, data.randaugment_magnitude)
        image = tf.image.convert_image_dtype(pixels, tf.float32)
    return to_model_range(image)


def evaluation_image(image, size, channels, eval_crop):
    """An image for evaluation and serving; arguments, result and errors as of `training_image`."""
    box = functools.partial(central_box, share=eval_crop, aspect=_aspect(size)) if eval_crop else whole
    return to_model_range(_resized(decode_crop(image, channels, box), size, channels))


def to_model_range(images):
    """[0, 1] to [-1, 1]."""
    return images * 2 - 1


def _aspect(size):
    height, width = sides(size)
    return width / height


def _resized(pixels, size, channels):
    """Pixels of any height and width to float32 of a size, [height, width, channels] in [0, 1], bilinearly."""
    image = tf.image.convert_image_dtype(pixels, tf.float32)
    if pixels.shape[:2] != sides(size):
        image = tf.image.resize(image, sides(size))
    return tf.ensure_shape(image, [*sides(size), channels])


def random_affine(image, seed, rotate, scale, shift):
    """Rotates, zooms and translates an image about its centre, bilinearly; what comes from outside the image is black.

    Args:
      image: float [height, width, channels].
      seed: int [2].
      rotate: the angle is uniform in [-rotate, rotate] degrees.
      scale: the zoom factor of each axis is uniform in [1 - scale, 1 + scale].
      shift: the translation along each axis is uniform in [-shift, shift] pixels.

    Returns:
      The same shape and dtype.
    """
    unit = tf.random.stateless_uniform([5], seed, -1.0, 1.0)
    angle = unit[0] * (rotate * math.pi / 180)
    zoom_x, zoom_y = 1 + unit[1] * scale, 1 + unit[2] * scale
    center_x, center_y = (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2
    # Rows of the matrix that maps an output pixel (x, y) to the input pixel it is read from.
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
    """Translates an image by whole pixels, uniformly up to `pad` along each axis; what comes from outside the image is black.

    Args:
      image: float [height, width, channels].
      seed: int [2].

    Returns:
      The same shape and dtype.
    """
    padded = tf.pad(image, [[pad, pad], [pad, pad], [0, 0]])
    return tf.image.stateless_random_crop(padded, image.shape, seed)
