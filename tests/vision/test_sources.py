"""Sources of images: each picture with its own label, in order and shuffled, and names that lead to the example."""

import numpy as np
import pytest

from tests.vision.pictures import CLASSES, encoded, numbered_files, numbered_records, picture
from vision.sources import array_source

EXAMPLES = 23


@pytest.fixture(scope="module", params=["memory", "files", "records"])
def source(request, tmp_path_factory):
    if request.param == "memory":
        pixels = np.stack([picture(i) for i in range(EXAMPLES)])
        return array_source(pixels, np.arange(EXAMPLES) % CLASSES, "pictures")
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "files":
        return numbered_files(folder, EXAMPLES)
    return numbered_records(folder, (7, 1, 6, 4, 5), buffer=6)


def content(source, image):
    return image.numpy().tobytes() if source.decoded else source.read(image).numpy()


def expected_content(source, index):
    return picture(index).tobytes() if source.decoded else encoded(picture(index))


def test_in_order(source):
    """Each example once, in order, with its image and its label."""
    found = [(int(index), content(source, image), int(label)) for index, image, label in source.in_order()]
    assert [index for index, *_ in found] == list(range(EXAMPLES)) == list(range(source.examples))
    for index, image, label in found:
        assert label == index % CLASSES
        assert image == expected_content(source, index)


def test_shuffled(source):
    """Each example once an epoch, with its own image and label."""
    found = list(source.shuffled(3, 0).take(EXAMPLES))
    assert sorted(int(index) for _, index, *_ in found) == list(range(EXAMPLES))
    for epoch, index, image, label in found:
        assert (int(epoch), int(label)) == (0, index % CLASSES)
        assert content(source, image) == expected_content(source, int(index))


def test_names(tmp_path):
    source = array_source(np.zeros((3, 2, 2, 1), np.uint8), [0, 1, 2], "digits, train split")
    assert source.name_of(2) == "digits, train split, image 2"
    assert numbered_files(tmp_path, 3).name_of(1) == str(tmp_path / "001.png")
