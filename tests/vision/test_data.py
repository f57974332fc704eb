"""Batches: fixed splits, one order whatever the step a run goes on from, every image once an epoch."""

import itertools
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from vision.data import DATASETS, Images, evaluation_batches, load_dataset, load_tfds, train_batches

ROOT = pathlib.Path(__file__).parents[2]
FASHION_MNIST = pathlib.Path("/usr/share/datasets/fashion-mnist")


def identity(image, seed):
    return image


def numbered(examples):
    """Images that carry their own number: value i / examples in every pixel, and i as label."""
    values = np.arange(examples, dtype=np.float32) / examples
    return Images(np.broadcast_to(values[:, None, None, None], (examples, 2, 2, 1)).copy(), np.arange(examples, dtype=np.int32))


def labels_of(dataset, batches):
    return [labels.numpy().tolist() for _, labels in dataset.take(batches)]


def stream_of(dataset, batches):
    """The labels of all these batches in one list."""
    return list(itertools.chain.from_iterable(labels_of(dataset, batches)))


class TestDigits:
    @pytest.fixture(scope="class")
    def digits(self):
        return load_dataset("digits")

    def test_split_sizes_and_values(self, digits):
        """1,797 scans, grey values from 0 to 1, ten classes in both splits."""
        assert digits.classes == 10
        for split, size in ((digits.train, 1438), (digits.validation, 359)):
            assert split.images.shape == (size, 8, 8, 1)
            assert split.images.dtype == np.float32
            assert split.labels.shape == (size,)
            assert split.labels.dtype == np.int32
            assert split.images.min() == 0
            assert split.images.max() == 1
            assert set(split.labels) == set(range(10))

    def test_validation_is_every_fifth(self, digits):
        """Against scikit-learn's own arrays: image i is for validation where i % 5 is 4, and each is in one split."""
        from sklearn.datasets import load_digits

        source = load_digits()
        held_out = [i for i in range(1797) if i % 5 == 4]
        kept = [i for i in range(1797) if i % 5 != 4]
        assert len(held_out) == 359
        for split, indices in ((digits.validation, held_out), (digits.train, kept)):
            np.testing.assert_array_equal(split.labels, source.target[indices])
            np.testing.assert_array_equal(split.images[..., 0] * 16, source.images[indices])

    def test_the_same_every_time(self, digits):
        """Two loads agree, so a resumed run validates on what it has not trained on."""
        again = load_dataset("digits")
        np.testing.assert_array_equal(again.train.images, digits.train.images)
        np.testing.assert_array_equal(again.validation.labels, digits.validation.labels)


class TestTfds:
    @pytest.fixture
    def prepared(self, tmp_path):
        """A data set of 20 grey pictures, each of its number's value, with three labels."""
        import tensorflow_datasets as tfds

        pictures = np.broadcast_to(np.arange(20, dtype=np.uint8)[:, None, None, None], (20, 2, 2, 1))
        examples = {"image": pictures, "label": np.arange(20) % 3}
        for version in ("9.0.0", "10.0.0"):
            tfds.dataset_builders.store_as_tfds_dataset(
                name="tiny_pictures",
                version=version,
                features=tfds.features.FeaturesDict(
                    {"image": tfds.features.Image(shape=(2, 2, 1)), "label": tfds.features.ClassLabel(num_classes=3)}
                ),
                # Only the newest version has them all.
                split_datasets={"train": tf.data.Dataset.from_tensor_slices(examples).take(20 if version == "10.0.0" else 7)},
                data_dir=tmp_path,
            )
        return tmp_path

    def test_splits_and_values(self, prepared):
        """Nine tenths and the rest, no picture in both, grey values in [0, 1], labels of their pictures."""
        found = load_tfds("tiny_pictures", str(prepared))
        assert found.classes == 3
        numbers = []
        for split, size in ((found.train, 18), (found.validation, 2)):
            assert split.images.shape == (size, 2, 2, 1)
            assert split.images.dtype == np.float32
            assert split.labels.dtype == np.int32
            own = np.rint(split.images[:, 0, 0, 0] * 255).astype(int)
            np.testing.assert_array_equal(split.labels, own % 3)
            numbers += own.tolist()
        assert sorted(numbers) == list(range(20))

    @pytest.mark.skipif(not FASHION_MNIST.exists(), reason=f"no {FASHION_MNIST}: Debian's package dataset-fashion-mnist")
    def test_fashion_mnist_prepared_by_the_command(self, tmp_path):
        """As a user prepares it from files on disk: 60,000 training images, of which a tenth is held out."""
        command = [sys.executable, "-m", "vision.prepare", "fashion_mnist", "--data-dir", tmp_path, "--manual-dir", FASHION_MNIST]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert "fashion_mnist is in" in done.stdout
        found = load_dataset("fashion_mnist", str(tmp_path))
        assert found.train.images.shape == (54_000, 28, 28, 1)
        assert found.validation.images.shape == (6_000, 28, 28, 1)
        assert set(found.validation.labels) == set(range(10))
        assert (found.train.images.min(), found.train.images.max()) == (0, 1)

    def test_an_interrupted_preparation_is_none(self, prepared):
        """TensorFlow Datasets writes into a folder of another name first."""
        unfinished = prepared / "tiny_pictures" / "incomplete.ABC_11.0.0"
        unfinished.mkdir()
        (unfinished / "dataset_info.json").write_text("{}")
        assert len(load_tfds("tiny_pictures", str(prepared)).train.labels) == 18

    def test_what_is_not_there_is_refused_at_once(self, tmp_path):
        """With the name, the directory looked in and the command that prepares it."""
        with pytest.raises(ValueError, match=re.escape(f"no prepared 'fashion_mnist' in {tmp_path}")) as error:
            load_dataset("fashion_mnist", str(tmp_path))
        assert f"python -m vision.prepare fashion_mnist --data-dir={tmp_path}" in str(error.value)


def test_unknown_dataset():
    """Refused by setting and value, with what there is."""
    with pytest.raises(ValueError, match=r"data\.name='mnist' is not allowed") as error:
        load_dataset("mnist")
    assert all(name in str(error.value) for name in DATASETS)


@pytest.mark.parametrize("batch_size", [4, 7])
def test_every_epoch_is_a_permutation(batch_size):
    """Each image once an epoch, also where batches lie across its end; another order in every epoch."""
    examples = 10
    count = 7 * 10 // batch_size
    stream = stream_of(train_batches(numbered(examples), batch_size, 3, 0, identity), count)
    epochs = [stream[i : i + examples] for i in range(0, len(stream) - examples + 1, examples)]
    assert len(epochs) >= 6
    for epoch in epochs:
        assert sorted(epoch) == list(range(examples))
    assert len({tuple(epoch) for epoch in epochs}) == len(epochs)
    assert list(range(examples)) not in epochs


def test_digits_epoch_is_a_permutation():
    """The same for a size that is no power of two, with all images of the real set."""
    split = load_dataset("digits").train
    split = Images(split.images, np.arange(1438, dtype=np.int32))
    labels = stream_of(train_batches(split, 719, 0, 0, identity), 4)
    assert sorted(labels[:1438]) == list(range(1438))
    assert sorted(labels[1438:]) == list(range(1438))
    assert labels[:1438] != labels[1438:]


@pytest.mark.parametrize("start_step", [1, 2, 3, 5, 8, 13])
def test_the_stream_may_start_at_any_step(start_step):
    """A run that goes on sees, bit by bit, what it would have seen: images, their augmentation and their order."""

    def augment(image, seed):
        return image + 0.1 * tf.random.stateless_uniform(image.shape, seed)

    split, total = numbered(11), 16
    whole = [(images.numpy(), labels.numpy()) for images, labels in train_batches(split, 4, 5, 0, augment).take(total)]
    rest = train_batches(split, 4, 5, start_step, augment).take(total - start_step)
    for (images, labels), (expected_images, expected_labels) in itertools.zip_longest(rest, whole[start_step:]):
        np.testing.assert_array_equal(labels, expected_labels)
        np.testing.assert_array_equal(images, expected_images)


def test_an_example_is_augmented_anew_each_epoch():
    """Its random numbers follow from (seed, epoch, example): another image each time, and no two examples move alike."""

    def only_noise(image, seed):
        return tf.random.stateless_uniform(image.shape, seed)

    drawn = []
    for images, labels in train_batches(numbered(6), 6, 0, 0, only_noise).take(4):
        assert sorted(labels.numpy()) == list(range(6))
        drawn += [image.tobytes() for image in images.numpy()]
    assert len(drawn) == 24
    assert len(set(drawn)) == 24


def test_seeds_differ_and_repeat():
    """The same seed gives the same batches, another seed others."""

    def first(seed):
        return labels_of(train_batches(numbered(50), 10, seed, 0, identity), 5)

    assert first(1) == first(1)
    assert first(1) != first(2)
    assert first(0) != first(1)


def test_range_and_shape():
    """[0, 1] becomes [-1, 1], float32, and the shape is static, as XLA wants it."""
    dataset = train_batches(load_dataset("digits").train, 32, 0, 0, identity)
    images, labels = dataset.element_spec
    assert images.shape == (32, 8, 8, 1)
    assert images.dtype == tf.float32
    assert labels.shape == (32,)
    assert labels.dtype == tf.int32
    batch = next(iter(dataset))[0].numpy()
    assert batch.min() == -1
    assert batch.max() == 1


def test_a_batch_may_be_larger_than_the_split():
    """Then it reaches into the next epoch."""
    labels = labels_of(train_batches(numbered(3), 6, 0, 0, identity), 1)[0]
    assert sorted(labels) == [0, 0, 1, 1, 2, 2]


def test_evaluation_batches():
    """Every image once and in order, in [-1, 1], the last batch smaller, and again the same the second time."""
    split = numbered(10)
    dataset = evaluation_batches(split, 4)
    for _ in range(2):
        batches = list(dataset)
        assert [len(labels) for _, labels in batches] == [4, 4, 2]
        np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches]), np.arange(10))
        images = np.concatenate([images for images, _ in batches])
        np.testing.assert_array_equal(images, split.images * 2 - 1)


def test_workers_divide_batches_and_not_files():
    """Under several workers each takes its part of every batch: sharding by file would be refused for data in memory."""
    for dataset in (train_batches(numbered(4), 2, 0, 0, identity), evaluation_batches(numbered(4), 2)):
        policy = dataset.options().experimental_distribute.auto_shard_policy
        assert policy == tf.data.experimental.AutoShardPolicy.DATA
