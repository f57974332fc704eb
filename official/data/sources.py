"""Sources of examples: memory, or records in files.

Every source has its examples in a fixed order, and shuffled, epoch after epoch, from any position of that endless stream. The
example at a position follows from the seed alone.
"""

import numpy as np
import tensorflow as tf


def epoch_seed(seed, epoch):
    """int64 [2], the seed of all random numbers of one epoch (official.data.batches)."""
    return tf.random.experimental.stateless_fold_in(tf.constant([seed, 0], tf.int64), epoch)


def host_constant(value, dtype=None):
    """A tensor in the memory of the host, where input pipelines run."""
    with tf.device("CPU:0"):
        return tf.constant(value, dtype)


class IndexedSource:
    """Examples with random access.

    Args:
      examples: their number.
      get: function of an int64 index to the parts of that example, a tuple of nests of tensors.
      name_of: function of an int index to the name of the example in messages.
      order: indices of all examples, int [examples], in the order of `in_order`; None for 0, 1, 2 and so on.
    """

    def __init__(self, examples, get, name_of, order=None):
        self.examples = examples
        self.get = get
        self.name_of = name_of
        self._order = order

    def in_order(self):
        """tf.data.Dataset of (int64 index, *parts), each example once."""
        if self._order is None:
            indices = tf.data.Dataset.range(self.examples)
        else:
            indices = tf.data.Dataset.from_tensor_slices(host_constant(self._order, tf.int64))
        return indices.map(lambda index: (index, *self.get(index)))

    def shuffled(self, seed, start):
        """Endless tf.data.Dataset of (int64 epoch, int64 index, *parts) from position `start` on.

        Every epoch is a permutation of the examples.
        """

        def at(position):
            epoch, offset = position // self.examples, position % self.examples
            last = tf.constant(self.examples - 1, tf.int64)
            index = tf.random.experimental.index_shuffle(offset, epoch_seed(seed, epoch), last)
            return (epoch, index, *self.get(index))

        return tf.data.Dataset.counter(start).map(at)


class RecordSource:
    """Examples in TFRecord files, which are read sequentially and shuffled by a buffer.

    The order of the files and a buffer of records are shuffled, differently in every epoch. To start inside an epoch, the records
    before that position are read but not decoded.

    Args:
      files: list of (path, records to skip, records to take).
      parse: function of a serialized record to the parts of its example, a tuple of nests of tensors. It may return (record,)
        and leave parsing to a later step that has a batch of records.
      buffer: number of records in the buffer.
    """

    FILES_AT_ONCE = 16

    def __init__(self, files, parse, buffer):
        self.examples = sum(take for _, _, take in files)
        self._files = [str(path) for path, _, _ in files]
        self._skips = np.array([skip for _, skip, _ in files], np.int64)
        self._takes = np.array([take for _, _, take in files], np.int64)
        self._firsts = np.cumsum(self._takes) - self._takes  # the index of each file's first record
        self._parse = parse
        self._buffer = buffer

    def name_of(self, index):
        """The name of the example in messages: its file and the record in it."""
        file = int(np.searchsorted(self._firsts, index, side="right")) - 1
        return f"{self._files[file].rpartition('/')[2]}, record {index - self._firsts[file] + self._skips[file]}"

    def in_order(self):
        """As IndexedSource.in_order."""
        records = self._records(tf.range(len(self._files), dtype=tf.int64), files_at_once=1)
        records = records.apply(tf.data.experimental.assert_cardinality(self.examples))
        return records.map(lambda index, record: (index, *self._parse(record)))

    def shuffled(self, seed, start):
        """As IndexedSource.shuffled."""

        def epoch_of(epoch):
            order_seed, buffer_seed = tf.unstack(tf.random.split(epoch_seed(seed, epoch), 2))
            order = tf.random.experimental.stateless_shuffle(tf.range(len(self._files), dtype=tf.int64), order_seed)
            records = _shuffle(self._records(order, self.FILES_AT_ONCE), self._buffer, buffer_seed)
            return records.map(lambda index, record: (epoch, index, record))

        first, offset = divmod(start, self.examples)
        stream = epoch_of(tf.constant(first, tf.int64)).skip(offset)
        stream = stream.concatenate(tf.data.Dataset.counter(first + 1).flat_map(epoch_of))
        return stream.map(lambda epoch, index, record: (epoch, index, *self._parse(record)))

    def _records(self, order, files_at_once):
        """tf.data.Dataset of (int64 index, serialized record) of the files in that order, `files_at_once` of them interleaved."""
        paths = tf.constant(self._files)
        skips, takes, firsts = tf.constant(self._skips), tf.constant(self._takes), tf.constant(self._firsts)

        def one_file(i):
            records = tf.data.TFRecordDataset(paths[i]).skip(skips[i]).take(takes[i])
            return records.enumerate(firsts[i])

        return tf.data.Dataset.from_tensor_slices(order).interleave(
            one_file, cycle_length=files_at_once, block_length=1, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )


def _shuffle(dataset, buffer, seed):
    """dataset.shuffle by the int64 seed [2] alone: the method also uses the global seed, which a resumed run changes."""
    variant = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(dataset),
        buffer_size=buffer,
        seed=seed[0],
        seed2=seed[1],
        output_types=[spec.dtype for spec in dataset.element_spec],
        output_shapes=[spec.shape for spec in dataset.element_spec],
        reshuffle_each_iteration=False,
    )
    return tf.data.experimental.from_variant(variant, dataset.element_spec)
