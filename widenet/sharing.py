"""Weights that several blocks share, read once a call of the encoder.

Under mixed precision a weight is cast to the compute dtype wherever it is read, in every block again, and its gradient cast back
and added up. Here it is cast once, and the blocks' gradients are added in float32 in one compiled loop.
"""

import contextlib
import threading

import tensorflow as tf

from widenet.compiled import elementwise
from widenet.gradients import uses_derived

_ACTIVE = threading.local()  # replicas of a MirroredStrategy run in threads of their own


@contextlib.contextmanager
def shared_reads(uses):
    """Inside, `read` reads each weight of these layers once for all of its uses.

    Args:
      uses: list of (layer, how many times its weights are read).
    """
    outer = getattr(_ACTIVE, "weights", {})
    _ACTIVE.weights = {weight.ref(): [count, []] for layer, count in uses for weight in layer.weights}
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
    """`count` times the value in `dtype`, whose gradients are added up in float32."""
    if uses_derived():
        return [tf.cast(value, dtype) for _ in range(count)]  # each of its own, or their gradients would be added in `dtype`
    total = _total.variant(count * value.shape.num_elements())

    @tf.custom_gradient
    def copies(value):
        cast = tf.cast(value, dtype)
        return [tf.identity(cast) for _ in range(count)], lambda *gradients: tf.cast(total(*gradients), value.dtype)

    return copies(value)


@elementwise
def _total(*gradients):
    return tf.add_n([tf.cast(gradient, tf.float32) for gradient in gradients])
