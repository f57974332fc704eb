"""Parts of a model whose intermediate results the backward pass computes again (arXiv:1604.06174): less memory, more time.

`recomputed` calls a function and keeps only what it takes and gives. The backward pass calls it once more, when it needs the
results in between. The second call draws the same random numbers, reads the same weights, and records nothing. It takes its
tensors through `fast_path.after`, so that it does not begin before the gradient of the function's results is there.
"""

import copy

import tensorflow as tf

# A private part of TensorFlow, which tf.recompute_grad is made of, too.
from tensorflow.python.eager.record import stop_recording

from widenet.draws import Draws
from widenet.fast_path import CONTEXT, after, custom_gradient, derives_gradients, reading, setting, take

# What of the context the second call has, too, wherever it is made.
KEPT = ("xla_elementwise", "xla_unknown_sizes", "plain_autodiff", "blocks")


def recomputed(function, inputs, readers=(), dtype=None):
    """function(inputs), whose intermediate results are not kept for the backward pass.

    Call it inside the `call` of a layer. Losses that widenet layers add inside are added to these layers once. Where TensorFlow
    derives all gradients (`fast_path.derives_gradients`), this is a plain call. If nothing says what is drawn
    (`draws.seeded`), a seed is drawn for this call.

    Args:
      function: of one structure of tensors, as of tf.nest, to another. It may read variables; gradients of other tensors that are
        not in the structure are not taken.
      inputs: the structure. None stands for a tensor that is not there.
      readers: layers whose weights the function reads once each, by `fast_path.read`.
      dtype: to which it casts these weights.

    Returns:
      What the function gives.
    """
    if derives_gradients():
        return function(inputs)
    context = {name: getattr(CONTEXT, name) for name in KEPT}
    draws = CONTEXT.draws or _unseeded()
    start = copy.copy(draws)
    weights = [weight for layer in readers for weight in layer.weights]
    links, values = zip(*(take(weight, dtype) for weight in weights), strict=True) if weights else ((), ())
    given = [tensor for tensor in tf.nest.flatten(inputs) if tensor is not None]
    first = {}

    def call(given, values):
        """The function's results, and [(layer, loss)] of what layers add."""
        here = iter(given)
        here = tf.nest.map_structure(lambda tensor: None if tensor is None else next(here), inputs)
        with setting(losses=[]), reading(weights, values):
            return function(here), CONTEXT.losses

    # Variables find their way to a custom gradient themselves. A weight's value, which is cast once, is the same
    # tensor in all calls; its gradient is given to the link, and an argument of its own keeps it from being taken for a use of
    # the variable.
    @custom_gradient
    def kept(*tensors):
        given, values = tensors[: len(tensors) - 2 * len(links)], tensors[len(tensors) - len(links) :]
        with stop_recording(), setting(draws=draws):
            first["outputs"], first["losses"] = call(given, values)

        def gradient(*upstream, variables=()):
            upstream = [tf.convert_to_tensor(each) for each in upstream]
            again = copy.copy(start)
            ready = after([*given, start.key], upstream)
            own, again.key = ready[:-1], ready[-1]
            floats = [tensor for tensor in own if _is_float(tensor)]
            nothing = dict(loads=None, assignments=None, margins=None)
            with setting(**context, **nothing, draws=again), tf.GradientTape() as tape:
                tape.watch([*floats, *values])
                results = _floats(*call(own, values))
                of_floats, of_values, of_variables = tape.gradient(results, [floats, values, list(variables)], upstream)
            of_links = [g if g is None else tf.cast(g, link.dtype) for g, link in zip(of_values, links, strict=True)]
            # First the gradients of the weights, so that what they are made of is freed before another part is computed again.
            of_weights = [g for g in (*of_links, *of_variables) if g is not None]
            of_floats = iter(_where_any(lambda found: after(found, of_weights), of_floats))
            of_given = [next(of_floats) if _is_float(tensor) else None for tensor in own]
            of_tensors = [*of_given, *of_links, *(None for _ in values)]
            return (of_tensors, of_variables) if variables else of_tensors

        return _floats(first["outputs"], first["losses"]), gradient

    results = iter(kept(*given, *links, *values))
    outputs = tf.nest.map_structure(lambda tensor: next(results) if _is_float(tensor) else tensor, first["outputs"])
    for layer, _ in first["losses"]:
        layer.add_loss(next(results))
    return outputs


def _is_float(tensor):
    return tensor is not None and tensor.dtype.is_floating


def _floats(outputs, losses):
    """What of a call's results has a gradient, a list."""
    return [tensor for tensor in tf.nest.flatten(outputs) if _is_float(tensor)] + [loss for _, loss in losses]


def _where_any(function, tensors):
    """function of those tensors (or IndexedSlices) that are not None, in their places."""
    found = iter(function([tf.convert_to_tensor(tensor) for tensor in tensors if tensor is not None]))
    return [tensor if tensor is None else next(found) for tensor in tensors]


def _unseeded():
    """Draws whose seed is of TensorFlow's global generator."""
    return Draws(tf.random.uniform([], maxval=tf.int64.max, dtype=tf.int64), 0, 0)
