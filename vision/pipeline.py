"""Batches of images: any step's training batch can be made without those before it."""

import functools

import tensorflow as tf

from official.data.batches import evaluation_batches, example_seed, train_batches
from vision.caching import label_problem
from vision.decoding import or_else, what_is_wrong
from vision.mixup import mixup, smooth_labels
from vision.preprocessing import evaluation_image, training_image


class ImagePipeline:
    """From a source's examples to batches.

    Args:
      source: of vision.sources.
      size, channels: of the images that the model takes.
      classes: how many.
      data: the recipe's `data` settings (vision.preprocessing.data_settings).
      bad_examples: an official.data.bad_examples.BadExamples.
    """

    def __init__(self, source, size, channels, classes, data, bad_examples):
        self._source = source
        self._size = size
        self._channels = channels
        self._classes = classes
        self._data = data
        self._bad_examples = bad_examples

    def train_batches(self, batch_size, seed, start_step):
        """Endless augmented batches of static shape, epoch after epoch, each a new permutation of the source.

        The example at a position of the stream and its random numbers follow from (seed, epoch, index) alone, so a run that goes
        on at `start_step` sees what it would have seen, whatever the number of threads. The place of a bad example is taken by
        the next good one of its batch, and a batch without any good one is an error.

        Args:
          batch_size: even where data.mixup mixes the examples two by two.

        Returns:
          tf.data.Dataset of (float32 [batch, size, size, channels] in [-1, 1], float32 [batch, classes], rows sum to 1).
        """

        per_example = functools.partial(self._train_example, seed)
        return train_batches(self._source, seed, start_step, batch_size, self._finish, per_example)

    def first_examples(self, count, seed, epoch):
        """The first examples of the source as they are trained on in one epoch, a batch of `train_batches` but for the order."""
        examples = self._source.in_order().take(count)
        examples = examples.map(functools.partial(self._train_example, seed, tf.constant(epoch, tf.int64)))
        return next(iter(examples.batch(count).map(self._finish)))

    def evaluation_batches(self, batch_size):
        """Every good example once and in order; the last batch may be smaller, and so is one with bad examples.

        Returns:
          tf.data.Dataset as of `train_batches`, labels one-hot and of a known number of batches.
        """

        def make_example(index, image, label):
            prepare = functools.partial(evaluation_image, **self._of_model, eval_crop=self._data.eval_crop)
            pixels, ok = self._checked(prepare, index, image, label)
            return pixels, tf.one_hot(label, self._classes), ok

        def good_ones(pixels, labels, ok):
            with tf.control_dependencies([_some(ok)]):
                return tf.boolean_mask(pixels, ok), tf.boolean_mask(labels, ok)

        # Bad examples leave their batches and not the stream, so that the number of batches is known.
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
        """(prepare(image), whether the example is good); a bad one is told of, and its pixels are zeros."""
        shape = [self._size, self._size, self._channels]
        if self._source.decoded:
            pixels, decoded = prepare(image), tf.constant(True)
        else:
            pixels, decoded = or_else(lambda: prepare(self._source.read(image)), tf.zeros(shape))
        ok = decoded & (label >= 0) & (label < self._classes)
        name = tf.constant("") if self._source.decoded else image  # what _tell can read again
        refusal = tf.cond(ok, lambda: "", lambda: tf.numpy_function(self._tell, [index, name, label, decoded], tf.string))
        with tf.control_dependencies([tf.debugging.Assert(tf.equal(refusal, ""), [refusal])]):
            return tf.ensure_shape(pixels, shape), tf.identity(ok)

    def _tell(self, index, image, label, decoded):
        """The sentence of a refusal, or "": an error raised here would be logged with its traceback."""
        problem = label_problem(label, self._classes) if decoded else what_is_wrong(self._source.read, image, self._channels)
        try:
            self._bad_examples.add(self._source.name_of(int(index)), problem)
        except ValueError as refusal:
            return str(refusal)
        return ""

    def _finish(self, pixels, label, seeds, ok):
        """Fills the places of bad examples, and makes the labels' distributions."""
        pixels, label, seeds = (tf.gather(x, _good_places(ok)) for x in (pixels, label, seeds))
        labels = smooth_labels(tf.one_hot(label, self._classes), self._data.label_smoothing)
        return mixup(pixels, labels, seeds, self._data.mixup)


def _good_places(ok):
    """For each place of a batch [B] the next good one at or after it, around the end: int64 [B].

    Raises:
      tf.errors.InvalidArgumentError: where there is none.
    """
    good = tf.where(ok)[:, 0]
    with tf.control_dependencies([_some(ok)]):
        next_good = tf.searchsorted(good, tf.range(tf.size(ok, tf.int64))) % tf.size(good)
    return tf.gather(good, next_good)


def _some(ok):
    return tf.debugging.Assert(tf.reduce_any(ok), ["no example of a batch can be used"])
