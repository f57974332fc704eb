"""Images in memory and the batches made of them: any step's batch can be made without those before it."""

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
    """A data set with its fixed splits."""

    train: Images
    validation: Images
    classes: int


def load_digits():
    """scikit-learn's 1,797 scans of handwritten digits, 8 x 8 grey pixels (UCI ML repository, "Optical Recognition of Handwritten
    Digits"), inside its wheel. Every fifth image is for validation.
    """
    from sklearn import datasets

    digits = datasets.load_digits()
    images = (digits.images / 16).astype(np.float32)[..., np.newaxis]
    labels = digits.target.astype(np.int32)
    held_out = np.arange(len(labels)) % 5 == 4
    return Dataset(Images(images[~held_out], labels[~held_out]), Images(images[held_out], labels[held_out]), classes=10)


DATASETS = {"digits": load_digits}


def load_dataset(name):
    """The Dataset of that name.

    Raises:
      ValueError: a name that is not in DATASETS.
    """
    if name not in DATASETS:
        raise ValueError(f"data.name={name!r} is not allowed: it must be one of {', '.join(DATASETS)}")
    return DATASETS[name]()


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
