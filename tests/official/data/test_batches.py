"""Batches of any source: what is in them, from any step on, and the seeds of their examples."""

import numpy as np
import pytest
import tensorflow as tf

from official.data.batches import evaluation_batches, example_seed, train_batches
from official.data.sources import IndexedSource, epoch_seed

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
