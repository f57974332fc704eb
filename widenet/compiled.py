"""Elementwise functions compiled by XLA, for training steps that XLA does not compile as a whole.

TensorFlow runs an expression such as a GELU operation by operation, each reading and writing all of its tensor; XLA makes one
loop of it. Matrix products stay outside: TensorFlow's own are faster on CPU. A function is compiled once for each shape, so the
shapes must not depend on the routing.

Nothing is compiled unless a step asks for it, as widenet.Model's training step does: exported graphs carry no XLA call, which
TF Serving, ONNX and TFLite would refuse.
"""

import contextlib
import functools
import threading

import tensorflow as tf

# The one place that knows it; Keras asks the same question of its own copy.
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

_ACTIVE = threading.local()  # replicas of a MirroredStrategy run in threads of their own


@contextlib.contextmanager
def compiled_elementwise(enabled=True):
    """Inside, the elementwise functions of this package's layers are compiled by XLA; with enabled=False they are not."""
    outer = getattr(_ACTIVE, "enabled", False)
    _ACTIVE.enabled = enabled
    try:
        yield
    finally:
        _ACTIVE.enabled = outer


def in_xla():
    """Whether XLA compiles everything here as one program, as on a TPU or under jit_compile."""
    return not tf.executing_eagerly() and GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


def compiles_elementwise():
    """Whether `elementwise` functions called here are compiled."""
    return getattr(_ACTIVE, "enabled", False) and not in_xla()


def elementwise(function):
    """Makes a function of tensors one that XLA compiles where `compiles_elementwise` says so; elsewhere it is called as it is.

    Args:
      function: of tensors only, of which it captures none.

    Returns:
      The function, with an attribute `variant`: called where a forward pass is made, it gives the one that its gradient is to
      use, which may be made later and elsewhere.
    """
    compiled = tf.function(function, jit_compile=True)

    def variant():
        return compiled if compiles_elementwise() else function

    @functools.wraps(function)
    def call(*tensors):
        return variant()(*tensors)

    call.variant = variant
    return call
