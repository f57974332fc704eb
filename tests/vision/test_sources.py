"""Sources: every epoch a permutation, the same from any position on, and names that lead to the example."""

import numpy as np
import pytest
import tensorflow as tf

from tests.vision.pictures import CLASSES, encoded, numbered_files, numbered_records, parse, picture, record, write_records
from vision.sources import RecordSource, array_source

EXAMPLES = 23
SHARDS = (7, 1, 6, 4, 5)
BUFFER = 6


@pytest.fixture(scope="module", params=["memory", "files", "records"])
def source(request, tmp_path_factory):
    if request.param == "memory":
        pixels = np.stack([picture(i) for i in range(EXAMPLES)])
        return array_source(pixels, np.arange(EXAMPLES) % CLASSES, "pictures")
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "files":
        return numbered_files(folder, EXAMPLES)
    return numbered_records(folder, SHARDS, BUFFER)


def stream(source, seed, start, length):
    """[(epoch, index, bytes of the image or its file, label)]"""
    found = source.shuffled(seed, start).take(length)
    return [(int(epoch), int(index), content(source, image), int(label)) for epoch, index, image, label in found]


def content(source, image):
    return image.numpy().tobytes() if source.decoded else source.read(image).numpy()


def indices(found):
    return [index for _, index, *_ in found]


def expected_content(source, index):
    return picture(index).tobytes() if source.decoded else encoded(picture(index))


def test_in_order(source):
    """Each example once, in order, with its image and its label."""
    found = [(int(index), content(source, image), int(label)) for index, image, label in source.in_order()]
    assert [index for index, *_ in found] == list(range(EXAMPLES)) == list(range(source.examples))
    for index, image, label in found:
        assert label == index % CLASSES
        assert image == expected_content(source, index)


def test_every_epoch_is_a_permutation(source):
    """Each example once an epoch, under its epoch's number, with its own image and label; another order each time."""
    found = stream(source, 3, 0, 4 * EXAMPLES)
    orders = []
    for epoch in range(4):
        part = found[epoch * EXAMPLES : (epoch + 1) * EXAMPLES]
        assert {number for number, *_ in part} == {epoch}
        assert sorted(indices(part)) == list(range(EXAMPLES))
        orders.append(tuple(indices(part)))
    assert len({*orders, tuple(range(EXAMPLES))}) == 5
    for _, index, image, label in found:
        assert label == index % CLASSES
        assert image == expected_content(source, index)


@pytest.mark.parametrize("start", [1, EXAMPLES - 1, EXAMPLES, 2 * EXAMPLES + 5])
def test_may_start_anywhere(source, start):
    """Inside an epoch, at its end and in a later one; also under another global seed, which the driver sets."""
    whole = stream(source, 5, 0, 3 * EXAMPLES)
    tf.random.set_seed(start)
    assert stream(source, 5, start, 3 * EXAMPLES - start) == whole[start:]


def test_seeds(source):
    """The same seed gives the same order, another seed another."""
    assert indices(stream(source, 1, 0, EXAMPLES)) == indices(stream(source, 1, 0, EXAMPLES))
    assert indices(stream(source, 1, 0, EXAMPLES)) != indices(stream(source, 2, 0, EXAMPLES))


def test_an_order_is_not_repeated_by_another_seed(source):
    """Epoch 1 of seed 0 is not epoch 0 of seed 1, or runs over several seeds would be alike."""
    assert indices(stream(source, 0, EXAMPLES, EXAMPLES)) != indices(stream(source, 1, 0, EXAMPLES))


class TestNames:
    def test_memory(self):
        source = array_source(np.zeros((3, 2, 2, 1), np.uint8), [0, 1, 2], "digits, train split")
        assert source.name_of(2) == "digits, train split, image 2"

    def test_files(self, tmp_path):
        assert numbered_files(tmp_path, 3).name_of(1) == str(tmp_path / "001.png")

    def test_records_are_named_by_their_place_in_the_file(self, tmp_path):
        """Also where a part of the file is skipped."""
        path = write_records(tmp_path / "pictures-00000-of-00001", map(record, range(5)))
        other = write_records(tmp_path / "other", map(record, range(2)))
        source = RecordSource([(other, 1, 1), (path, 2, 3)], parse, 1)
        assert [source.name_of(i) for i in range(4)] == [
            "other, record 1",
            *(f"pictures-00000-of-00001, record {i}" for i in (2, 3, 4)),
        ]
        labels = [int(label) for *_, label in source.in_order()]
        assert labels == [1, 2, 0, 1]


def test_buffer_and_files_both_shuffle(tmp_path):
    """With a buffer of one record only the order of the files and their turns change; a larger one mixes more."""
    records = numbered_records(tmp_path, (6, 6), 1)
    turns = [i for pair in zip(range(6), range(6, 12), strict=True) for i in pair]
    other_turns = [i for pair in zip(range(6, 12), range(6), strict=True) for i in pair]
    orders = {tuple(indices(stream(records, seed, 0, 12))) for seed in range(4)}
    assert orders == {tuple(turns), tuple(other_turns)}
    mixed = numbered_records(tmp_path, (6, 6), 12)
    assert len({tuple(indices(stream(mixed, seed, 0, 12))) for seed in range(3)}) == 3
