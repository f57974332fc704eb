"""Activations by name."""

import functools

import tensorflow as tf

from widenet.checks import refuse
from widenet.fast_path import compiles_elementwise
from widenet.layer import at_least_float32

ACTIVATIONS = {
    "gelu": functools.partial(tf.nn.gelu, approximate=False),
    "gelu_tanh": functools.partial(tf.nn.gelu, approximate=True),
    "relu": tf.nn.relu,
    "silu": tf.nn.silu,
    "tanh": tf.nn.tanh,
    "linear": tf.identity,
}


def get_activation(name):
    """The function x -> activation(x) of that name; "gelu" is the exact one, x * Phi(x) (arXiv:1606.08415).

    If elementwise functions are compiled, it is computed in at least float32 and rounded once, and its gradient is one loop too.

    Raises:
      ValueError: a name that is not in ACTIVATIONS.
    """
    if not isinstance(name, str) or name not in ACTIVATIONS:
        refuse("activation", name, "one of " + ", ".join(map(repr, ACTIVATIONS)))
    plain, compiled = ACTIVATIONS[name], _compiled(name)

    def activation(x):
        x = tf.convert_to_tensor(x)
        return compiled(x) if compiles_elementwise(x.shape.num_elements()) else plain(x)

    return activation


@functools.cache
def _compiled(name):
    """The activation whose value and whose gradient are compiled, each as one function."""

    def wide(x):
        return ACTIVATIONS[name](tf.cast(x, at_least_float32(x.dtype)))

    @tf.function(jit_compile=True)
    def value(x):
        return tf.cast(wide(x), x.dtype)

    @tf.function(jit_compile=True)
    def product_with_derivative(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = wide(x)
        return tape.gradient(y, x, output_gradients=tf.cast(upstream, y.dtype))

    @tf.custom_gradient
    def activation(x):
        # The length of a concatenation's gradient is unknown while the graph is made.
        return value(x), lambda upstream: product_with_derivative(x, tf.ensure_shape(upstream, x.shape))

    return activation
