"""Data sets of labelled images by name: their classes, their splits, and where each split's examples come from."""

import pathlib
import random

import numpy as np
import tensorflow as tf

from official.data.tfds import LocalTfds, default_splits, memory_splits, split_parts
from vision.sources import EncodedSource, array_source, file_source

IMAGE_FILES = (".jpg", ".jpeg", ".png")  # what tfds.ImageFolder looks for
SPLITS = {  # of each role, where official.data.tfds.default_splits would be wrong
    # The test split has no labels; results are told of the 50,000 images that the set calls its validation split.
    "imagenet2012": dict(train="train[:99%]", validation="train[99%:]", test="validation"),
}


class Digits:
    """scikit-learn's 1,797 scans of handwritten digits, 8 x 8 grey pixels (UCI ML repository, "Optical Recognition of Handwritten
    Digits"), inside its wheel. Every fifth image is for validation.
    """

    channels = (1,)

    def __init__(self):
        self.class_names = tuple("0123456789")
        self.splits = dict(train="train", validation="validation")

    def source(self, split, buffer):
        """A PixelSource of float32 pixels in [0, 1]."""
        del buffer  # nothing is read from a disk
        if split not in self.splits:
            raise ValueError(f"{split!r} is not a split of digits: it must be one of {', '.join(self.splits)}")
        from sklearn import datasets

        digits = datasets.load_digits()
        held_out = np.arange(len(digits.target)) % 5 == 4
        chosen = held_out if split == "validation" else ~held_out
        images = (digits.images / 16).astype(np.float32)[..., np.newaxis]
        return array_source(images[chosen], digits.target[chosen], f"digits, {split} split")


class Tfds:
    """An image-classification set that TensorFlow Datasets has prepared, read from its TFRecord files.

    Args:
      name: as TensorFlow Datasets calls it, with a configuration where it has several ("imagenet_v2/topimages").
      directory: where it was prepared, TensorFlow Datasets' `data_dir`; "" for its default.

    Raises:
      ValueError: no such set is there, or it is none of labelled images. Nothing is downloaded.
    """

    channels = (1, 3)

    def __init__(self, name, directory):
        import tensorflow_datasets as tfds

        self._set = LocalTfds(name, directory, otherwise="neither 'digits' nor 'folder'")
        info = self._set.info
        # A set that somebody stored with tfds.dataset_builders.store_as_tfds_dataset does not say what its pairs are.
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
          buffer: how many records shuffling keeps in memory.

        Raises:
          ValueError: a split that there is not, or has no examples.
        """
        import tensorflow_datasets as tfds

        files = self._set.files(split)
        features = self._set.parser((self._image, self._label), decoders={self._image: tfds.decode.SkipDecoding()})

        def parse(record):
            found = features(record)
            return found[self._image], tf.cast(found[self._label], tf.int64)

        return EncodedSource(files, parse, buffer)


class Folder:
    """Image files in DIRECTORY/SPLIT/CLASS/, laid out as for tfds.ImageFolder, and in its order: each split is shuffled once.

    Raises:
      ValueError: no such folder, or no images in it.
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
            # Or a part of a split, in the order of the classes, would hold only some of them.
            random.Random(split).shuffle(files)
        self._infos = memory_splits({name: len(files) for name, files in self._files.items()})
        self.splits = default_splits(self._files)

    def source(self, split, buffer):
        """A FileSource; arguments and errors as of Tfds.source."""
        del buffer  # files can be read in any order
        parts = split_parts(split, self._infos, self._root)
        files = [file for part in parts for file in self._files[part.splitname][part.from_ : part.to]]
        return file_source(*zip(*files, strict=True))


def _folders(folder):
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def open_dataset(name, directory=""):
    """The data set of that name: `class_names`, `splits` by role, `channels` it can be decoded to, and `source(split, buffer)`.

    Args:
      name: "digits", "folder", or an image-classification set of TensorFlow Datasets.
      directory: where it is on disk; "" for TensorFlow Datasets' default folder.

    Raises:
      ValueError: no such data set in the directory.
    """
    if not name:
        raise ValueError("data.name='' is not allowed: it must be 'digits', 'folder' or a data set of TensorFlow Datasets")
    if name == "digits":
        return Digits()
    return Folder(directory) if name == "folder" else Tfds(name, directory)
