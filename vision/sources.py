"""Where labelled images come from: official.data.sources whose parts are (image, int64 label).

An image is pixels where a source's `decoded` says so, and else a string that its `read`, a TensorFlow operation, makes encoded
bytes of.
"""

import tensorflow as tf

from official.data.sources import IndexedSource, RecordSource, host_constant


class PixelSource(IndexedSource):
    """Images that are pixels, uint8 or float32 in [0, 1]."""

    decoded = True
    read = staticmethod(tf.identity)


class FileSource(IndexedSource):
    """Images that are paths of image files."""

    decoded = False
    read = staticmethod(tf.io.read_file)


class EncodedSource(RecordSource):
    """Images that are encoded bytes inside records."""

    decoded = False
    read = staticmethod(tf.identity)


def array_source(images, labels, name):
    """A PixelSource of [N, height, width, channels] and labels [N] in memory."""
    images, labels = host_constant(images), host_constant(labels, tf.int64)
    return PixelSource(len(labels), _by_index(images, labels), f"{name}, image {{}}".format)


def file_source(paths, labels):
    """A FileSource."""
    names = [str(path) for path in paths]
    return FileSource(len(paths), _by_index(host_constant(names), host_constant(labels, tf.int64)), names.__getitem__)


def _by_index(images, labels):
    return lambda index: (images[index], labels[index])
