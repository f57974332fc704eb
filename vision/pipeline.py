"""Batches of images for training and evaluation (official.data.batches)."""

import functools

import numpy as np
import tensorflow as tf

from official.data.batches import evaluation_batches, example_seed, is_for_elsewhere, train_batches
from official.data.sources import IndexedSource
from official.task import Split
from vision.data import label_problem
from vision.decoding import image_problem, or_else
from vision.preprocessing import evaluation_image, training_image
from vision.sizes import sides


class ImagePipeline:
    """Batches of a source's examples.

    Args:
      source: of vision.data.
      size, channels: of the model's images; a size is a side, or (height, width).
      classes: number of classes.
      data: the recipe's `data` settings (vision.preprocessing.DATA).
      bad_examples: an official.data.bad_examples.BadExamples.
    """

    def __init__(self, source, size, channels, classes, data, bad_examples):
        self._source = source
        self._size = size
        self._channels = channels
        self._classes = classes
        self._data = data
        self._bad_examples = bad_examples

    def describe(self, class_names):
        """The official.task.Split of the source; examples of a class are counted only where they have random access."""
        if not isinstance(self._source, IndexedSource):
            return Split(self._source.examples, class_names)
        counts = np.zeros(self._classes, np.int64)
        for labels in self._source.in_order().map(lambda index, image, label: label).batch(4096).as_numpy_iterator():
            counts += np.bincount(labels[(labels >= 0) & (labels < self._classes)], minlength=self._classes)
        return Split(self._source.examples, class_names, tuple(counts.tolist()))

    def train_batches(self, batch_size, seed, start_step):
        """Endless augmented batches of static shape.

        A bad example is replaced by the next good one of its batch; a batch without any good one is an error.

        Args:
          batch_size: even if data.mixup is above 0, since mixup makes pairs.
          seed, start_step: as of official.data.batches.train_batches.

        Returns:
          tf.data.Dataset of (float32 [batch, height, width, channels] in [-1, 1], float32 [batch, classes], rows sum to 1).
        """
        per_example = functools.partial(self._train_example, seed)
        return train_batches(self._source, seed, start_step, batch_size, self._finish, per_example)

    def first_examples(self, count, seed, epoch):
        """One batch, as of `train_batches`, of the source's first examples in order, augmented as in the given epoch."""
        examples = self._source.in_order().take(count)
        examples = examples.map(functools.partial(self._train_example, seed, tf.constant(epoch, tf.int64)))
        return next(iter(examples.batch(count).map(self._finish)))

    def evaluation_batches(self, batch_size):
        """Every good example once, in order. The last batch may be smaller, as are batches with bad examples.

        Returns:
          tf.data.Dataset as of `train_batches`, with one-hot labels and a known number of batches.
        """

        def make_example(index, image, label):
            prepare = functools.partial(evaluation_image, **self._of_model, eval_crop=self._data.eval_crop)
            pixels, ok = self._checked(prepare, index, image, label)
            return pixels, tf.one_hot(label, self._classes), ok

        def good_ones(pixels, labels, ok):
            with tf.control_dependencies([_some(ok)]):
                return tf.boolean_mask(pixels, ok), tf.boolean_mask(labels, ok)

        # Bad examples are dropped from batches, not from the stream, so that the number of batches is known.
        return evaluation_batches(self._source, batch_size, good_ones, make_example)

    def _train_example(self, seed, epoch, index, image, label):
        seed_of_image, seed_of_mixup = tf.unstack(tf.random.split(example_seed(seed, epoch, index), 2))
        augment = functools.partial(training_image, seed=seed_of_image, **self._of_model, data=self._data)
        pixels, ok = self._checked(augment, index, image, label)
        return pixels, label, seed_of_mixup, ok

    @property
    def _of_model(self):
        return dict(size=self._size, channels=self._channels)

    def _checked(self, prepare, index, image, label):
        """(prepare(image), whether the example is good). A bad one is reported, and its pixels are zeros."""
        shape = [*sides(self._size), self._channels]
        if self._source.decoded:
            pixels, decoded = prepare(image), tf.constant(True)
        else:
            pixels, decoded = or_else(lambda: prepare(self._source.read(image)), tf.zeros(shape))
        ok = decoded & (label >= 0) & (label < self._classes)
        encoded = tf.constant("") if self._source.decoded else image
        if is_for_elsewhere():  # where nothing is reported
            problem = tf.strings.format("example {} is damaged, neither JPEG nor PNG, or of an unknown class", index)
            refusal = tf.cond(ok, lambda: "", lambda: problem)
        else:
            facts = [index, encoded, label, decoded]
            refusal = tf.cond(ok, lambda: "", lambda: tf.numpy_function(self._report, facts, tf.string))
        with tf.control_dependencies([tf.debugging.Assert(tf.equal(refusal, ""), [refusal])]):
            return tf.ensure_shape(pixels, shape), tf.identity(ok)

    def _report(self, index, image, label, decoded):
        """The sentence of a refusal, or "". It is returned, since TensorFlow logs raised errors with their tracebacks."""
        problem = label_problem(label, self._classes) if decoded else image_problem(self._source.read, image, self._channels)
        try:
            self._bad_examples.add(self._source.name_of(int(index)), problem)
        except ValueError as refusal:
            return str(refusal)
        return ""

    def _finish(self, pixels, label, seeds, ok):
        """Replaces bad examples, and turns labels into distributions over the classes."""
        pixels, label, seeds = (tf.gather(x, _good_positions(ok)) for x in (pixels, label, seeds))
        labels = tf.one_hot(label, self._classes)
        if not (self._data.label_smoothing or self._data.mixup):
            return pixels, labels
        from vision.mixup import mixup, smooth_labels

        return mixup(pixels, smooth_labels(labels, self._data.label_smoothing), seeds, self._data.mixup)


def _good_positions(ok):
    """For each position of a batch, the first good one at or after it, with wrap-around: bool [B] to int64 [B].

    Raises:
      tf.errors.InvalidArgumentError: if there is none.
    """
    good = tf.where(ok)[:, 0]
    with tf.control_dependencies([_some(ok)]):
        next_good = tf.searchsorted(good, tf.range(tf.size(ok, tf.int64))) % tf.size(good)
    return tf.gather(good, next_good)


def _some(ok):
    return tf.debugging.Assert(tf.reduce_any(ok), ["no example of a batch is usable"])
