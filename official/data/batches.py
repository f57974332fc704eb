"""Batches of a source's examples, for training and for evaluation: shuffle, map, batch, map, prefetch.

Axes: B batch size, over all replicas; S examples of the source.

Steps: training reads an endless stream of examples. Its first S examples are epoch 0, the next S epoch 1, and so on; every epoch
is a permutation of the source. Step t takes the examples t * B to t * B + B - 1 of the stream, so a batch may cross the end of
an epoch. A run that resumes at step t gets the same batches as one that was never stopped, with any number of threads.

Seeds: every random number follows from the run's seed, never from TensorFlow's global seed.
- epoch_seed(seed, epoch) of official.data.sources: the order of the examples in an epoch.
- example_seed(seed, epoch, index): what is drawn for one example in one epoch, such as its augmentation or its masked tokens.
  With a constant epoch, all epochs draw the same.

Several processes: each can make a part of every batch, so that together they make what one would (`part_of_batches`).
"""

import contextlib
import dataclasses

import tensorflow as tf

from official.data.sources import epoch_seed, host_constant

GROUPED = 32  # batches within which examples are sorted by length
_GROUPS = 1  # tells the seeds of the order of grouped batches from those of epochs, which have 0


@dataclasses.dataclass
class Part:
    """What a process makes of the batches of a run.

    Attributes:
      index, count: the part number `index` of `count` equal parts of a batch, whose examples stand in a row.
      first, every: of these batches the one number `first`, counted from the first step, and after it every `every`-th.
      elsewhere: whether another process runs the data set, one without the Python functions of this one.
      is_made: whether `train_batches` has made it; a task that makes its batches by other means makes all of each.
    """

    index: int = 0
    count: int = 1
    first: int = 0
    every: int = 1
    elsewhere: bool = False
    is_made: bool = False


_part = Part()


@contextlib.contextmanager
def part_of_batches(index=0, count=1, first=0, every=1, elsewhere=False):
    """A context in which `train_batches` makes the Part of these attributes, which is yielded.

    All other examples are neither decoded nor augmented. A part has batch_size / count examples, and `per_batch` gets only these.
    """
    global _part
    before, _part = _part, Part(index, count, first, every, elsewhere)
    try:
        yield _part
    finally:
        _part = before


def is_for_elsewhere():
    """Whether a data set that is made now will run in another process: inside a `part_of_batches` that says so."""
    return _part.elsewhere


def example_seed(seed, epoch, index):
    """int64 [2], the seed of one example in one epoch."""
    return tf.random.experimental.stateless_fold_in(epoch_seed(seed, epoch), index)


def train_batches(source, seed, step, batch_size, per_batch, per_example=None, rows=1, lengths=None):
    """Endless batches of static size, from one step on.

    With `lengths`, batches have examples of about one length: the examples of GROUPED batches in a row are sorted by length and
    cut into batches, whose order is then drawn.

    Args:
      source: an IndexedSource or a RecordSource of official.data.sources.
      seed: of the run, an int.
      step: the first step.
      batch_size: B.
      per_batch: function of the examples' parts, each stacked to [B, ...], to (inputs, labels), nests of tensors.
      per_example: function of (int64 epoch, int64 index, *parts of the source's example) to the parts that are batched. None
        batches epoch, index and parts as they are.
      rows: that `per_batch` makes of each example.
      lengths: int [S], or None.

    Returns:
      tf.data.Dataset of (inputs, labels), whose first axes have the static size B * rows, or inside `part_of_batches` that
      of the part.

    Raises:
      ValueError: parts of a batch that are not equal.
    """
    part = _part
    if batch_size % part.count:
        raise ValueError(f"train.batch_size={batch_size} is not allowed: it must be a multiple of {part.count} workers")
    size = batch_size // part.count

    def static_batch(*parts):
        return tf.nest.map_structure(lambda x: tf.ensure_shape(x, [size * rows, *x.shape[1:]]), per_batch(*parts))

    if lengths is None:
        examples = source.shuffled(seed, step * batch_size)
    else:
        examples = _grouped(source, seed, step, batch_size, host_constant(lengths))
    part.is_made = True
    if part.count > 1 or part.every > 1:

        def is_its_own(position, example):
            batch, place = position // batch_size, position % batch_size
            return tf.equal(batch % part.every, part.first) & tf.equal(place // size, part.index)

        examples = examples.enumerate().filter(is_its_own).map(lambda position, example: example)
    return _batches(examples, size, static_batch, per_example, drop_remainder=True)


def evaluation_batches(source, batch_size, per_batch, per_example=None):
    """Every example of a source once, in the source's order; the last batch may be smaller.

    Args:
      source, batch_size, per_batch: as of `train_batches`.
      per_example: function of (int64 index, *parts of the source's example) to the parts that are batched, or None.

    Returns:
      tf.data.Dataset of what `per_batch` returns. Its number of batches is known, which Keras asks for.
    """
    return _batches(source.in_order(), batch_size, per_batch, per_example, drop_remainder=False)


def _grouped(source, seed, step, batch_size, lengths):
    """The examples of source.shuffled from a step on, those of each GROUPED batches in the order of `train_batches`."""
    group, done = divmod(step, GROUPED)
    groups = source.shuffled(seed, group * GROUPED * batch_size).batch(GROUPED * batch_size, drop_remainder=True)

    def ordered(number, parts):
        by_length = tf.argsort(tf.gather(lengths, parts[1]), stable=True)
        batches = tf.reshape(by_length, [GROUPED, batch_size])
        drawn = tf.random.experimental.stateless_fold_in(tf.constant([seed, _GROUPS], tf.int64), number)
        places = tf.reshape(tf.random.experimental.stateless_shuffle(batches, drawn), [-1])
        return tf.nest.map_structure(lambda part: tf.gather(part, places), parts)

    return groups.enumerate(group).map(ordered).unbatch().skip(done * batch_size)


def _batches(examples, batch_size, per_batch, per_example, drop_remainder):
    if per_example is not None:
        examples = examples.map(per_example, num_parallel_calls=tf.data.AUTOTUNE)
    batches = examples.batch(batch_size, drop_remainder=drop_remainder).map(per_batch, num_parallel_calls=tf.data.AUTOTUNE)
    # Where several workers share what one makes, each takes its part of every batch: there may be fewer files than workers.
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)
