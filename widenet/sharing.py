"""Weights that several blocks share, read once a call of the encoder.

Under mixed precision a weight is cast to the compute dtype wherever it is read, and its gradient cast back and added up: over
twelve blocks that is most of what lower precision costs. Here it is cast once, and the blocks' gradients are added in the
weight's own dtype, in one compiled loop.
"""

import contextlib
import threading

import tensorflow as tf

from widenet.compiled import elementwise

_ACTIVE = threading.local()  # replicas of a MirroredStrategy run in threads of their own


@contextlib.contextmanager
def shared_reads(uses):
    """Inside, `read` reads each weight of these layers once for all of its uses.

    Args:
      uses: list of (layer, how many times its weights are read).
    """
    outer = getattr(_ACTIVE, "weights", {})
    _ACTIVE.weights = {weight.ref(): [count, []] for layer, count in uses for weight in layer.trainable_weights}
    try:
        yield
    finally:
        _ACTIVE.weights = outer


def read(weight, dtype):
    """The weight's value in `dtype`; make the weight with experimental_autocast=False."""
    shared = getattr(_ACTIVE, "weights", {}).get(weight.ref())
    if shared is None:
        return tf.cast(weight, dtype)
    count, copies = shared
    if not copies:
        value = tf.convert_to_tensor(weight)
        copies.extend([value] * count if value.dtype == dtype else _copies(value, dtype, count))
    return copies.pop()


def _copies(value, dtype, count):
    """`count` times the value in `dtype`, whose gradients are added up in the value's own."""

    @elementwise
    def total(*gradients):
        return tf.add_n([tf.cast(gradient, value.dtype) for gradient in gradients])

    total = total.variant(count * value.shape.num_elements())

    @tf.custom_gradient
    def copies(value):
        cast = tf.cast(value, dtype)
        return [tf.identity(cast) for _ in range(count)], lambda *gradients: total(*gradients)

    return copies(value)
