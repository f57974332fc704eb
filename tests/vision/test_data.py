"""Sources of images, and data sets by name: their splits, what each split holds, and what is refused."""

import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tests.vision.pictures import CLASSES, encoded, numbered_files, numbered_records, picture, write_files
from vision.data import array_source, open_dataset

ROOT = pathlib.Path(__file__).parents[2]
PREPARED = ROOT.parent / "shared" / "data" / "tfds"
FASHION_MNIST = pathlib.Path("/usr/share/datasets/fashion-mnist")
EXAMPLES = 23


def labels_of(source):
    return [int(label) for *_, label in source.in_order()]


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


class TestSources:
    def test_in_order(self, source):
        """Each example once, in order, with its image and its label."""
        found = [(int(index), content(source, image), int(label)) for index, image, label in source.in_order()]
        assert [index for index, *_ in found] == list(range(EXAMPLES)) == list(range(source.examples))
        for index, image, label in found:
            assert label == index % CLASSES
            assert image == expected_content(source, index)

    def test_shuffled(self, source):
        """Each example once an epoch, with its own image and label."""
        found = list(source.shuffled(3, 0).take(EXAMPLES))
        assert sorted(int(index) for _, index, *_ in found) == list(range(EXAMPLES))
        for epoch, index, image, label in found:
            assert (int(epoch), int(label)) == (0, index % CLASSES)
            assert content(source, image) == expected_content(source, int(index))

    def test_names(self, tmp_path):
        source = array_source(np.zeros((3, 2, 2, 1), np.uint8), [0, 1, 2], "digits, train split")
        assert source.name_of(2) == "digits, train split, image 2"
        assert numbered_files(tmp_path, 3).name_of(1) == str(tmp_path / "001.png")


class TestDigits:
    def test_validation_is_every_fifth(self):
        """Against scikit-learn's own arrays: image i is for validation where i % 5 is 4, and each is in one split."""
        from sklearn.datasets import load_digits

        digits, expected = open_dataset("digits"), load_digits()
        assert digits.class_names == tuple("0123456789")
        held_out = np.arange(1797) % 5 == 4
        for split, chosen, size in (("train", ~held_out, 1438), ("validation", held_out, 359)):
            source = digits.source(digits.splits[split], 1)
            assert source.examples == size
            _, images, labels = source.in_order().batch(size).get_single_element()
            assert images.dtype == tf.float32
            np.testing.assert_array_equal(images[..., 0] * 16, expected.images[chosen])
            np.testing.assert_array_equal(labels, expected.target[chosen])

    def test_unknown_split(self):
        with pytest.raises(ValueError, match=r"^'test' is not a split of digits: it must be one of train, validation$"):
            open_dataset("digits").source("test", 1)


def prepare(folder, name="tiny_pictures", version="1.0.0", channels=1, shards=1, **splits):
    """Prepares a set of TensorFlow Datasets whose splits hold the pictures of these numbers: every pixel i, its class i % 3."""
    features = {"image": tfds.features.Image(shape=(2, 2, channels)), "label": tfds.features.ClassLabel(names=list("abc"))}

    def examples(numbers):
        numbers = np.array(numbers)
        pixels = np.broadcast_to(numbers.astype(np.uint8)[:, None, None, None], (len(numbers), 2, 2, channels))
        return tf.data.Dataset.from_tensor_slices({"image": pixels, "label": numbers % 3})

    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version=version,
        features=tfds.features.FeaturesDict(features),
        split_datasets={split: examples(numbers) for split, numbers in splits.items()},
        data_dir=folder,
        download_config=tfds.download.DownloadConfig(num_shards=shards),
    )


def numbers_of(source):
    """The pictures' numbers, by decoding; their labels are checked on the way."""
    found = []
    for _, image, label in source.in_order():
        found.append(int(tf.io.decode_png(source.read(image))[0, 0, 0]))
        assert int(label) == found[-1] % 3
    return found


class TestTfds:
    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("prepared")
        prepare(folder, train=range(40), test=range(100, 112), shards=3)
        return folder

    @pytest.fixture(scope="class")
    def tiny(self, folder):
        return open_dataset("tiny_pictures", str(folder))

    def test_reads_as_tensorflow_datasets_does(self, tiny, folder):
        """The same examples in the same order, of any part of any split."""
        builder = tfds.builder_from_directory(folder / "tiny_pictures" / "1.0.0")
        one_file_after_the_other = tfds.ReadConfig(interleave_cycle_length=1)
        assert tiny.class_names == ("a", "b", "c")
        for split in (
            "train",
            "train[:90%]",
            "train[90%:]",
            "train[10:20]",
            "train[-7:]",
            "train+test[:10]",
            "test[3:]+train[5:9]",
        ):
            source = tiny.source(split, 8)
            expected = [
                int(example["image"][0, 0, 0])
                for example in builder.as_dataset(split=split, read_config=one_file_after_the_other)
            ]
            assert numbers_of(source) == expected
            assert source.examples == len(expected)

    def test_default_splits(self, tiny):
        """Nine tenths and the rest, no picture in both, and the set's own test split."""
        train, validation, test = (numbers_of(tiny.source(tiny.splits[role], 8)) for role in ("train", "validation", "test"))
        assert (len(train), len(validation)) == (36, 4)
        assert sorted(train + validation) == list(range(40))
        assert sorted(test) == list(range(100, 112))

    def test_shuffled_and_named(self, tiny, folder):
        """A name leads to the record that the example is."""
        source = tiny.source("train[7:30]", 8)
        files = {path.name: path for path in (folder / "tiny_pictures" / "1.0.0").glob("*train*tfrecord*")}
        assert len(files) == 3
        records = {name: list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()) for name, path in files.items()}
        for _, index, image, label in source.shuffled(0, 0).take(23):
            name, _, number = source.name_of(int(index)).partition(", record ")
            example = tf.train.Example.FromString(records[name][int(number)]).features.feature
            assert example["image"].bytes_list.value[0] == image
            assert example["label"].int64_list.value[0] == int(label)

    @pytest.mark.parametrize(
        "split, reason",
        [
            ("trian", "Unknown split 'trian'"),
            ("train[30:20]", "it has no examples"),
            ("train[:0%]+test", "it has no examples"),
            ("train[:120%]", "Error parsing split"),
            ("train[41:]", "Requested slice"),
            ("", "Error parsing split"),
        ],
    )
    def test_split_that_there_is_not(self, tiny, split, reason):
        """Refused with the splits that there are."""
        said = f"{split!r} is not a split of tiny_pictures (train of 40 examples, test of 12 examples): {reason}"
        with pytest.raises(ValueError, match="^" + re.escape(said)) as error:
            tiny.source(split, 8)
        assert "\n" not in str(error.value)

    def test_newest_finished_version(self, tmp_path):
        """10 is newer than 9; a folder that TensorFlow Datasets was writing into, or any other, is none."""
        prepare(tmp_path, version="9.0.0", train=range(5))
        prepare(tmp_path, version="10.0.0", train=range(20))
        for name in ("incomplete.ABC_11.0.0", "12.0.0-copy"):
            (tmp_path / "tiny_pictures" / name).mkdir()
            (tmp_path / "tiny_pictures" / name / "dataset_info.json").write_text("{}")
        (tmp_path / "tiny_pictures" / "13.0.0").mkdir()  # nothing in it
        assert open_dataset("tiny_pictures", str(tmp_path)).source("train", 1).examples == 20

    @pytest.mark.parametrize(
        "names, expected",
        [
            (("train",), ("train[:90%]", "train[90%:]", None)),
            (("train", "test"), ("train[:90%]", "train[90%:]", "test")),
            (("train", "validation"), ("train[:90%]", "train[90%:]", "validation")),
            (("train", "validation", "test"), ("train", "validation", "test")),
            (("test",), (None, None, "test")),
        ],
    )
    def test_default_splits_of_others(self, tmp_path, names, expected):
        prepare(tmp_path, **{name: range(10) for name in names})
        splits = open_dataset("tiny_pictures", str(tmp_path)).splits
        assert tuple(splits.get(role) for role in ("train", "validation", "test")) == expected

    def test_imagenet(self, tmp_path):
        """Its test split has no labels: results are those of its validation split, as in the literature."""
        prepare(tmp_path, name="imagenet2012", channels=3, train=range(200), validation=range(50), test=range(10))
        found = open_dataset("imagenet2012", str(tmp_path))
        sizes = {role: found.source(split, 1).examples for role, split in found.splits.items()}
        assert sizes == {"train": 198, "validation": 2, "test": 50}
        assert sorted(numbers_of(found.source(found.splits["test"], 1))) == list(range(50))

    def test_what_is_not_there_is_refused_at_once(self, tmp_path, monkeypatch):
        """With the name, the folder looked in and the command that prepares it; nothing asks TensorFlow Datasets' server."""
        monkeypatch.setattr(tfds, "builder", None)
        monkeypatch.setattr(tfds, "load", None)
        monkeypatch.setattr("socket.socket.connect", None)
        for name in ("fashion_mnist", "imagenet_v2/topimages"):
            with pytest.raises(ValueError, match=re.escape(f"data.name={name!r} is not allowed")) as error:
                open_dataset(name, str(tmp_path))
            assert f"no such set is prepared in {tmp_path}" in str(error.value)
            assert f"python -m official.prepare {name} --data_dir={tmp_path}" in str(error.value)

    def test_no_name(self):
        with pytest.raises(ValueError, match=r"^data\.name='' is not allowed: it must be 'digits', 'folder' or"):
            open_dataset("")

    @pytest.mark.parametrize(
        "image, label, key",
        [
            (tfds.features.Image(shape=(2, 2, 1)), tfds.features.Scalar(np.int64), "label"),
            (tfds.features.Tensor(shape=(2, 2, 1), dtype=np.uint8), tfds.features.ClassLabel(num_classes=2), "label"),
            (tfds.features.Image(shape=(2, 2, 1)), tfds.features.ClassLabel(num_classes=2), "species"),
        ],
        ids=["no class", "no image", "other names"],
    )
    def test_no_pairs_of_an_image_and_a_class(self, tmp_path, image, label, key):
        examples = {"image": np.zeros((1, 2, 2, 1), np.uint8), key: np.zeros(1, np.int64)}
        tfds.dataset_builders.store_as_tfds_dataset(
            name="other",
            version="1.0.0",
            features=tfds.features.FeaturesDict({"image": image, key: label}),
            split_datasets={"train": tf.data.Dataset.from_tensor_slices(examples)},
            data_dir=tmp_path,
        )
        with pytest.raises(ValueError, match=r"^data\.name='other' is not allowed: it has no pairs of an image and a class$"):
            open_dataset("other", str(tmp_path))

    @pytest.mark.skipif(not (PREPARED / "cifar10").exists(), reason=f"no prepared CIFAR-10 in {PREPARED}")
    def test_cifar10(self):
        """The real set: its sizes, and pictures as TensorFlow Datasets gives them."""
        cifar10 = open_dataset("cifar10", str(PREPARED))
        assert cifar10.class_names[0] == "airplane"
        sizes = {role: cifar10.source(split, 1).examples for role, split in cifar10.splits.items()}
        assert sizes == {"train": 45_000, "validation": 5_000, "test": 10_000}
        source = cifar10.source("train[24990:25010]", 1)
        expected = tfds.builder_from_directory(PREPARED / "cifar10" / "3.0.2").as_dataset(split="train[24990:25010]")
        for (_, image, label), example in zip(source.in_order(), expected, strict=True):
            np.testing.assert_array_equal(tf.io.decode_png(image), example["image"])
            assert int(label) == int(example["label"])

    @pytest.mark.process
    @pytest.mark.skipif(not FASHION_MNIST.exists(), reason=f"no {FASHION_MNIST}: Debian's package dataset-fashion-mnist")
    def test_fashion_mnist_prepared_by_the_command(self, tmp_path):
        """As a user prepares it from files on disk: 60,000 training images, of which a tenth is held out."""
        command = [sys.executable, "-m", "vision.prepare", "fashion_mnist", "--data-dir", tmp_path, "--manual-dir", FASHION_MNIST]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert "fashion_mnist is in" in done.stdout
        found = open_dataset("fashion_mnist", str(tmp_path))
        sizes = {role: found.source(split, 1).examples for role, split in found.splits.items()}
        assert sizes == {"train": 54_000, "validation": 6_000, "test": 10_000}
        validation = found.source(found.splits["validation"], 1)
        assert set(labels_of(validation)) == set(range(10))
        assert tf.io.decode_png(next(iter(validation.in_order()))[1]).shape == (28, 28, 1)


class TestFolder:
    @pytest.fixture
    def folder(self, tmp_path):
        """Two splits of three classes, one of them only in one split, one empty, and files that are no images."""
        for split, label, examples in (("train", "cat", 12), ("train", "ant", 12), ("test", "cat", 4), ("test", "bee", 2)):
            (tmp_path / split / label).mkdir(parents=True)
            write_files(tmp_path / split / label, examples)
        (tmp_path / "train" / "dog").mkdir()
        (tmp_path / "train" / "cat" / "notes.txt").write_text("")
        (tmp_path / "README").write_text("")
        (tmp_path / "train" / "cat" / "000.png").rename(tmp_path / "train" / "cat" / "000.JPEG")
        return tmp_path

    def test_is_what_image_folder_finds(self, folder):
        """The same splits, files, labels and order, and the same classes but for that of an empty folder."""
        found, expected = open_dataset("folder", str(folder)), tfds.ImageFolder(str(folder))
        assert list(found.class_names) == expected.info.features["label"].names[:-1] == ["ant", "bee", "cat"]
        for split in ("train", "test"):
            source = found.source(split, 1)
            examples = [
                (example["image/filename"].numpy().decode(), int(example["label"]))
                for example in expected.as_dataset(split=split)
            ]
            assert [(source.name_of(i), label) for i, label in enumerate(labels_of(source))] == examples
            assert source.examples == len(examples)

    def test_images_are_those_of_the_names(self, folder):
        source = open_dataset("folder", str(folder)).source("test", 1)
        for index, image, _ in source.in_order():
            number = int(pathlib.Path(source.name_of(int(index))).stem)
            np.testing.assert_array_equal(tf.io.decode_png(source.read(image)), picture(number))

    def test_parts_of_splits(self, folder):
        """The parts of a split make up the whole; also the last tenth, for validation, is not of the last class alone."""
        found = open_dataset("folder", str(folder))
        assert found.splits == {"train": "train[:90%]", "validation": "train[90%:]", "test": "test"}

        def names(split):
            source = found.source(split, 1)
            return [source.name_of(i) for i in range(source.examples)]

        assert names("train[:90%]") + names("train[90%:]") == names("train")
        assert names("test[1:3]+train[:2]") == names("test")[1:3] + names("train")[:2]
        assert {*labels_of(found.source("train[:50%]", 1))} == {*labels_of(found.source("train[50%:]", 1))} == {0, 2}

    def test_own_splits_for_validation_and_test(self, folder):
        (folder / "validation" / "cat").mkdir(parents=True)
        write_files(folder / "validation" / "cat", 1)
        splits = open_dataset("folder", str(folder)).splits
        assert splits == {"train": "train", "validation": "validation", "test": "test"}

    @pytest.mark.parametrize("name", ["val", "valid", "validation", "dev", "Val", "VALIDATION"])
    def test_names_of_the_validation_split(self, tmp_path, name):
        for split, examples in (("train", 3), (name, 2)):
            (tmp_path / split / "cat").mkdir(parents=True)
            write_files(tmp_path / split / "cat", examples)
        found = open_dataset("folder", str(tmp_path))
        assert found.splits == {"train": "train", "validation": name}
        assert found.source(found.splits["validation"], 1).examples == 2

    def test_capital_letters(self, tmp_path):
        """Of the training and test splits too; the part of the training split for validation is named by its folder."""
        for split in ("Train", "TEST"):
            (tmp_path / split / "cat").mkdir(parents=True)
            write_files(tmp_path / split / "cat", 10)
        found = open_dataset("folder", str(tmp_path))
        assert found.splits == {"train": "Train[:90%]", "validation": "Train[90%:]", "test": "TEST"}
        sizes = {role: found.source(split, 1).examples for role, split in found.splits.items()}
        assert sizes == {"train": 9, "validation": 1, "test": 10}

    @pytest.mark.parametrize("role, names", [("validation", ("dev", "val")), ("train", ("TRAIN", "train"))])
    def test_two_splits_of_one_role(self, folder, role, names):
        for name in names:
            (folder / name / "cat").mkdir(parents=True, exist_ok=True)
            write_files(folder / name / "cat", 1)
        with pytest.raises(ValueError, match=f"it must have one {role} split, and it has {names[0]} and {names[1]}$"):
            open_dataset("folder", str(folder))

    def test_names_that_are_not_utf_8(self, tmp_path):
        """Files of such names are read; a class must have a name that a model can return."""
        (tmp_path / "train" / "cat").mkdir(parents=True)
        (path,) = write_files(tmp_path / "train" / "cat", 1)
        os.rename(path, os.fsencode(path.parent) + b"/\xff.png")
        source = open_dataset("folder", str(tmp_path)).source("train", 1)
        ((_, image, _),) = source.in_order()
        np.testing.assert_array_equal(tf.io.decode_png(source.read(image)), picture(0))
        assert source.name_of(0) == f"{path.parent}/\\udcff.png"
        os.rename(path.parent, os.fsencode(tmp_path) + b"/train/\xff")
        with pytest.raises(ValueError, match=r"the name of the folder \\udcff must be UTF-8$"):
            open_dataset("folder", str(tmp_path))

    def test_what_is_not_read(self, folder, monkeypatch):
        """Files and folders of systems and programs, and what is not an image: counted, and nothing else changes."""
        before = open_dataset("folder", str(folder))
        for name in ("__MACOSX/cat", "train/@eaDir", "train/.ipynb_checkpoints", ".git/cat", "train/cat/more", "train/cat/a.jpg"):
            (folder / name).mkdir(parents=True)
            write_files(folder / name, 1)
        for name in ("Thumbs.db", "._000.JPEG", ".DS_Store", "a.heic", "b.HEIC", "LICENSE"):
            (folder / "train" / "cat" / name).write_text("")
        (folder / "train" / "labels.csv").write_text("")
        said = []
        monkeypatch.setattr("vision.data.logging.warning", lambda text, *parts: said.append(text % parts))
        found = open_dataset("folder", str(folder))
        assert not said  # a recipe may open the folder before logging is set up
        found.warn_of_skipped()
        assert found.skipped == {
            ".heic files": 2,
            ".txt files": 1,
            "files outside of class folders": 1,
            "files without an ending": 1,
            "folders inside of class folders": 2,
            "folders without images": 1,
            "hidden or system files and folders": 7,
        }
        assert len(said) == 1
        assert said[0].startswith(f"data.dir={str(folder)!r}: not read: 2 .heic files, 1 .txt files, ")
        assert found.class_names == before.class_names
        sources = [dataset.source("train+test", 1) for dataset in (before, found)]
        names = [[source.name_of(i) for i in range(source.examples)] for source in sources]
        assert names[0] == names[1]

    def test_endings(self, tmp_path):
        """In upper and lower case, of every format that is read."""
        (tmp_path / "train" / "cat").mkdir(parents=True)
        endings = [".jpg", ".JPG", ".Jpeg", ".PNG", ".bmp", ".GIF", ".tif", ".TIFF", ".webp"]
        for i, ending in enumerate(endings):
            (tmp_path / "train" / "cat" / f"{i}{ending}").write_bytes(encoded(picture(i)))
        assert open_dataset("folder", str(tmp_path)).source("train", 1).examples == len(endings)

    def test_split_that_there_is_not(self, folder):
        said = f"'val' is not a split of {folder} (test of 6 examples, train of 24 examples): Unknown split 'val'"
        with pytest.raises(ValueError, match="^" + re.escape(said)):
            open_dataset("folder", str(folder)).source("val", 1)

    @pytest.mark.parametrize("directory", ["", "missing", "empty", "flat"])
    def test_no_images(self, tmp_path, monkeypatch, directory):
        """No folder given, none there, nothing in it, or images that are not in folders of splits and classes."""
        monkeypatch.chdir(tmp_path)
        (tmp_path / "empty" / "train" / "cat").mkdir(parents=True)
        (tmp_path / "flat" / "cat").mkdir(parents=True)
        write_files(tmp_path / "flat" / "cat", 1)
        with pytest.raises(ValueError, match=re.escape(f"data.dir={directory!r} is not allowed: there are no images (.jpg,")):
            open_dataset("folder", directory)
