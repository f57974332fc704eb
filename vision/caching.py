"""Decoded images kept in memory, where they fit."""

import numpy as np
import tensorflow as tf

from vision.decoding import decode_crop, or_else, what_is_wrong, whole
from vision.sources import IndexedSource

SAMPLE = 64  # images from whose size that of all is estimated


def cached(source, channels, limit_mib, classes, bad_examples):
    """The source with all its images decoded once and held in memory, or the source itself where they do not fit.

    Images may differ in size: they lie in one array, one after the other. Bad examples are refused or left out here.

    Args:
      source: of vision.sources.
      channels: to decode, 1 or 3.
      limit_mib: how large all pixels may be together, in MiB; 0 keeps none.
      classes: how many; other labels are bad.
      bad_examples: an official.bad_examples.BadExamples.

    Raises:
      ValueError: a bad example, where `bad_examples` refuses; or no good one.
    """
    limit = limit_mib * 2**20
    if source.decoded or not limit or _estimated_size(source, channels) > limit:
        return source
    pixels, shapes, labels, indices, size = [], [], [], [], 0
    for index, image, label, ok, encoded in _decoded(source, channels).as_numpy_iterator():
        problem = what_is_wrong(encoded) if not ok else label_problem(label, classes)
        if problem:
            bad_examples.add(source.name_of(index), problem)
            continue
        size += image.size
        if size > limit:  # the estimate was too low
            return source
        pixels.append(image.ravel())
        shapes.append(image.shape)
        labels.append(label)
        indices.append(index)
    if not labels:
        raise ValueError(f"none of {source.examples} examples can be used, as {source.name_of(0)}")
    return _memory_source(source, np.concatenate(pixels), np.array(shapes, np.int64), labels, indices)


def label_problem(label, classes):
    """What is wrong with a label, or None."""
    return None if 0 <= label < classes else f"its label is {label}, which is not one of {classes} classes"


def _decoded(source, channels):
    """tf.data.Dataset of (index, uint8 [height, width, channels], label, whether it could be decoded, its bytes if not)."""

    def decode(index, image, label):
        nothing = tf.ensure_shape(tf.zeros([0, 0, channels], tf.uint8), [None, None, channels])
        pixels, ok = or_else(
            lambda: tf.ensure_shape(decode_crop(source.read(image), channels, whole), [None, None, channels]), nothing
        )
        # A file that cannot even be read has no bytes.
        encoded = tf.cond(ok, lambda: "", lambda: or_else(lambda: source.read(image), tf.constant(""))[0])
        return index, pixels, label, ok, encoded

    return source.in_order().map(decode, num_parallel_calls=tf.data.AUTOTUNE)


def _estimated_size(source, channels):
    """Bytes of all pixels, from those of the first ones."""
    sizes = [image.size for _, image, *_ in _decoded(source, channels).take(SAMPLE).as_numpy_iterator()]
    return source.examples * sum(sizes) / max(len(sizes), 1)


def _memory_source(source, pixels, shapes, labels, indices):
    ends = np.cumsum(shapes.prod(axis=1))
    pixels, labels = tf.constant(pixels), tf.constant(labels, tf.int64)
    starts, shape_of = tf.constant(ends - shapes.prod(axis=1)), tf.constant(shapes)
    # Where all are of one shape TensorFlow may know it.
    static = shapes[0].tolist() if (shapes == shapes[0]).all() else [None, None, int(shapes[0][2])]

    def get(i):
        flat = tf.slice(pixels, [starts[i]], [tf.reduce_prod(shape_of[i])])
        return tf.ensure_shape(tf.reshape(flat, shape_of[i]), static), labels[i]

    return IndexedSource(len(indices), get, lambda i: source.name_of(indices[i]), decoded=True)
