"""What makes a training step fast: elementwise functions compiled by XLA, custom gradients, and weights that are cast once.

The steps of a widenet.Model and its training calls in a tf.function enter `xla_elementwise`, and every call of an Encoder enters
`cast_once`. Exports enter `plain_autodiff`, which switches custom gradients off. `as_written` keeps the rounding of a step.
"""

import contextlib
import functools
import threading
import weakref

import tensorflow as tf

# Private parts of TensorFlow, which has no public ones for this. official's LAMB imports the last one too: it may not import
# widenet.
from tensorflow.compiler.tf2xla.ops.gen_xla_ops import xla_optimization_barrier
from tensorflow.core.protobuf.config_pb2 import ConfigProto
from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig
from tensorflow.python.eager import context as eager
from tensorflow.python.framework.ops import gradient_registry
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

# XLA compiles tensors of at least this many elements. Smaller ones gain little, and compilation and each call take time.
COMPILED_ELEMENTS = 2**20


class Context(threading.local):
    """The settings of one thread.

    Attributes:
      xla_elementwise: whether XLA compiles elementwise functions of tensors of a known size; None where nothing says so, and a
        training call of a widenet.Model may decide.
      xla_unknown_sizes: whether it compiles those of a size that is unknown while the graph is made, too.
      plain_autodiff: whether TensorFlow derives all gradients itself, and no layer uses its own.
      shared_weights: {reference to a weight: [number of uses, whether their gradients are added early, what `take` gives next]},
        weights that are cast once for all uses.
      loads, assignments, margins: the lists that record every MoE call; None where nothing is recorded.
      blocks: the list that records what every block of an Encoder takes and gives; None where nothing is recorded.
      losses: the list that gets (layer, loss) in place of the layer; None where layers keep the losses that they add.
      draws: the widenet.draws.Draws of the step; None where random numbers come from TensorFlow's global generator.
      exporting: whether the graphs made now are to be saved: calls of a widenet.Model then count no load.
    """

    xla_elementwise = None
    xla_unknown_sizes = False
    plain_autodiff = False
    shared_weights = None
    loads = None
    assignments = None
    margins = None
    blocks = None
    losses = None
    draws = None
    exporting = False


CONTEXT = Context()


@contextlib.contextmanager
def setting(**fields):
    """Inside, this thread's CONTEXT has these fields; afterwards it has what it had before."""
    before = {name: getattr(CONTEXT, name) for name in fields}
    vars(CONTEXT).update(fields)
    try:
        yield
    finally:
        vars(CONTEXT).update(before)


def in_xla():
    """Whether XLA compiles everything here as one program, as on a TPU or under jit_compile."""
    return not tf.executing_eagerly() and GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


# Elementwise functions. TensorFlow runs an expression such as a GELU operation by operation, each of which reads and writes the
# whole tensor; XLA makes one loop of it. Matrix products stay outside, since TensorFlow's own are faster on CPU. A function is
# compiled once for each shape, so shapes must not depend on the routing. Exported graphs must carry no XLA call: TF Serving,
# ONNX and TFLite refuse them.


def xla_elementwise(enabled=True, unknown_sizes=True):
    """A context in which XLA compiles the elementwise functions of this package's layers.

    Args:
      enabled: False for a context in which it does not.
      unknown_sizes: whether it also compiles functions of tensors whose size is unknown while the graph is made. They are
        compiled again for each size that comes.
    """
    return setting(xla_elementwise=enabled, xla_unknown_sizes=unknown_sizes)


def compiles_elementwise(elements=None):
    """Whether `elementwise` functions called here are compiled.

    Args:
      elements: size of the largest tensor; None if it is unknown while the graph is made.
    """
    is_large = CONTEXT.xla_unknown_sizes if elements is None else elements >= COMPILED_ELEMENTS
    return bool(CONTEXT.xla_elementwise and is_large and not in_xla())


def elementwise(function):
    """Makes XLA compile a function of tensors wherever `compiles_elementwise` is true.

    Args:
      function: takes tensors only and captures none.

    Returns:
      The function. Its attribute `for_size` takes a number of elements and returns the compiled or the plain function. A forward
      pass calls it to choose the function for its gradient, which may be computed later and outside the context.
    """
    compiled = tf.function(function, jit_compile=True)

    def for_size(elements):
        return compiled if compiles_elementwise(elements) else function

    @functools.wraps(function)
    def call(*tensors):
        sizes = [tensor.shape.num_elements() for tensor in tensors]
        return for_size(None if None in sizes else max(sizes))(*tensors)

    call.for_size = for_size
    return call


# Custom gradients. A layer's own gradient is faster than the one TensorFlow derives. But a SavedModel stores each use of one as a
# function, and a small WideNet has thousands of them: tracing, writing and reading them takes minutes.


def plain_autodiff():
    """A context in which TensorFlow derives all gradients of this package's layers, and custom gradients are left out."""
    return setting(plain_autodiff=True)


def custom_gradient(function):
    """tf.custom_gradient, except where `derives_gradients` is true. The gradient is freed with its graph.

    Args:
      function: as for tf.custom_gradient; the gradient that TensorFlow derives from its operations must be the same.
    """
    custom = tf.custom_gradient(function)

    @functools.wraps(function)
    def call(*tensors):
        if derives_gradients():
            return function(*tensors)[0]
        outputs = custom(*tensors)
        if not tf.executing_eagerly():
            _free_with_graph(tf.nest.flatten(outputs)[0].op)
        return outputs

    return call


def derives_gradients():
    """Whether TensorFlow derives all gradients here: inside `plain_autodiff`, and in the graphs in which Keras infers shapes.

    Nobody takes a gradient of the latter, which are made for every functional model.
    """
    if CONTEXT.plain_autodiff or tf.executing_eagerly():
        return CONTEXT.plain_autodiff
    return getattr(tf.compat.v1.get_default_graph(), "name", "").endswith("_scratch_graph")


def _free_with_graph(operation):
    """Makes the operation own its custom gradient, which TensorFlow has registered for good, together with graph and weights."""
    name, entries = operation.get_attr("_gradient_op_type").decode(), gradient_registry._registry
    operation.custom_gradient, owner = entries[name]["type"], weakref.ref(operation)

    @tf.autograph.experimental.do_not_convert
    def gradient(_, *upstream):
        return owner().custom_gradient(None, *upstream)

    entries[name]["type"] = gradient
    weakref.finalize(operation, entries.pop, name, None).atexit = False


# Weights that several blocks share. Under mixed precision every block would cast such a weight to the compute dtype again, and
# cast its gradient back before adding it. Here the weight is cast once, and one compiled loop adds the gradients in float32.


def cast_once(uses, added_early=False):
    """A context in which `read` and `take` cast each weight of these layers once for all of its uses.

    Args:
      uses: list of (layer, how many times its weights are read).
      added_early: whether the gradients of a large weight are added as soon as they are there, and not all at the end. That takes
        less memory and more time.
    """
    return setting(shared_weights={weight.ref(): [count, added_early, []] for layer, count in uses for weight in layer.weights})


def read(weight, dtype):
    """Returns `weight` cast to `dtype`. Create the weight with experimental_autocast=False."""
    return tf.cast(take(weight, dtype)[0], dtype)


def take(weight, dtype):
    """One use of a weight: (tensor that takes the gradient, the weight cast to `dtype`). They may be the same tensor."""
    shared = (CONTEXT.shared_weights or {}).get(weight.ref())
    if shared is None:
        return (tf.cast(weight, dtype),) * 2
    count, added_early, uses = shared
    if not uses:
        value = tf.convert_to_tensor(weight)
        if added_early and value.dtype == tf.float32 and (in_xla() or compiles_elementwise(value.shape.num_elements())):
            cast = tf.cast(value, dtype)
            uses.extend((link, cast) for link in reversed(_chain(value, count)))
        else:
            uses.extend((each, each) for each in ([value] * count if value.dtype == dtype else _copies(value, dtype, count)))
    return uses.pop()


def reading(weights, values):
    """A context in which `read` gives each of these weights' values once."""
    given = zip(weights, values, strict=True)
    return setting(shared_weights={weight.ref(): [1, False, [(value, value)]] for weight, value in given})


def _copies(value, dtype, count):
    """A list of `count` copies of the value in `dtype`, whose gradients are added in float32."""
    if derives_gradients():
        return [tf.cast(value, dtype) for _ in range(count)]  # separate casts, or their gradients would be added in `dtype`
    total = _total.for_size(count * value.shape.num_elements())

    @custom_gradient
    def copies(value):
        cast = tf.cast(value, dtype)
        return [tf.identity(cast) for _ in range(count)], lambda *gradients: tf.cast(total(*gradients), value.dtype)

    return copies(value)


@elementwise
def _total(*gradients):
    return tf.add_n([tf.cast(gradient, tf.float32) for gradient in gradients])


def _chain(value, count):
    """A list of `count` tensors, each `value`. Their gradients are added, the last first, each as soon as it is there."""
    links = []
    for _ in range(count - 1):
        link, value = _split(value)
        links.append(link)
    return [*links, value]


def _split(value):
    """The float32 tensor twice. The gradients of both are added by a call that TensorFlow cannot join with other sums."""
    total = _total.for_size(value.shape.num_elements())

    @custom_gradient
    def split(value):
        return [tf.identity(value), tf.identity(value)], lambda *gradients: after([total(*gradients)])[0]

    return split(value)


# What is computed again. TensorFlow and XLA make one computation of two equal ones, and then keep its result.


def after(tensors, others=()):
    """The same tensors, there only when the others are. What is computed of them is not taken for what was computed before."""
    # XLA ignores control dependencies, and TensorFlow removes an IdentityN.
    if in_xla():
        return list(xla_optimization_barrier([*tensors, *others])[: len(tensors)]) if tensors else []
    with tf.control_dependencies(others):
        return [tf.identity(tensor) for tensor in tensors]


# Rounding. TensorFlow's optimizer of graphs sorts the terms of a sum by the names of operations, and joins products and additions
# whose results nothing else uses: a step that computes a block twice would then round in another way than one that keeps its
# results. What is written here is in the order that is fast, so a training step does without these passes.

# Arithmetic optimization, and with it the search for equal operations, which sorts; and the pass after it, which in TensorFlow
# 2.15 ends the process where it meets a layer norm that the first one has not rearranged.
_REORDERING = ("arithmetic_optimization", "common_subgraph_elimination", "remapping")


def as_written(function):
    """A tf.function whose calls round as its operations are written; anything else as it is.

    Args:
      function: called eagerly. What it calls is part of its graph, and is optimized with it.
    """
    if not hasattr(function, "get_concrete_function"):
        return function

    def call(*args, **kwargs):
        # The options of this thread, of which a call of a function takes a copy.
        context = eager.context()
        before = context.function_call_options
        config = _without_reordering(before.config_proto_serialized)
        context.function_call_options = eager.FunctionCallOptions(before.executor_type, config)
        try:
            return function(*args, **kwargs)
        finally:
            context.function_call_options = before

    call.get_concrete_function = function.get_concrete_function
    return call


@functools.lru_cache(maxsize=8)
def _without_reordering(serialized):
    config = ConfigProto.FromString(serialized)
    for name in _REORDERING:
        setattr(config.graph_options.rewrite_options, name, RewriterConfig.OFF)
    return config
