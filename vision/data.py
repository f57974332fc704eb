"""Data sets of labelled images by name: their classes, splits, and the source of each split's examples.

An example has two parts: an image and an int64 label. An image is pixels if the source's `decoded` is True, or else a string from
which the source's `read`, a TensorFlow operation, makes encoded bytes.
"""

import collections
import os
import pathlib
import random

import numpy as np
import tensorflow as tf
from absl import logging

from official.data.sources import IndexedSource, RecordSource, host_constant
from official.data.tfds import LocalTfds, default_splits, memory_splits, split_parts
from official.files.layout import printable
from vision.decoding import as_jpeg_or_png, read_file

IMAGE_FILES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")  # in lower or upper case
ROLES = {"train": ("train",), "validation": ("validation", "val", "valid", "dev"), "test": ("test",)}  # folders, in any case
SYSTEM_FILES = ("__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini")  # besides those that begin with a dot
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
    read = staticmethod(read_file)


class EncodedSource(RecordSource):
    """Images that are encoded bytes in records."""

    decoded = False
    read = staticmethod(as_jpeg_or_png)


def array_source(images, labels, name):
    """A PixelSource of images [N, height, width, channels] and labels [N] in memory; `name` stands in messages."""
    images, labels = host_constant(images), host_constant(labels, tf.int64)
    return PixelSource(len(labels), lambda index: (images[index], labels[index]), f"{name}, image {{}}".format)


def label_problem(label, classes):
    """Why a label is invalid, or None."""
    return None if 0 <= label < classes else f"its label is {label}, which is not one of {classes} classes"


def file_source(paths, labels):
    """A FileSource."""
    images = host_constant([os.fsencode(path) for path in paths])  # a name need not be UTF-8
    labels = host_constant(labels, tf.int64)
    return FileSource(len(paths), lambda index: (images[index], labels[index]), [printable(path) for path in paths].__getitem__)


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

    The folders named as in ROLES are the splits for training, validation and test. Without a validation split the last tenth of
    the training split is held out. Folders without images are not classes. Hidden files and folders, SYSTEM_FILES, other files,
    and folders inside of class folders are not read.

    Attributes:
      skipped: {kind: number} of what is not read.

    Raises:
      ValueError: the folder does not exist, has no images, has two splits of one role, or a class name that is not UTF-8.
    """

    channels = (1, 3)

    def __init__(self, directory):
        self._root = pathlib.Path(directory).expanduser()
        found, self.skipped = _image_files(self._root) if directory else ({}, {})
        if not found:
            raise ValueError(
                f"data.dir={directory!r} is not allowed: there are no images ({', '.join(IMAGE_FILES)}) there in folders "
                "SPLIT/CLASS, such as train/cat/1.jpg"
            )
        self.class_names = tuple(sorted({name for classes in found.values() for name in classes}))
        for name in self.class_names:
            if printable(name) != name:
                raise ValueError(f"data.dir={directory!r} is not allowed: the name of the folder {printable(name)} must be UTF-8")
        class_of = {name: i for i, name in enumerate(self.class_names)}
        self._files = {}
        for split, classes in found.items():
            self._files[split] = [(file, class_of[name]) for name, files in classes.items() for file in files]
            # Sorted by class, a part of a split such as train[:90%] would lack the last classes.
            random.Random(split).shuffle(self._files[split])
        self._infos = memory_splits({name: len(files) for name, files in self._files.items()})
        self.splits = _split_roles(directory, found)

    def warn_of_skipped(self):
        """Logs how many files and folders are not read."""
        if self.skipped:
            counts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.skipped.items()))
            logging.warning("data.dir=%r: not read: %s", str(self._root), counts)

    def source(self, split, buffer):
        """A FileSource; arguments and errors as of Tfds.source."""
        del buffer  # files have random access
        parts = split_parts(split, self._infos, self._root)
        files = [file for part in parts for file in self._files[part.splitname][part.from_ : part.to]]
        return file_source(*zip(*files, strict=True))


def _image_files(root):
    """{split: {class: sorted paths}} of the folders ROOT/SPLIT/CLASS/ with images, and {kind: number} of what is left out."""
    found, skipped = collections.defaultdict(dict), collections.Counter()
    for split in _entries(root, skipped):
        if not split.is_dir():
            continue
        for folder in _entries(split.path, skipped):
            if not folder.is_dir():
                skipped["files outside of class folders"] += 1
                continue
            files = []
            for entry in _entries(folder.path, skipped):
                ending = os.path.splitext(entry.name)[1].lower()
                if entry.is_dir():
                    skipped["folders inside of class folders"] += 1
                elif ending in IMAGE_FILES:
                    files.append(entry.path)
                else:
                    skipped[f"{ending} files" if ending else "files without an ending"] += 1
            if files:
                found[split.name][folder.name] = files
            else:
                skipped["folders without images"] += 1
    return dict(found), dict(skipped)


def _entries(folder, skipped):
    """The os.DirEntry of a folder's files and folders in order, without hidden ones; none for a missing folder."""
    entries = sorted(os.scandir(folder), key=lambda entry: entry.path) if os.path.isdir(folder) else []
    seen = [entry for entry in entries if not entry.name.startswith(".") and entry.name not in SYSTEM_FILES]
    if len(seen) < len(entries):
        skipped["hidden or system files and folders"] += len(entries) - len(seen)
    return seen


def _split_roles(directory, names):
    """{role: split} of a folder with splits of these names."""
    found = {}
    for role, folders in ROLES.items():
        splits = [name for name in names if name.lower() in folders]
        if len(splits) > 1:
            both = " and ".join(splits)
            raise ValueError(f"data.dir={directory!r} is not allowed: it must have one {role} split, and it has {both}")
        if splits:
            found[role] = splits[0]
    if "train" in found and "validation" not in found:
        train = found["train"]
        found |= dict(train=f"{train}[:90%]", validation=f"{train}[90%:]")
    return found


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
