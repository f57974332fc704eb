"""The feed-forward layer: the dense FFN of a block, and each expert of an MoE layer; and its activations by name."""

import functools
import math
import types
from typing import Any

import tensorflow as tf

from widenet.checks import check_count, check_rate, refuse
from widenet.draws import Dropout
from widenet.fast_path import compiles_elementwise, custom_gradient, in_xla, read
from widenet.layer import (
    Activation,
    Initializer,
    Layer,
    Regularizer,
    at_least_float32,
    check_initializer,
    check_regularizer,
    new_initializer,
    register,
)


def _gelu(x):
    """The exact GELU, 0.5 x (1 + erf(x / sqrt 2)).

    tf.nn.gelu computes this in TensorFlow 2.15, and 0.5 x erfc(-x / sqrt 2) in 2.21, which ONNX has no operator for. For large
    negative x, 1 + erf cancels: the relative error grows there, while the absolute one stays that of float32 arithmetic, below
    2e-7 |x|, and 2e-7 in the gradient.
    """
    return 0.5 * x * (1 + tf.math.erf(x / math.sqrt(2)))


ACTIVATIONS = {
    "gelu": _gelu,
    "gelu_tanh": functools.partial(tf.nn.gelu, approximate=True),
    "relu": tf.nn.relu,
    "silu": tf.nn.silu,
    "tanh": tf.nn.tanh,
    "linear": tf.identity,
}

# Functions of TensorFlow and Keras that are one of these.
_FUNCTIONS = {
    tf.nn.gelu: "gelu",
    tf.keras.activations.gelu: "gelu",
    tf.nn.relu: "relu",
    tf.keras.activations.relu: "relu",
    tf.nn.silu: "silu",
    tf.keras.activations.swish: "silu",
    tf.nn.tanh: "tanh",
    tf.keras.activations.tanh: "tanh",
    tf.identity: "linear",
    tf.keras.activations.linear: "linear",
}


def plain_activation(activation):
    """The name in ACTIVATIONS of a function of TensorFlow or Keras that is there; anything else as it is."""
    return _FUNCTIONS.get(activation, activation) if callable(activation) else activation


def get_activation(activation):
    """The function x -> activation(x) of a name; "gelu" is the exact one, x * Phi(x) (arXiv:1606.08415).

    If elementwise functions are compiled, that of a name in ACTIVATIONS is computed in at least float32 and rounded once, and its
    gradient is one loop too. Other functions are called as they are.

    Args:
      activation: a name in ACTIVATIONS, a function of a tensor, or the name under which it is registered with Keras.

    Raises:
      ValueError: neither a function nor such a name.
    """
    name = plain_activation(activation)
    if callable(name):
        return name
    if not isinstance(name, str) or name not in ACTIVATIONS:
        registered = tf.keras.saving.get_registered_object(name) if isinstance(name, str) else None
        if not isinstance(registered, types.FunctionType):
            refuse("activation", name, f"one of {', '.join(map(repr, ACTIVATIONS))}, or a function")
        return registered
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

    @custom_gradient
    def activation(x):
        # The length of a concatenation's gradient is unknown while the graph is made.
        return value(x), lambda upstream: product_with_derivative(x, tf.ensure_shape(upstream, x.shape))

    return activation


@register
class FeedForward(Layer):
    """Dense, activation, dropout, Dense, dropout, on each token separately.

    Args:
      hidden_dim: width H between the two Dense layers.
      activation: a name of widenet.feed_forward.ACTIVATIONS or a function, as in `get_activation`.
      dropout: rate of both dropouts.
      kernel_initializer: name, config or unseeded instance of a Keras initializer.
      kernel_regularizer: name, config or instance of a Keras regularizer of the kernels, or None.

    Weights: `kernel_in` [D, H], `bias_in` [H], `kernel_out` [H, D], `bias_out` [D].

    Raises:
      ValueError: a setting out of range, at construction.
    """

    def __init__(
        self,
        hidden_dim: int,
        activation: Activation = "gelu",
        dropout: float = 0.0,
        kernel_initializer: Initializer = "glorot_uniform",
        kernel_regularizer: Regularizer = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_count("hidden_dim", hidden_dim)
        check_rate("dropout", dropout)
        self.hidden_dim = hidden_dim
        self.activation = plain_activation(activation)
        self.dropout = dropout
        self.kernel_initializer = check_initializer("kernel_initializer", kernel_initializer)
        self.kernel_regularizer = check_regularizer("kernel_regularizer", kernel_regularizer)
        self._activation = get_activation(activation)
        self._dropout = Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape: tf.TensorShape) -> None:
        width = input_shape[-1]
        for side, shape in (("in", (width, self.hidden_dim)), ("out", (self.hidden_dim, width))):
            kernel = self.add_weight(
                f"kernel_{side}",
                shape,
                initializer=new_initializer(self.kernel_initializer),
                regularizer=self.kernel_regularizer,
                experimental_autocast=False,
            )
            bias = self.add_weight(f"bias_{side}", shape[-1:], initializer="zeros", experimental_autocast=False)
            setattr(self, f"kernel_{side}", kernel)
            setattr(self, f"bias_{side}", bias)
        super().build(input_shape)

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Maps float [..., width] to the same shape."""
        # One 2-D product for all tokens: a batched one is several times slower on CPU.
        tokens = tf.reshape(x, [-1, x.shape[-1]])
        output = self.project_out(self.activate(self.project_in(tokens)), training)
        return tf.reshape(output, tf.shape(x))

    # The call in three parts: for experts, the activation may be computed for all of them at once.

    def project_in(self, x: tf.Tensor) -> tf.Tensor:
        """[N, D] to [N, H]."""
        return affine(x, read(self.kernel_in, x.dtype), read(self.bias_in, x.dtype))

    def activate(self, x: tf.Tensor) -> tf.Tensor:
        """[N, H] to the same shape: the activation."""
        return self._activation(x)

    def project_out(self, x: tf.Tensor, training: bool | None) -> tf.Tensor:
        """[N, H] to [N, D]: dropout, the second Dense, and its dropout."""
        x = self._dropout(x, training=training)
        output = affine(x, read(self.kernel_out, x.dtype), read(self.bias_out, x.dtype))
        return self._dropout(output, training=training)


def _times_transpose(x, kernel):
    """x kernel^T, [N, H] times the transpose of [D, H]."""
    if kernel.dtype != tf.float32 or kernel.shape[1] <= kernel.shape[0] or in_xla():
        return tf.matmul(x, kernel, transpose_b=True)
    # On CPU a float32 product with a transposed operand is slow if the summed axis is long and N is that of one expert. So the
    # kernel is transposed beforehand. The shape check keeps TensorFlow from folding the transposition into the product again.
    return tf.matmul(x, tf.ensure_shape(tf.transpose(kernel), kernel.shape[::-1]))


@custom_gradient
def affine(x, kernel, bias):
    """x kernel + bias, for [N, D], [D, H] and [H] to [N, H]."""

    def gradient(upstream):
        # The bias's gradient as a product with ones, which is faster on CPU than BiasAddGrad.
        ones = tf.ones([1, tf.shape(upstream)[0]], upstream.dtype)
        of_bias = tf.reshape(tf.matmul(ones, upstream), tf.shape(bias))
        of_kernel = tf.matmul(x, upstream, transpose_a=True)
        # In this order x is freed before the next tensors are made. As the hidden layer it is the largest tensor of a step.
        with tf.control_dependencies([of_kernel]):
            of_x = _times_transpose(upstream, kernel)
        return of_x, of_kernel, of_bias

    return tf.nn.bias_add(tf.matmul(x, kernel), bias), gradient
