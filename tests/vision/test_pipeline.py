"""Batches: the same from any first step and with any number of threads, and without bad examples."""

import re

import numpy as np
import pytest
import tensorflow as tf

from official.data.bad_examples import BadExamples
from official.data.batches import part_of_batches
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
from vision.caching import cached
from vision.data import EncodedSource, array_source, file_source
from vision.pipeline import ImagePipeline

EXAMPLES = 23
SIZE = 8
AUGMENTED = dict(crop="inception", flip=True, pad=1, rotate=10.0, scale=0.1, shift=1.0)


def pipeline_of(source, policy="refuse", **data):
    return ImagePipeline(source, SIZE, 3, CLASSES, settings(**data), BadExamples(policy))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return numbered_files(tmp_path_factory.mktemp("files"), EXAMPLES)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Several files, and a buffer that is smaller than the set."""
    return numbered_records(tmp_path_factory.mktemp("records"), (7, 1, 6, 4, 5), 6)


@pytest.fixture(scope="module", params=["memory", "cached", "files", "records"])
def source(request):
    if request.param == "memory":
        pixels = np.stack([picture(i) for i in range(EXAMPLES)])
        return array_source(pixels, np.arange(EXAMPLES) % CLASSES, "pictures")
    if request.param == "cached":
        return cached(request.getfixturevalue("files"), 3, 1, CLASSES, BadExamples("refuse"))
    return request.getfixturevalue(request.param)


class TestTraining:
    @pytest.mark.further_cases
    @pytest.mark.parametrize("batch_size, steps, start", [(4, 14, 7), pytest.param(30, 3, 1, marks=pytest.mark.further)])
    def test_may_start_at_any_step(self, source, batch_size, steps, start):
        """Bit for bit the batches of a run that was not stopped, from inside an epoch, and with a batch larger than the set.

        The driver sets another global seed when a run resumes.
        """
        pipeline = pipeline_of(source, **AUGMENTED)
        whole = digests(pipeline.train_batches(batch_size, 5, 0), steps)
        assert len(set(whole)) == steps
        tf.random.set_seed(start)
        assert digests(pipeline.train_batches(batch_size, 5, start), steps - start) == whole[start:]

    @pytest.mark.further
    @pytest.mark.parametrize("kind", ["files", "records"])
    def test_threads_change_nothing(self, request, kind):
        found = []
        for threads in (1, 4):
            options = tf.data.Options()
            options.threading.private_threadpool_size = threads
            dataset = pipeline_of(request.getfixturevalue(kind), **AUGMENTED).train_batches(4, 0, 0)
            found.append(digests(dataset.with_options(options), 8))
        assert found[0] == found[1]

    def test_pixels_follow_from_seed_epoch_and_example(self, files):
        """Not from the batch: another batch size gives the same stream, and each epoch and seed other pixels."""
        pipeline = pipeline_of(files, **AUGMENTED)

        def images(batch_size, seed):
            return np.concatenate([x.numpy() for x, _ in pipeline.train_batches(batch_size, seed, 0).take(48 // batch_size)])

        found = images(4, 0)
        np.testing.assert_array_equal(images(12, 0), found)
        order = [int(index) for _, index, *_ in files.shuffled(0, 0).take(2 * EXAMPLES)]
        for index in range(EXAMPLES):
            first, second = (found[position] for position in range(2 * EXAMPLES) if order[position] == index)
            assert not np.array_equal(first, second)
        assert len({image.tobytes() for image in [*found, *images(12, 1)]}) == 96

    @pytest.mark.further_cases
    def test_every_image_has_its_label(self, source):
        """Unaugmented: pictures in the order of the source, at the model's size, labels one-hot; static shapes, as XLA wants."""
        dataset = pipeline_of(source).train_batches(6, 0, 0)
        assert dataset.element_spec == (tf.TensorSpec([6, SIZE, SIZE, 3]), tf.TensorSpec([6, CLASSES]))
        order = [int(index) for _, index, *_ in source.shuffled(0, 0).take(12)]
        images, labels = (np.concatenate(parts) for parts in zip(*dataset.take(2).as_numpy_iterator(), strict=True))
        for index, image, label in zip(order, images, labels, strict=True):
            expected = tf.image.resize(picture(index) / 255, [SIZE, SIZE]) * 2 - 1
            np.testing.assert_allclose(image, expected, rtol=0, atol=1e-6)  # float32
            assert label.tolist() == np.eye(CLASSES)[index % CLASSES].tolist()

    @pytest.mark.further
    def test_labels_are_smoothed_and_mixed(self, files, monkeypatch):
        """By vision.mixup, which is handed the recipe's settings and one seed for each example."""
        handed = []

        def smooth(labels, amount):
            handed.append(amount)
            return labels * (1 - amount)

        def mix(images, labels, seeds, alpha):
            handed.append((images.shape.as_list(), seeds.shape.as_list(), alpha))
            return -images, labels + 1

        plain = next(iter(pipeline_of(files).train_batches(4, 0, 0)))
        monkeypatch.setattr("vision.mixup.smooth_labels", smooth)
        monkeypatch.setattr("vision.mixup.mixup", mix)
        found = next(iter(pipeline_of(files, label_smoothing=0.25, mixup=0.5).train_batches(4, 0, 0)))
        assert handed == [0.25, ([4, SIZE, SIZE, 3], [4, 2], 0.5)]
        np.testing.assert_array_equal(found[0], -plain[0])
        np.testing.assert_array_equal(found[1], plain[1] * 0.75 + 1)


class TestEvaluation:
    @pytest.mark.further_cases
    def test_every_example_once_and_in_order(self, source):
        """In [-1, 1], unaugmented, labels one-hot, the last batch smaller; and again the same the second time."""
        dataset = pipeline_of(source, **AUGMENTED).evaluation_batches(10)
        assert dataset.cardinality() == 3  # Keras asks for it where several steps are one execution
        for _ in range(2):
            batches = list(dataset.as_numpy_iterator())
            assert [len(labels) for _, labels in batches] == [10, 10, 3]
        images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
        np.testing.assert_array_equal(labels, np.eye(CLASSES)[np.arange(EXAMPLES) % CLASSES])
        expected = tf.image.resize(np.stack([picture(i) for i in range(EXAMPLES)]) / 255, [SIZE, SIZE]) * 2 - 1
        np.testing.assert_allclose(images, expected, rtol=0, atol=1e-6)  # float32


def test_workers_divide_batches_and_not_files(files):
    """Under several workers each takes its part of every batch: sharding by file would be refused for data in memory."""
    for dataset in (pipeline_of(files).train_batches(2, 0, 0), pipeline_of(files).evaluation_batches(2)):
        policy = dataset.options().experimental_distribute.auto_shard_policy
        assert policy == tf.data.experimental.AutoShardPolicy.DATA


# Number of an example: what its file holds in place of a picture, and what is said of it.
BAD = {
    1: (encoded(picture(1), "JPEG")[:-200], "it cannot be decoded"),
    4: (b"This is no image.", "it cannot be decoded"),
    5: (b"", "it is empty"),
    7: (encoded(picture(0, 200, 200), "JPEG")[:-200], "it cannot be decoded"),
    9: (None, "it cannot be read"),  # deleted after it was listed
    13: (encoded(picture(0, 1, 1)), "it has 1 x 1 pixels"),
    14: (encoded(picture(0, 1, 9)), "it has 1 x 9 pixels"),
}
GOOD = {
    0: encoded(picture(0), "JPEG", mode="L"),
    2: encoded(picture(2), "JPEG", mode="CMYK"),
    3: encoded(picture(3), mode="L"),
}


def folder_of(folder, spoiled):
    """A source of 16 files, all of them good unless they are to be spoiled."""
    folder.mkdir()
    paths = write_files(folder, 16)
    for number, content in {**GOOD, **({i: content for i, (content, _) in BAD.items()} if spoiled else {})}.items():
        if content is None:
            paths[number].unlink()
        else:
            paths[number].write_bytes(content)
    return file_source(paths, [i % CLASSES for i in range(16)])


class TestBadExamples:
    @pytest.fixture
    def spoiled(self, tmp_path):
        return folder_of(tmp_path / "spoiled", spoiled=True)

    @pytest.mark.further_cases
    @pytest.mark.parametrize("number", BAD)
    def test_refuse(self, spoiled, number):
        """Training and evaluation end with the example's name and what is wrong with it."""
        one = file_source([spoiled.name_of(number)], [0])
        for batches in (lambda pipeline: pipeline.train_batches(2, 0, 0), lambda pipeline: pipeline.evaluation_batches(2)):
            bad_examples = BadExamples("refuse")
            with pytest.raises(tf.errors.OpError) as error:
                next(iter(batches(ImagePipeline(one, SIZE, 3, CLASSES, settings(), bad_examples))))
            assert spoiled.name_of(number) in str(error.value)
            assert bad_examples.refusal.startswith(f"{spoiled.name_of(number)}: {BAD[number][1]}")

    def test_elsewhere(self, spoiled):
        """Batches that another process makes call no Python of this one; a bad example is named by its number."""
        with part_of_batches(elsewhere=True):
            dataset = pipeline_of(spoiled).train_batches(8, 0, 0)
        assert b"PyFunc" not in dataset._as_serialized_graph().numpy()
        assert b"PyFunc" in pipeline_of(spoiled).train_batches(8, 0, 0)._as_serialized_graph().numpy()
        with pytest.raises(tf.errors.InvalidArgumentError) as error:
            list(dataset.take(2))
        number = re.search(r"example (\d+) is damaged, neither JPEG nor PNG, or of an unknown class", error.value.message)
        assert int(number[1]) in BAD
        with part_of_batches(elsewhere=True):
            good = pipeline_of(file_source([spoiled.name_of(i) for i in GOOD], [0, 1, 2])).train_batches(6, 0, 0)
        here = pipeline_of(file_source([spoiled.name_of(i) for i in GOOD], [0, 1, 2])).train_batches(6, 0, 0)
        assert digests(good, 2) == digests(here, 2)

    def test_skip(self, spoiled, tmp_path):
        """Over three epochs: the next good example of the batch in the place of a bad one, the others as if all were good."""
        clean = folder_of(tmp_path / "clean", spoiled=False)
        bad_examples = BadExamples("skip")
        pipeline = ImagePipeline(spoiled, SIZE, 3, CLASSES, settings(**AUGMENTED), bad_examples)
        found = list(pipeline.train_batches(8, 0, 0).take(6).as_numpy_iterator())
        expected = list(pipeline_of(clean, **AUGMENTED).train_batches(8, 0, 0).take(6).as_numpy_iterator())
        order = [int(index) for _, index, *_ in clean.shuffled(0, 0).take(48)]
        for step in range(6):
            bad = [index in BAD for index in order[8 * step : 8 * step + 8]]
            for place in range(8):
                taken = next((place + i) % 8 for i in range(8) if not bad[(place + i) % 8])
                for part, expected_part in zip(found[step], expected[step], strict=True):
                    np.testing.assert_array_equal(part[place], expected_part[taken])
        assert {*bad_examples.found} == {spoiled.name_of(i) for i in BAD}
        assert bad_examples.facts()["count"] == len(BAD)
        for i, (_, reason) in BAD.items():
            assert bad_examples.found[spoiled.name_of(i)].startswith(reason)

    @pytest.mark.further
    def test_skip_goes_on_the_same(self, spoiled):
        """Also from inside an epoch."""
        whole = digests(pipeline_of(spoiled, "skip", **AUGMENTED).train_batches(8, 0, 0), 5)
        assert digests(pipeline_of(spoiled, "skip", **AUGMENTED).train_batches(8, 0, 3), 2) == whole[3:]

    @pytest.mark.further
    def test_evaluation_leaves_them_out(self, spoiled):
        bad_examples = BadExamples("skip")
        dataset = ImagePipeline(spoiled, SIZE, 3, CLASSES, settings(), bad_examples).evaluation_batches(4)
        labels = np.concatenate([labels for _, labels in dataset])
        np.testing.assert_array_equal(labels, np.eye(CLASSES)[[i % CLASSES for i in range(16) if i not in BAD]])
        assert len(bad_examples.found) == len(BAD)

    def test_grey_and_cmyk_are_good(self, spoiled):
        """And in color: nothing of three equal channels but the grey ones."""
        names = [spoiled.name_of(i) for i in GOOD]
        (images, _) = next(iter(pipeline_of(file_source(names, [0, 1, 2])).evaluation_batches(3)))
        is_grey = [np.ptp(image, axis=-1).max() == 0 for image in images.numpy()]
        assert is_grey == [True, False, True]

    @pytest.mark.further_cases
    @pytest.mark.parametrize("label", [CLASSES, -1])
    @pytest.mark.parametrize("kind", ["memory", "records"])
    def test_label_that_there_is_not(self, tmp_path, kind, label):
        """It would be a row of zeros."""
        if kind == "memory":
            source = array_source(np.stack([picture(i) for i in range(4)]), [0, 1, label, 2], "pictures")
            name = "pictures, image 2"
        else:
            path = write_records(tmp_path / "shard", [record(i, label if i == 2 else None) for i in range(4)])
            source, name = EncodedSource([(path, 0, 4)], parse, 1), "shard, record 2"
        bad_examples = BadExamples("skip")
        pipeline = ImagePipeline(source, SIZE, 3, CLASSES, settings(), bad_examples)
        (_, labels), (_, evaluated) = (next(iter(d)) for d in (pipeline.train_batches(4, 0, 0), pipeline.evaluation_batches(4)))
        np.testing.assert_array_equal(labels.numpy().sum(axis=1), np.ones(4))
        assert len(evaluated) == 3
        assert bad_examples.found == {name: f"its label is {label}, which is not one of {CLASSES} classes"}

    @pytest.mark.further
    def test_batch_without_a_good_example(self, spoiled):
        only_bad = file_source([spoiled.name_of(i) for i in (4, 5)], [0, 1])
        with pytest.raises(tf.errors.InvalidArgumentError, match="no example of a batch is usable"):
            next(iter(pipeline_of(only_bad, "skip").train_batches(2, 0, 0)))

    @pytest.mark.further
    def test_on_two_replicas(self, spoiled):
        """Each gets its half of the batch, bad examples replaced before it is divided."""
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        dataset = pipeline_of(spoiled, "skip").train_batches(8, 0, 0)
        images, _ = next(iter(strategy.experimental_distribute_dataset(dataset)))
        halves = strategy.experimental_local_results(images)
        np.testing.assert_array_equal(np.concatenate(halves), next(iter(dataset))[0])
