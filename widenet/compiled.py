"""Elementwise functions compiled by XLA, for steps that XLA does not compile as a whole.

TensorFlow runs an expression such as a GELU operation by operation, each reading and writing all of its tensor; XLA makes one
loop of it. Matrix products stay outside: TensorFlow's own are faster on CPU. A function is compiled once for each shape, so the
shapes must not depend on the routing.

Nothing is compiled unless a step asks for it, as widenet.Model's steps do: exported graphs carry no XLA call, which TF Serving,
ONNX and TFLite would refuse.
"""

import contextlib
import functools
import threading

import tensorflow as tf

# The one place that knows it; Keras asks the same question of its own copy.
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

# Small tensors are left to TensorFlow: there is little to save, and compilation and every start of a function take time.
COMPILED_ELEMENTS = 2**20

_ACTIVE = threading.local()  # replicas of a MirroredStrategy run in threads of their own


@contextlib.contextmanager
def compiled_elementwise(enabled=True, unknown=True):
    """Inside, the elementwise functions of this package's layers are compiled by XLA.

    Args:
      enabled: False for the opposite.
      unknown: whether that holds where a size is not known while the graph is made, too: each size that comes is compiled anew.
    """
    outer = _setting()
    _ACTIVE.setting = (enabled, unknown)
    try:
        yield
    finally:
        _ACTIVE.setting = outer


def _setting():
    return getattr(_ACTIVE, "setting", (False, False))


def in_xla():
    """Whether XLA compiles everything here as one program, as on a TPU or under jit_compile."""
    return not tf.executing_eagerly() and GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


def compiles_elementwise(elements=None):
    """Whether `elementwise` functions called here are compiled.

    Args:
      elements: size of the largest tensor; None where it is not known while the graph is made.
    """
    enabled, unknown = _setting()
    is_large = unknown if elements is None else elements >= COMPILED_ELEMENTS
    return enabled and is_large and not in_xla()


def elementwise(function):
    """Makes a function of tensors one that XLA compiles where `compiles_elementwise` says so; elsewhere it is called as it is.

    Args:
      function: of tensors only, of which it captures none.

    Returns:
      The function, with an attribute `variant`: called with a tensor's number of elements where a forward pass is made, it gives
      the one that its gradient is to use, which may be made later and elsewhere.
    """
    compiled = tf.function(function, jit_compile=True)

    def variant(elements):
        return compiled if compiles_elementwise(elements) else function

    @functools.wraps(function)
    def call(*tensors):
        sizes = [tensor.shape.num_elements() for tensor in tensors]
        return variant(None if None in sizes else max(sizes))(*tensors)

    call.variant = variant
    return call
