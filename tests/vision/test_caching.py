"""The cache: the same pixels as without, within its limit, decoded once."""

import numpy as np
import pytest
import tensorflow as tf

from official.data.bad_examples import BadExamples
from tests.vision.pictures import (
    CLASSES,
    digests,
    encoded,
    numbered_files,
    numbered_records,
    parse,
    picture,
    record,
    settings,
    write_files,
    write_records,
)
from vision.caching import DECODE_BATCH, cached
from vision.data import EncodedSource, FileSource, array_source, file_source
from vision.pipeline import ImagePipeline

MIB = 2**20


def held(source, limit_mib=1, channels=3, policy="refuse"):
    return cached(source, channels, limit_mib, CLASSES, BadExamples(policy))


@pytest.fixture
def mixed_sizes(tmp_path):
    """A source of 7 files, all of another size, and the bytes of all pixels in color."""
    sizes = [(4 + i, 9 - i) for i in range(7)]
    paths = [tmp_path / f"{i}.png" for i in range(7)]
    for i, (path, (height, width)) in enumerate(zip(paths, sizes, strict=True)):
        path.write_bytes(encoded(picture(i, height, width)))
    return file_source(paths, [i % CLASSES for i in range(7)]), 3 * sum(height * width for height, width in sizes)


def test_images_of_many_sizes(mixed_sizes):
    """Each with its own pixels, label and name."""
    source, _ = mixed_sizes
    found = held(source)
    assert found.decoded
    assert found.examples == 7
    for index, pixels, label in found.in_order():
        i = int(index)
        np.testing.assert_array_equal(pixels, picture(i, 4 + i, 9 - i))
        assert int(label) == i % CLASSES
        assert found.name_of(i) == source.name_of(i)
    assert found.in_order().element_spec[1].shape.as_list() == [None, None, 3]


def test_one_size_is_static(tmp_path):
    assert held(numbered_files(tmp_path, 3)).in_order().element_spec[1] == tf.TensorSpec([10, 12, 3], tf.uint8)


@pytest.mark.further
def test_limit(mixed_sizes):
    """All pixels may be as large as the limit, and not by one byte larger; grey ones are a third."""
    source, size = mixed_sizes
    assert held(source, size / MIB).decoded
    assert held(source, (size - 1) / MIB) is source
    assert held(source, (size - 1) / MIB, channels=1).decoded
    assert held(source, 0) is source


def test_limit_where_the_first_images_are_small(tmp_path):
    """They promise that all will fit, and the others do not."""
    paths = write_files(tmp_path, DECODE_BATCH + 1, height=2, width=2)
    paths[-1].write_bytes(encoded(picture(0, 100, 100)))
    source = file_source(paths, [0] * len(paths))
    size = DECODE_BATCH * 12 + 30_000
    assert held(source, (size - 1) / MIB) is source
    assert held(source, size / MIB).decoded


@pytest.mark.further_cases
@pytest.mark.parametrize("kind", ["files", "records"])
def test_the_same_batches(tmp_path, kind):
    """As those of the source itself: evaluation of both kinds, and training of files, whose order is the same."""
    source = numbered_files(tmp_path, 11) if kind == "files" else numbered_records(tmp_path, (6, 5), 4)
    data = settings(crop="inception", flip=True, eval_crop=0.9)
    kept, streamed = (ImagePipeline(s, 8, 3, CLASSES, data, BadExamples("refuse")) for s in (held(source), source))
    assert digests(kept.evaluation_batches(4), 3) == digests(streamed.evaluation_batches(4), 3)
    if kind == "files":
        assert digests(kept.train_batches(4, 0, 0), 6) == digests(streamed.train_batches(4, 0, 0), 6)


def test_decoded_once():
    """Each image is read one time when the cache is made, in several steps of DECODE_BATCH, and never in training."""
    files = [encoded(picture(i)) for i in range(DECODE_BATCH + 5)]
    read = []

    def count(image):
        def noted(found):
            read.append(found)
            return found

        return tf.ensure_shape(tf.numpy_function(noted, [image], tf.string), [])

    images = tf.constant(files)
    source = FileSource(len(files), lambda i: (images[i], tf.constant(0, tf.int64)), str)
    source.read = count
    kept = held(source)
    assert sorted(read) == sorted(files)
    pipeline = ImagePipeline(kept, 8, 3, CLASSES, settings(), BadExamples("refuse"))
    digests(pipeline.train_batches(DECODE_BATCH, 0, 0), 3)
    assert len(read) == len(files)


def test_pixels_are_left_as_they_are():
    source = array_source(np.zeros((2, 3, 3, 1), np.uint8), [0, 1], "zeros")
    assert held(source) is source


BAD_RECORDS = {0: record(0, image=b"no image"), 3: record(3, label=CLASSES), 4: record(4, label=-1), 6: record(6, image=b"")}


@pytest.fixture
def spoiled(tmp_path):
    """Records of which BAD_RECORDS are bad."""
    path = write_records(tmp_path / "shard", [BAD_RECORDS.get(i, record(i)) for i in range(8)])
    return EncodedSource([(path, 0, 8)], parse, 4)


def test_bad_examples_are_left_out(spoiled):
    """Counted, each with its own reason; the others keep their pixels and names."""
    bad_examples = BadExamples("skip")
    kept = cached(spoiled, 3, 1, CLASSES, bad_examples)
    assert {*bad_examples.found} == {f"shard, record {i}" for i in BAD_RECORDS}
    reasons = [bad_examples.found[f"shard, record {i}"] for i in BAD_RECORDS]
    for reason, expected in zip(
        reasons, ("it cannot be decoded", "its label is 3", "its label is -1", "it is empty"), strict=True
    ):
        assert reason.startswith(expected)
    assert kept.examples == 4
    for (_, pixels, label), i in zip(kept.in_order(), (1, 2, 5, 7), strict=True):
        np.testing.assert_array_equal(pixels, picture(i))
        assert int(label) == i % CLASSES
    assert [kept.name_of(i) for i in range(4)] == [f"shard, record {i}" for i in (1, 2, 5, 7)]


def test_bad_examples_are_refused(spoiled):
    """At once, by name and reason."""
    bad_examples = BadExamples("refuse")
    with pytest.raises(ValueError, match="^shard, record 0: it cannot be decoded"):
        cached(spoiled, 3, 1, CLASSES, bad_examples)
    assert bad_examples.refusal.startswith("shard, record 0: it cannot be decoded")


def test_no_good_example(tmp_path):
    source = numbered_files(tmp_path, 2)
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"none of the 2 examples is usable, such as .*000\.png"):
        held(source, policy="skip")
