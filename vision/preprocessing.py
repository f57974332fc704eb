"""What becomes of one image before it is batched, in training and in evaluation."""

import tensorflow as tf

from official.config import check_section, section_settings
from vision.augmentation import random_affine, random_pad_crop
from vision.decoding import central_box, decode_crop, inception_box, whole
from vision.randaugment import rand_augment

CROPS = ("none", "inception")


def data_settings(**overrides):
    """The `data` settings of a recipe, with this project's defaults.

    name: "digits", "folder" (image files in dir/SPLIT/CLASS/) or an image-classification set of TensorFlow Datasets; dir: where
    it is, or TensorFlow Datasets' `data_dir` ("": its default); train_split, validation_split, test_split: in TensorFlow
    Datasets' syntax ("train[:90%]"; "": the default of vision.data); cache_mib: decoded images are kept in memory where all of a
    split fit into so many MiB; shuffle_buffer: records that a shuffle holds where they do not; bad_examples: "refuse" or "skip"
    what cannot be decoded, has a side of one pixel or a label that there is not.

    Of training images, in this order: crop: "inception" takes a random box of at least min_area of the image, "none" all of it,
    either resized to the model's image size; flip: left and right, for half of them; pad: a random crop after so many pixels of
    black on each side; rotate (degrees), scale and shift (pixels): of vision.augmentation.random_affine; randaugment_layers and
    randaugment_magnitude: of vision.randaugment.rand_augment; label_smoothing; mixup: the alpha of vision.mixup.mixup, 0 for
    none. In evaluation the central square whose side is eval_crop of the image's shorter one is resized; where eval_crop is 0,
    the whole image, whatever its shape. max_pixels: an exported model decodes no image of more.

    Left open, filled in when a run begins, and kept with the model that it exports: classes: names of the classes in the order of
    the logits.

    Raises:
      ValueError: an override that is no setting.
    """
    defaults = dict(
        name="",
        dir="",
        train_split="",
        validation_split="",
        test_split="",
        cache_mib=2048,
        shuffle_buffer=8192,
        bad_examples="refuse",
        crop="none",
        min_area=0.05,
        flip=False,
        pad=0,
        rotate=0.0,
        scale=0.0,
        shift=0.0,
        randaugment_layers=0,
        randaugment_magnitude=15,
        label_smoothing=0.0,
        mixup=0.0,
        eval_crop=0.0,
        max_pixels=2**25,
        classes=None,
    )
    return section_settings("data", defaults, overrides)


def complete_data_settings(data):
    """Gives a run's `data`, which may have been written before some settings were there, the defaults of those."""
    with data.unlocked():
        for setting, value in data_settings().items():
            if setting not in data:
                data[setting] = value


def check_data_settings(data):
    """Refuses data settings out of range.

    Raises:
      ValueError: naming the setting, its value and what is allowed.
    """
    allowed = {
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
    """An augmented training image; every random number follows from the seed.

    Args:
      image: encoded, string [], or pixels [height, width, channels], uint8 or float32 in [0, 1].
      seed: int64 [2].
      size: side of the result.
      channels: of the result.
      data: the recipe's `data` settings.

    Returns:
      float32 [size, size, channels] in [-1, 1].

    Raises:
      tf.errors.InvalidArgumentError: an image that vision.decoding.decode_crop refuses.
    """
    seeds = tf.unstack(tf.random.split(seed, 5))
    box = (lambda shape: inception_box(shape, seeds[0], data.min_area)) if data.crop == "inception" else whole
    image = _resized(decode_crop(image, channels, box), size, channels)
    if data.flip:
        image = tf.image.stateless_random_flip_left_right(image, seeds[1])
    if data.pad:
        image = random_pad_crop(image, seeds[2], data.pad)
    if data.rotate or data.scale or data.shift:
        image = random_affine(image, seeds[3], data.rotate, data.scale, data.shift)
    if data.randaugment_layers:
        pixels = tf.image.convert_image_dtype(image, tf.uint8, saturate=True)
        pixels = rand_augment(pixels, seeds[4], data.randaugment_layers, data.randaugment_magnitude)
        image = tf.image.convert_image_dtype(pixels, tf.float32)
    return to_model_range(image)


def evaluation_image(image, size, channels, eval_crop):
    """An image as it is evaluated and served; arguments, results and errors as of `training_image`."""
    box = (lambda shape: central_box(shape, eval_crop)) if eval_crop else whole
    return to_model_range(_resized(decode_crop(image, channels, box), size, channels))


def to_model_range(images):
    """[0, 1] to [-1, 1]."""
    return images * 2 - 1


def _resized(pixels, size, channels):
    """Pixels [height, width, channels] to float32 [size, size, channels] in [0, 1], bilinearly."""
    image = tf.image.convert_image_dtype(pixels, tf.float32)
    if pixels.shape[:2] != (size, size):
        image = tf.image.resize(image, [size, size])
    return tf.ensure_shape(image, [size, size, channels])
