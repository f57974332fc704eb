"""Custom gradients that can be left out, for graphs that are saved.

A layer's own gradient is faster than what TensorFlow derives of its operations. In a SavedModel each use of one is a function
that is traced, written and read by itself: of a small WideNet thousands, which take minutes.
"""

import contextlib
import functools
import threading

import tensorflow as tf

_ACTIVE = threading.local()  # replicas of a MirroredStrategy run in threads of their own


@contextlib.contextmanager
def derived_gradients():
    """Inside, TensorFlow derives all gradients of this package's layers from their operations."""
    outer = uses_derived()
    _ACTIVE.derived = True
    try:
        yield
    finally:
        _ACTIVE.derived = outer


def uses_derived():
    """Whether this is inside of `derived_gradients`."""
    return getattr(_ACTIVE, "derived", False)


def custom_gradient(function):
    """tf.custom_gradient, but where `derived_gradients` says otherwise.

    Args:
      function: as for tf.custom_gradient; its operations alone must have the same gradient.
    """
    custom = tf.custom_gradient(function)

    @functools.wraps(function)
    def call(*tensors):
        return function(*tensors)[0] if uses_derived() else custom(*tensors)

    return call
