"""Decoded images kept in memory, where they fit."""

import numpy as np
import tensorflow as tf

from official.data.sources import host_constant
from vision.decoding import decode_crop, what_is_wrong, whole
from vision.sources import PixelSource

AT_ONCE = 64  # so many images are handed to Python together


def cached(source, channels, limit_mib, classes, bad_examples):
    """The source with all its images decoded once and held in memory, or the source itself where they do not fit.

    Images may differ in size: they lie in one array, one after the other. Bad examples are refused or left out here.

    Args:
      source: of vision.sources.
      channels: to decode, 1 or 3.
      limit_mib: how large all pixels may be together, in MiB, by an estimate from the first ones; 0 keeps none.
      classes: how many; other labels are bad.
      bad_examples: an official.data.bad_examples.BadExamples.

    Raises:
      ValueError: a bad example, where `bad_examples` refuses; or no good one.
    """
    limit = limit_mib * 2**20
    if source.decoded or not limit:
        return source
    pixels, shapes, labels, indices = bytearray(), [], [], []
    for batch_indices, batch_pixels, batch_shapes, batch_labels in _decoded(source, channels):
        pixels += batch_pixels.flat_values.numpy().tobytes()
        indices += batch_indices.numpy().tolist()
        # As large as all will be if the others are like those so far: what is far too large is known after a few.
        if len(pixels) / len(indices) * source.examples > limit:
            return source
        shapes += batch_shapes.numpy().tolist()
        labels += batch_labels.numpy().tolist()
    _tell_of_undecoded(source, channels, set(indices), bad_examples)
    good = []
    for i, label in enumerate(labels):
        problem = label_problem(label, classes)
        if problem:
            bad_examples.add(source.name_of(indices[i]), problem)
        else:
            good.append(i)
    if not good:
        raise ValueError(f"none of the {source.examples} examples can be used, such as {source.name_of(0)}")
    return _memory_source(source, np.frombuffer(pixels, np.uint8), np.array(shapes), labels, indices, good)


def label_problem(label, classes):
    """What is wrong with a label, or None."""
    return None if 0 <= label < classes else f"its label is {label}, which is not one of {classes} classes"


def _decoded(source, channels):
    """What can be decoded: tf.data.Dataset of (indices [N], uint8 pixels [N, ragged], shapes [N, 3], labels [N])."""

    def decode(index, image, label):
        pixels = decode_crop(source.read(image), channels, whole)
        return index, tf.reshape(pixels, [-1]), tf.shape(pixels), label

    return source.in_order().map(decode, num_parallel_calls=tf.data.AUTOTUNE).ignore_errors().ragged_batch(AT_ONCE)


def _tell_of_undecoded(source, channels, decoded, bad_examples):
    """Adds all examples to `bad_examples` whose indices are not in `decoded`."""
    if len(decoded) == source.examples:
        return
    for index, image, _ in source.in_order().as_numpy_iterator():
        if index not in decoded:
            bad_examples.add(source.name_of(index), what_is_wrong(source.read, image, channels))


def _memory_source(source, pixels, shapes, labels, indices, good):
    """Of the images [N] that lie in `pixels` one after the other, those whose numbers are in `good`."""
    sizes = shapes.prod(axis=1)
    starts = host_constant((np.cumsum(sizes) - sizes)[good], tf.int64)
    shape_of, label_of = host_constant(shapes[good], tf.int64), host_constant(np.array(labels)[good], tf.int64)
    pixels = host_constant(pixels)
    # Where all are of one shape TensorFlow may know it.
    static = shapes[0].tolist() if (shapes == shapes[0]).all() else [None, None, int(shapes[0][2])]

    def get(i):
        flat = tf.slice(pixels, [starts[i]], [tf.reduce_prod(shape_of[i])])
        return tf.ensure_shape(tf.reshape(flat, shape_of[i]), static), label_of[i]

    return PixelSource(len(good), get, lambda i: source.name_of(indices[good[i]]))
