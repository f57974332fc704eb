"""A cache of decoded images in memory, for splits that fit."""

import numpy as np
import tensorflow as tf

from official.data.sources import host_constant
from vision.data import PixelSource, label_problem
from vision.decoding import decode_crop, image_problem, whole

DECODE_BATCH = 64  # images that are passed to Python together


def cached(source, channels, limit_mib, classes, bad_examples):
    """A source with all images decoded in memory, or the source itself if they do not fit or are decoded already.

    Images may differ in size. Bad examples are refused or skipped here.

    Args:
      source: of vision.data.
      channels: of the decoded images, 1 or 3.
      limit_mib: largest size of all pixels, in MiB, estimated from the images decoded so far; 0 for no cache.
      classes: number of classes; labels are 0 to classes - 1.
      bad_examples: an official.data.bad_examples.BadExamples.

    Raises:
      ValueError: a bad example, if `bad_examples` refuses, or no usable one.
    """
    limit = limit_mib * 2**20
    if source.decoded or not limit:
        return source
    pixels, shapes, labels, indices = bytearray(), [], [], []
    for batch_indices, batch_pixels, batch_shapes, batch_labels in _decoded(source, channels):
        pixels += batch_pixels.flat_values.numpy().tobytes()
        indices += batch_indices.numpy().tolist()
        # An estimate for the whole split, so that one that is far too large is given up after a few images.
        if len(pixels) / len(indices) * source.examples > limit:
            return source
        shapes += batch_shapes.numpy().tolist()
        labels += batch_labels.numpy().tolist()
    _report_undecoded(source, channels, set(indices), bad_examples)
    good = []
    for i, label in enumerate(labels):
        problem = label_problem(label, classes)
        if problem:
            bad_examples.add(source.name_of(indices[i]), problem)
        else:
            good.append(i)
    if not good:
        raise ValueError(f"none of the {source.examples} examples is usable, such as {source.name_of(0)}")
    return _memory_source(source, np.frombuffer(pixels, np.uint8), np.array(shapes), labels, indices, good)


def _decoded(source, channels):
    """tf.data.Dataset of (indices [N], uint8 pixels [N, ragged], shapes [N, 3], labels [N]) of the images that can be decoded."""

    def decode(index, image, label):
        pixels = decode_crop(source.read(image), channels, whole)
        return index, tf.reshape(pixels, [-1]), tf.shape(pixels), label

    return source.in_order().map(decode, num_parallel_calls=tf.data.AUTOTUNE).ignore_errors().ragged_batch(DECODE_BATCH)


def _report_undecoded(source, channels, decoded, bad_examples):
    """Adds the examples whose indices are not in `decoded` to `bad_examples`."""
    if len(decoded) == source.examples:
        return
    for index, image, _ in source.in_order().as_numpy_iterator():
        if index not in decoded:
            bad_examples.add(source.name_of(index), image_problem(source.read, image, channels))


def _memory_source(source, pixels, shapes, labels, indices, good):
    """A PixelSource of the images whose positions are in `good`; `pixels` has the values of all N images, one after the other."""
    sizes = shapes.prod(axis=1)
    starts = host_constant((np.cumsum(sizes) - sizes)[good], tf.int64)
    shape_of, label_of = host_constant(shapes[good], tf.int64), host_constant(np.array(labels)[good], tf.int64)
    pixels = host_constant(pixels)
    # A shape that all images share is known to TensorFlow.
    static = shapes[0].tolist() if (shapes == shapes[0]).all() else [None, None, int(shapes[0][2])]

    def get(i):
        flat = tf.slice(pixels, [starts[i]], [tf.reduce_prod(shape_of[i])])
        return tf.ensure_shape(tf.reshape(flat, shape_of[i]), static), label_of[i]

    return PixelSource(len(good), get, lambda i: source.name_of(indices[good[i]]))
