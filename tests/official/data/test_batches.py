"""Batches of any source: what is in them, from any step on, and the seeds of their examples."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from official.data.batches import evaluation_batches, example_seed, part_of_batches, train_batches
from official.data.sources import IndexedSource, epoch_seed
from tests.official.data.test_sources import SHARDS, numbered_records

ORDER = [3, 0, 4, 1, 2]


@pytest.fixture(scope="module")
def source():
    """Five numbers; in evaluation they come in ORDER."""
    return IndexedSource(5, lambda index: (10 * index,), "number {}".format, ORDER)


def test_training(source):
    """Steps 2 and 3 of the stream, through both functions; an epoch ends inside a batch, and the size is static."""
    per_batch = lambda epoch, number: (tf.RaggedTensor.from_row_lengths(number, [1] * 4).to_tensor(), epoch)  # noqa: E731
    batches = train_batches(source, 7, 2, 4, per_batch, lambda epoch, index, number: (epoch, number + index))
    assert batches.element_spec == (tf.TensorSpec([4, None], tf.int64), tf.TensorSpec([4], tf.int64))
    stream = [(11 * int(index), int(epoch)) for epoch, index, _ in source.shuffled(7, 8).take(8)]
    found = [(batch[:, 0].tolist(), epochs.tolist()) for batch, epochs in batches.take(2).as_numpy_iterator()]
    assert found == [tuple(map(list, zip(*stream[at : at + 4], strict=True))) for at in (0, 4)]
    assert found[0][1] == [1, 1, 2, 2]


def test_evaluation(source):
    """Every example once, in the source's order; the last batch is smaller, and the number of batches is known."""
    batches = evaluation_batches(source, 2, lambda index, number: (number, index))
    assert batches.cardinality() == 3
    assert [labels.tolist() for _, labels in batches.as_numpy_iterator()] == [ORDER[:2], ORDER[2:4], ORDER[4:]]
    mapped = evaluation_batches(source, 5, lambda number: (number, number), lambda index, number: (number + index,))
    assert next(iter(mapped))[0].numpy().tolist() == [11 * index for index in ORDER]


def test_workers_share_batches(source):
    """By data, not by files: there may be fewer files than workers."""
    batches = lambda index, number: (index, number)  # noqa: E731
    for dataset in (train_batches(source, 0, 0, 2, batches, lambda _, *parts: parts), evaluation_batches(source, 2, batches)):
        policy = dataset.options().experimental_distribute.auto_shard_policy
        assert policy == tf.data.experimental.AutoShardPolicy.DATA


def test_every_example_has_a_seed_of_its_own():
    """Another run, epoch or index gives another seed; the same three give the same one, whatever TensorFlow's seed is."""
    of = {places: tuple(example_seed(*places).numpy()) for places in np.ndindex(3, 3, 3)}
    assert len(set(of.values())) == 27
    assert not set(of.values()) & {tuple(epoch_seed(*places).numpy()) for places in np.ndindex(3, 3)}
    tf.random.set_seed(1)
    assert tuple(example_seed(2, 1, 0).numpy()) == of[2, 1, 0]


class TestParts:
    """Several workers, each with its part of every batch, make what one makes."""

    BATCH, EXAMPLES = 12, sum(SHARDS)

    @pytest.fixture(scope="class", params=["memory", "files"])
    def numbers(self, request, tmp_path_factory):
        """A source of 23 numbers."""
        if request.param == "memory":
            return IndexedSource(self.EXAMPLES, lambda index: (10 * index,), "number {}".format)
        return numbered_records(tmp_path_factory.mktemp("records"), SHARDS, buffer=5)

    def stream(self, numbers, workers, start, steps, lengths):
        """[(epoch, index)] of `steps` batches, those of all workers joined."""
        batches = []
        for worker in range(workers):
            with part_of_batches(worker, workers) as part:
                dataset = train_batches(numbers, 7, start, self.BATCH, lambda epoch, index, *_: (epoch, index), lengths=lengths)
            assert part.is_made
            assert dataset.element_spec == (tf.TensorSpec([self.BATCH // workers], tf.int64),) * 2
            batches.append([np.stack(batch, axis=1) for batch in dataset.take(steps).as_numpy_iterator()])
        return [tuple(pair) for of_step in zip(*batches, strict=True) for pair in np.concatenate(of_step).tolist()]

    @pytest.mark.further_cases
    @pytest.mark.parametrize("start", [0, 30])
    @pytest.mark.parametrize("grouped", [False, True])
    def test_each_example_once(self, numbers, grouped, start):
        """In whole epochs, from the first step and from one inside an epoch and inside 32 batches that are sorted by length."""
        lengths = np.arange(self.EXAMPLES)[::-1] % 7 if grouped else None
        whole = self.stream(numbers, 1, start, 34 - start, lengths)
        for workers in (2, 3):
            assert self.stream(numbers, workers, start, 34 - start, lengths) == whole
        if start and grouped:
            return  # the batches before these have examples of the same epochs
        begin, end = start * self.BATCH, (32 if grouped else 34) * self.BATCH
        epochs = range(-(-begin // self.EXAMPLES), end // self.EXAMPLES)  # that begin and end there
        assert len(epochs) >= 1
        for epoch in epochs:
            assert sorted(index for of, index in whole if of == epoch) == list(range(self.EXAMPLES)), epoch

    def test_only_its_own_are_prepared(self, numbers):
        """What takes time, decoding and augmentation, is made for the examples of the part alone."""
        with part_of_batches(1, 3):
            prepared = []

            def prepare(epoch, index, *parts):
                tf.py_function(lambda i: prepared.append(int(i)), [index], [])
                return epoch, index

            batches = train_batches(numbers, 7, 0, self.BATCH, lambda *parts: parts, prepare)
        own = [index for at, (_, index) in enumerate(self.stream(numbers, 1, 0, 20, None)) if at % 12 // 4 == 1]
        found = np.concatenate([index for _, index in batches.take(3).as_numpy_iterator()]).tolist()
        assert found == own[:12]
        assert not collections.Counter(prepared) - collections.Counter(own)  # those of some of the next batches, too

    def test_unequal_parts(self, numbers):
        with pytest.raises(ValueError, match="^train.batch_size=12 is not allowed: it must be a multiple of 5 workers$"):
            self.stream(numbers, 5, 0, 1, None)
