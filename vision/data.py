"""Images in memory and the batches made of them: any step's batch can be made without those before it."""

import functools
import pathlib
from typing import NamedTuple

import numpy as np
import tensorflow as tf


class Images(NamedTuple):
    """Labelled images in memory.

    Attributes:
      images: float32 [N, height, width, channels] in [0, 1].
      labels: int32 [N].
    """

    images: np.ndarray
    labels: np.ndarray


class Dataset(NamedTuple):
    """A data set with its fixed splits, and what its classes are called."""

    train: Images
    validation: Images
    classes: int
    class_names: list[str]


def load_digits():
    """scikit-learn's 1,797 scans of handwritten digits, 8 x 8 grey pixels (UCI ML repository, "Optical Recognition of Handwritten
    Digits"), inside its wheel. Every fifth image is for validation.
    """
    from sklearn import datasets

    digits = datasets.load_digits()
    images = (digits.images / 16).astype(np.float32)[..., np.newaxis]
    labels = digits.target.astype(np.int32)
    held_out = np.arange(len(labels)) % 5 == 4
    train, validation = (Images(images[part], labels[part]) for part in (~held_out, held_out))
    return Dataset(train, validation, classes=10, class_names=[str(digit) for digit in range(10)])


def load_tfds(name, directory):
    """An image-classification set that TensorFlow Datasets has prepared; the last tenth of its training split is for validation.

    Args:
      name: as TensorFlow Datasets calls it.
      directory: where it was prepared, TensorFlow Datasets' `data_dir`; "" for its default.

    Raises:
      ValueError: no such set is there. Nothing is downloaded.
    """
    import tensorflow_datasets as tfds

    root = pathlib.Path(directory or tfds.core.constants.DATA_DIR).expanduser()
    # Looked up here: TensorFlow Datasets would try the network for minutes.
    # A folder of an interrupted preparation is called "incomplete" and not by a number.
    versions = [file.parent for file in root.glob(f"{name}/[0-9]*/dataset_info.json")]
    if not versions:
        raise ValueError(
            f"data.dir={directory!r}: there is no prepared {name!r} in {root}; prepare it with: "
            f"python -m vision.prepare {name} --data-dir={root} (and --manual-dir=FOLDER where its files are on this machine)"
        )
    builder = tfds.builder_from_directory(max(versions, key=lambda folder: tfds.core.Version(folder.name)))

    def images(split):
        found = tfds.as_numpy(builder.as_dataset(split=split, batch_size=-1))
        return Images(found["image"].astype(np.float32) / 255, found["label"].astype(np.int32))

    label = builder.info.features["label"]
    return Dataset(images("train[:90%]"), images("train[90%:]"), label.num_classes, label.names)


# Fashion-MNIST: 70,000 grey pictures of clothes, 28 x 28 pixels (arXiv:1708.07747).
DATASETS = {"digits": lambda directory: load_digits(), "fashion_mnist": functools.partial(load_tfds, "fashion_mnist")}


def load_dataset(name, directory=""):
    """The Dataset of that name.

    Args:
      name: a key of DATASETS.
      directory: where it is on disk, for those that are; "" for their default.

    Raises:
      ValueError: a name that is not in DATASETS, or a data set that is not in the directory.
    """
    if name not in DATASETS:
        raise ValueError(f"data.name={name!r} is not allowed: it must be one of {', '.join(DATASETS)}")
    return DATASETS[name](directory)


def train_batches(split, batch_size, seed, start_step, augment):
    """Endless augmented batches of static shape, epoch after epoch, each a new permutation of the split.

    The example at a position of the stream and its random numbers follow from (seed, epoch, example) alone, so a run that goes
    on at `start_step` sees what it would have seen, whatever the number of threads.

    Args:
      split: Images.
      start_step: the step whose batch comes first.
      augment: function of a float32 image in [0, 1] and an int seed [2] to an image of the same shape.

    Returns:
      tf.data.Dataset of (float32 [batch, height, width, channels] in [-1, 1], int32 [batch]).
    """
    images, labels = tf.constant(split.images), tf.constant(split.labels)
    examples = len(split.labels)

    def make_example(position):
        epoch, offset = position // examples, position % examples
        epoch_seed = tf.random.experimental.stateless_fold_in(tf.constant([seed, 0], tf.int64), epoch)
        index = tf.random.experimental.index_shuffle(offset, epoch_seed, tf.constant(examples - 1, tf.int64))
        image = augment(images[index], tf.random.experimental.stateless_fold_in(epoch_seed, index))
        return to_model_range(image), labels[index]

    positions = tf.data.Dataset.counter(start_step * batch_size)
    dataset = positions.map(make_example, num_parallel_calls=tf.data.AUTOTUNE)
    return with_data_sharding(dataset.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE))


def evaluation_batches(split, batch_size):
    """Every image of a split once and in order; the last batch may be smaller.

    Returns:
      tf.data.Dataset of (float32 [batch, height, width, channels] in [-1, 1], int32 [batch]).
    """
    dataset = tf.data.Dataset.from_tensor_slices((to_model_range(split.images), split.labels))
    return with_data_sharding(dataset.batch(batch_size).cache().prefetch(tf.data.AUTOTUNE))


def to_model_range(images):
    """[0, 1] to [-1, 1]."""
    return images * 2 - 1


def with_data_sharding(dataset):
    """Several workers each take their part of every batch; there are no files to divide among them."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.with_options(options)
