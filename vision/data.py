"""Data sets of labelled images by name: their classes, splits, and the source of each split's examples.

An example has two parts: an image and an int64 label. An image is pixels if the source's `decoded` is True, or else a string from
which the source's `read`, a TensorFlow operation, makes encoded bytes.
"""

import pathlib
import random

import numpy as np
import tensorflow as tf

from official.data.sources import IndexedSource, RecordSource, host_constant
from official.data.tfds import LocalTfds, default_splits, memory_splits, split_parts

IMAGE_FILES = (".jpg", ".jpeg", ".png")  # what tfds.ImageFolder looks for
SPLITS = {  # splits by role, of sets for which official.data.tfds.default_splits would be wrong
    # The test split has no labels; the literature reports results on the 50,000 images of the validation split.
    "imagenet2012": dict(train="train[:99%]", validation="train[99%:]", test="validation"),
}


class PixelSource(IndexedSource):
    """Images that are pixels, uint8 or float32 in [0, 1]."""

    decoded = True
    read = staticmethod(tf.identity)


class FileSource(IndexedSource):
    """Images that are paths of image files."""

    decoded = False
    read = staticmethod(tf.io.read_file)


class EncodedSource(RecordSource):
    """Images that are encoded bytes in records."""

    decoded = False
    read = staticmethod(tf.identity)


def array_source(images, labels, name):
    """A PixelSource of images [N, height, width, channels] and labels [N] in memory; `name` stands in messages."""
    images, labels = host_constant(images), host_constant(labels, tf.int64)
    return PixelSource(len(labels), lambda index: (images[index], labels[index]), f"{name}, image {{}}".format)


def file_source(paths, labels):
    """A FileSource."""
    names = [str(path) for path in paths]
    images, labels = host_constant(names), host_constant(labels, tf.int64)
    return FileSource(len(paths), lambda index: (images[index], labels[index]), names.__getitem__)


class Digits:
    """The 1,797 scans of handwritten digits, 8 x 8 grey pixels, that scikit-learn's wheel contains (UCI ML repository, "Optical
    Recognition of Handwritten Digits"). Every fifth image is for validation.
    """

    channels = (1,)

    def __init__(self):
        self.class_names = tuple("0123456789")
        self.splits = dict(train="train", validation="validation")

    def source(self, split, buffer):
        """A PixelSource of float32 pixels in [0, 1]."""
        del buffer  # everything is in memory
        if split not in self.splits:
            raise ValueError(f"{split!r} is not a split of digits: it must be one of {', '.join(self.splits)}")
        from sklearn import datasets

        digits = datasets.load_digits()
        held_out = np.arange(len(digits.target)) % 5 == 4
        chosen = held_out if split == "validation" else ~held_out
        images = (digits.images / 16).astype(np.float32)[..., np.newaxis]
        return array_source(images[chosen], digits.target[chosen], f"digits, {split} split")


class Tfds:
    """An image-classification set prepared by TensorFlow Datasets, read from its TFRecord files.

    Args:
      name: of TensorFlow Datasets, with a configuration if there are several ("imagenet_v2/topimages").
      directory: TensorFlow Datasets' `data_dir`; "" for its default.

    Raises:
      ValueError: the set is not prepared there, or is not for image classification. Nothing is downloaded.
    """

    channels = (1, 3)

    def __init__(self, name, directory):
        import tensorflow_datasets as tfds

        self._set = LocalTfds(name, directory, otherwise="neither 'digits' nor 'folder'")
        info = self._set.info
        # Sets written by tfds.dataset_builders.store_as_tfds_dataset have no supervised_keys.
        image, label = info.supervised_keys or ("image", "label")
        kinds = {image: tfds.features.Image, label: tfds.features.ClassLabel}
        if not all(key in info.features and isinstance(info.features[key], kind) for key, kind in kinds.items()):
            raise ValueError(f"data.name={name!r} is not allowed: it has no pairs of an image and a class")
        self.class_names = tuple(info.features[label].names)
        self.splits = SPLITS.get(name) or default_splits(info.splits)
        self._image, self._label = image, label

    def source(self, split, buffer):
        """An EncodedSource.

        Args:
          split: in TensorFlow Datasets' syntax, "train[:90%]".
          buffer: size of the shuffle buffer, in records.

        Raises:
          ValueError: an unknown or empty split.
        """
        import tensorflow_datasets as tfds

        files = self._set.files(split)
        features = self._set.parser((self._image, self._label), decoders={self._image: tfds.decode.SkipDecoding()})

        def parse(record):
            example = features(record)
            return example[self._image], tf.cast(example[self._label], tf.int64)

        return EncodedSource(files, parse, buffer)


class Folder:
    """Image files in DIRECTORY/SPLIT/CLASS/, the layout and the order of tfds.ImageFolder: each split is shuffled once.

    Raises:
      ValueError: the folder does not exist, or has no images.
    """

    channels = (1, 3)

    def __init__(self, directory):
        self._root = pathlib.Path(directory).expanduser()
        folders = [folder for split in _folders(self._root) for folder in _folders(split)] if directory else []
        self.class_names = tuple(sorted({folder.name for folder in folders}))
        class_of = {name: i for i, name in enumerate(self.class_names)}
        self._files = {}
        for folder in folders:
            files = sorted(str(file) for file in folder.iterdir() if file.suffix.lower() in IMAGE_FILES)
            if files:
                self._files.setdefault(folder.parent.name, []).extend((file, class_of[folder.name]) for file in files)
        if not self._files:
            raise ValueError(
                f"data.dir={directory!r} is not allowed: there are no images ({', '.join(IMAGE_FILES)}) there in folders "
                "SPLIT/CLASS, such as train/cat/1.jpg"
            )
        for split, files in self._files.items():
            # Sorted by class, a part of a split such as train[:90%] would lack the last classes.
            random.Random(split).shuffle(files)
        self._infos = memory_splits({name: len(files) for name, files in self._files.items()})
        self.splits = default_splits(self._files)

    def source(self, split, buffer):
        """A FileSource; arguments and errors as of Tfds.source."""
        del buffer  # files have random access
        parts = split_parts(split, self._infos, self._root)
        files = [file for part in parts for file in self._files[part.splitname][part.from_ : part.to]]
        return file_source(*zip(*files, strict=True))


def _folders(folder):
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def open_dataset(name, directory=""):
    """The data set with that name: `class_names`, `splits` by role, allowed `channels`, and `source(split, buffer)`.

    Args:
      name: "digits", "folder", or an image-classification set of TensorFlow Datasets.
      directory: the folder's path, or TensorFlow Datasets' `data_dir`; "" for its default.

    Raises:
      ValueError: the data set is not in the directory.
    """
    if not name:
        raise ValueError("data.name='' is not allowed: it must be 'digits', 'folder' or a data set of TensorFlow Datasets")
    if name == "digits":
        return Digits()
    return Folder(directory) if name == "folder" else Tfds(name, directory)
