"""Examples of a file, random ones, and those of a data set."""

import numpy as np
import pytest
import tensorflow as tf

from official.serving.example_inputs import dataset_examples, random_examples, read_examples

IMAGE = {"images": tf.TensorSpec([None, 2, 2, 1], tf.float32)}
TEXT = {"ids": tf.TensorSpec([None, None], tf.int32), "mask": tf.TensorSpec([None, None], tf.int32)}


def test_a_file(tmp_path):
    """The array of a single input may have any name; it is split into batches, and gets the dtype of the signature."""
    images = np.arange(20 * 4, dtype=np.float64).reshape(20, 2, 2, 1)
    np.savez(tmp_path / "images.npz", anything=images)
    found = read_examples(tmp_path / "images.npz", IMAGE)
    assert [len(batch["images"]) for batch in found.batches] == [16, 4]
    np.testing.assert_array_equal(np.concatenate([batch["images"] for batch in found.batches]), images)
    assert found.batches[0]["images"].dtype == np.float32
    assert found.origin == f"the 20 examples in {tmp_path}/images.npz"


@pytest.mark.parametrize(
    "arrays, words",
    [
        (dict(ids=np.zeros([2, 3])), "has no array for the input mask; it has ids"),
        (dict(ids=np.zeros([2, 3]), mask=np.zeros([2])), r"mask is \[2\] and must be \(None, None\)"),
        (dict(ids=np.zeros([2, 3]), mask=np.zeros([1, 3])), r"all inputs must have the same number of examples, .* \[1, 2\]"),
        (dict(ids=np.zeros([0, 3]), mask=np.zeros([0, 3])), r"at least one; here \[0\]"),
    ],
)
def test_a_file_that_does_not_fit(tmp_path, arrays, words):
    np.savez(tmp_path / "texts.npz", **arrays)
    with pytest.raises(ValueError, match=words) as raised:
        read_examples(tmp_path / "texts.npz", TEXT)
    assert "texts.npz" in str(raised.value)


@pytest.mark.parametrize("content", [None, b"no archive", b"PK\x03\x04 torn"])
def test_a_file_that_is_none(tmp_path, content):
    path = tmp_path / "a.npz"
    if content:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npz' is not a NumPy \.npz file that can be read: "):
        read_examples(path, IMAGE)


def test_an_array_that_is_no_archive(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(ValueError, match="is not a NumPy .npz file"):
        read_examples(tmp_path / "a.npy", IMAGE)


def test_random_ones():
    """The same for the same seed; floats fill [-1, 1), integers are 0 and 1, unknown lengths are 32."""
    specs = {**IMAGE, **TEXT}
    found, again, other = random_examples(specs, 20), random_examples(specs, 20), random_examples(specs, 20, seed=1)
    tf.nest.map_structure(np.testing.assert_array_equal, found.batches, again.batches)
    assert np.any(found.batches[0]["images"] != other.batches[0]["images"])
    assert found.batches[0]["images"].min() < -0.9 and 0.9 < found.batches[0]["images"].max() < 1
    assert set(np.unique(found.batches[0]["ids"])) == {0, 1}
    assert found.batches[1]["ids"].shape == (4, 32)
    assert found.origin == "20 random examples of seed 0"


def test_of_a_data_set():
    """In its own batches, whose lengths differ, up to the requested number; other inputs are dropped."""

    def batches():
        for size, length in ((3, 2), (3, 4), (3, 1)):
            yield {"ids": np.ones([size, length], np.int32), "mask": np.ones([size, length], np.int32), "more": 0}, 7

    spec = {**{name: tf.TensorSpec([None, None], tf.int32) for name in TEXT}, "more": tf.TensorSpec([], tf.int32)}
    dataset = tf.data.Dataset.from_generator(batches, output_signature=(spec, tf.TensorSpec([], tf.int32)))
    found = dataset_examples(dataset, TEXT, 5, "the test split")
    assert [batch["ids"].shape for batch in found.batches] == [(3, 2), (2, 4)]
    assert found.batches[0].keys() == TEXT.keys()
    assert found.origin == "the first 5 examples of the test split"
    assert dataset_examples(dataset, TEXT, 50, "all").origin == "the first 9 examples of all"


def test_as_many_as_a_call_takes():
    """Repeated from the start if there are fewer."""
    images = np.arange(3 * 4, dtype=np.float32).reshape(3, 2, 2, 1)
    dataset = tf.data.Dataset.from_tensors((images, 0))
    found = dataset_examples(dataset, IMAGE, 3, "x").first(7)
    np.testing.assert_array_equal(found["images"], images[[0, 1, 2, 0, 1, 2, 0]])
