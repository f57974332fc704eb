"""Activations by name."""

import functools

import tensorflow as tf

from widenet.checks import refuse

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

    Raises:
      ValueError: a name that is not in ACTIVATIONS.
    """
    if not isinstance(name, str) or name not in ACTIVATIONS:
        refuse("activation", name, "one of " + ", ".join(map(repr, ACTIVATIONS)))
    return ACTIVATIONS[name]
