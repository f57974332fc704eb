"""Sources: every epoch a permutation, the same from any position on, parts of any shape, and names that lead to the example."""

import numpy as np
import pytest
import tensorflow as tf

from official.data.sources import IndexedSource, RecordSource, host_constant

EXAMPLES = 23
SHARDS = (7, 1, 6, 4, 5)
BUFFER = 6


def write_numbers(path, numbers):
    """A TFRecord file of the numbers, as text."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in numbers:
            writer.write(str(number).encode())
    return str(path)


def parse(record):
    """Parts that are no plain pair: a dict, a ragged tensor and a number."""
    number = tf.strings.to_number(record, tf.int64)
    return {"text": record, "twice": 2 * number}, tf.RaggedTensor.from_row_lengths(tf.range(number), [number]), -number


def numbered_records(folder, sizes, buffer):
    """Records of the numbers from 0 on, in files of these sizes."""
    firsts = (np.cumsum(sizes) - sizes).tolist()
    files = [
        (write_numbers(folder / f"shard-{i}", range(first, first + size)), 0, size)
        for i, (first, size) in enumerate(zip(firsts, sizes, strict=True))
    ]
    return RecordSource(files, parse, buffer)


@pytest.fixture(scope="module", params=["memory", "records"])
def source(request, tmp_path_factory):
    if request.param == "records":
        return numbered_records(tmp_path_factory.mktemp("records"), SHARDS, BUFFER)
    texts = host_constant([str(i) for i in range(EXAMPLES)])
    return IndexedSource(EXAMPLES, lambda i: parse(texts[i]), "text {}".format)


def assert_parts(index, parts):
    """They are those of `parse`."""
    texts, ragged, negative = parts
    assert (texts["text"].numpy(), int(texts["twice"])) == (str(index).encode(), 2 * index)
    assert ragged.to_list() == [list(range(index))]
    assert int(negative) == -index


def stream(source, seed, start, length):
    """[(epoch, index)]; also looks at the parts."""
    found = []
    for epoch, index, *parts in source.shuffled(seed, start).take(length):
        assert (epoch.dtype, index.dtype) == (tf.int64, tf.int64)
        assert_parts(int(index), parts)
        found.append((int(epoch), int(index)))
    return found


def indices(found):
    return [index for _, index in found]


def test_in_order(source):
    """Each example once, in order, with its own parts, and their number is known."""
    found = list(source.in_order())
    assert [int(index) for index, *_ in found] == list(range(EXAMPLES)) == list(range(source.examples))
    for index, *parts in found:
        assert_parts(int(index), parts)
    assert source.in_order().cardinality() == EXAMPLES


def test_every_epoch_is_a_permutation(source):
    """Each example once an epoch, under its epoch's number; another order each time."""
    found = stream(source, 3, 0, 4 * EXAMPLES)
    orders = []
    for epoch in range(4):
        part = found[epoch * EXAMPLES : (epoch + 1) * EXAMPLES]
        assert {number for number, _ in part} == {epoch}
        assert sorted(indices(part)) == list(range(EXAMPLES))
        orders.append(tuple(indices(part)))
    assert len({*orders, tuple(range(EXAMPLES))}) == 5


@pytest.mark.parametrize(
    "start", [1, *(pytest.param(start, marks=pytest.mark.further) for start in (EXAMPLES - 1, EXAMPLES)), 2 * EXAMPLES + 5]
)
def test_may_start_anywhere(source, start):
    """Inside an epoch, at its end and in a later one; also under another global seed, which the driver sets."""
    whole = stream(source, 5, 0, 3 * EXAMPLES)
    tf.random.set_seed(start)
    assert stream(source, 5, start, 3 * EXAMPLES - start) == whole[start:]


def test_seeds(source):
    """The same seed gives the same order, another seed another."""
    assert stream(source, 1, 0, EXAMPLES) == stream(source, 1, 0, EXAMPLES)
    assert stream(source, 1, 0, EXAMPLES) != stream(source, 2, 0, EXAMPLES)


def test_an_order_is_not_repeated_by_another_seed(source):
    """Epoch 1 of seed 0 is not epoch 0 of seed 1, or runs over several seeds would be alike."""
    assert indices(stream(source, 0, EXAMPLES, EXAMPLES)) != indices(stream(source, 1, 0, EXAMPLES))


def test_records_are_named_by_their_place_in_the_file(tmp_path):
    """Also where a part of the file is skipped."""
    path = write_numbers(tmp_path / "numbers-00000-of-00001", range(5))
    other = write_numbers(tmp_path / "other", range(2))
    source = RecordSource([(other, 1, 1), (path, 2, 3)], parse, 1)
    names = ["other, record 1", *(f"numbers-00000-of-00001, record {i}" for i in (2, 3, 4))]
    assert [source.name_of(i) for i in range(4)] == names
    assert [int(negative) for *_, negative in source.in_order()] == [-1, -2, -3, -4]


@pytest.mark.further
def test_buffer_and_files_both_shuffle(tmp_path):
    """With a buffer of one record only the order of the files and their turns change; a larger one mixes more."""
    records = numbered_records(tmp_path, (6, 6), 1)
    turns = [i for pair in zip(range(6), range(6, 12), strict=True) for i in pair]
    other_turns = [i for pair in zip(range(6, 12), range(6), strict=True) for i in pair]
    orders = {tuple(indices(stream(records, seed, 0, 12))) for seed in range(4)}
    assert orders == {tuple(turns), tuple(other_turns)}
    mixed = numbered_records(tmp_path, (6, 6), 12)
    assert len({tuple(indices(stream(mixed, seed, 0, 12))) for seed in range(3)}) == 3
