"""Multi-head self-attention."""

from typing import Any

import tensorflow as tf

from widenet.checks import check_count, check_rate, refuse
from widenet.draws import Dropout
from widenet.layer import (
    Initializer,
    Layer,
    Regularizer,
    at_least_float32,
    check_initializer,
    check_regularizer,
    new_initializer,
    real_tokens,
    register,
)


@register
class SelfAttention(Layer):
    """Multi-head self-attention (arXiv:1706.03762, section 3.2) with four Dense layers of [width, width].

    Unlike those of tf.keras.layers.MultiHeadAttention its kernels are 2-D. So a Glorot initializer sees the true fan-in and
    fan-out (Keras takes the 768 of a [768, 12, 64] kernel for a receptive field, and its values start six times too small), and
    LAMB's trust ratio is that of one Dense layer.

    Args:
      width: size of the last axis of input and output.
      heads: number of heads; divides width.
      dropout: rate on the output.
      attention_dropout: rate on the attention probabilities.
      kernel_initializer: name, config or unseeded instance of a Keras initializer.
      kernel_regularizer: name, config or instance of a Keras regularizer of the kernels, or None.

    Raises:
      ValueError: a setting out of range, or a width that the heads do not divide, at construction.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        kernel_initializer: Initializer = "glorot_uniform",
        kernel_regularizer: Regularizer = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_heads(width, heads)
        check_rate("dropout", dropout)
        check_rate("attention_dropout", attention_dropout)
        self.width = width
        self.heads = heads
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self.kernel_initializer = check_initializer("kernel_initializer", kernel_initializer)
        self.kernel_regularizer = check_regularizer("kernel_regularizer", kernel_regularizer)
        self.query, self.key, self.value, self.output_dense = (
            tf.keras.layers.Dense(
                width,
                kernel_initializer=new_initializer(self.kernel_initializer),
                kernel_regularizer=self.kernel_regularizer,
                name=name,
                dtype=self.dtype_policy,
            )
            for name in ("query", "key", "value", "output")
        )
        self._dropout = Dropout(dropout, dtype=self.dtype_policy)
        self._attention_dropout = Dropout(attention_dropout, dtype=self.dtype_policy)

    def build(self, input_shape: tf.TensorShape) -> None:
        if input_shape[-1] != self.width:
            refuse("width", self.width, f"{input_shape[-1]}, the last axis of the input")
        for dense in (self.query, self.key, self.value, self.output_dense):
            self.build_child(dense, input_shape)
        super().build(input_shape)

    def call(self, x: tf.Tensor, mask: tf.Tensor | None = None, training: bool | None = None) -> tf.Tensor:
        """Every token attends to the real tokens of its example.

        Args:
          x: float [batch, length, width].
          mask: bool [batch, length], or integers, False or 0 where a token is padding, to which no token attends; None if all
            are real.
          training: whether dropout is on.

        Returns:
          float [batch, length, width].
        """
        mask = real_tokens(mask, x)
        # Axes: b batch, q query tokens, k key tokens, h heads, d width / heads.
        query, key, value = (self._split_heads(dense(x)) for dense in (self.query, self.key, self.value))
        scores = tf.matmul(query * (self.width // self.heads) ** -0.5, key, transpose_b=True)  # [b, h, q, k]
        scores = tf.cast(scores, at_least_float32(self.compute_dtype))
        if mask is not None:
            # Finite, so that an example without real tokens does not give NaN.
            of_keys = tf.expand_dims(tf.expand_dims(mask, 1), 1)  # [b, 1, 1, k]; TFLite cannot add axes to booleans by slicing
            scores = tf.where(of_keys, scores, tf.constant(-1e9, scores.dtype))
        probabilities = tf.cast(tf.nn.softmax(scores), self.compute_dtype)
        probabilities = self._attention_dropout(probabilities, training=training)
        context = tf.transpose(tf.matmul(probabilities, value), [0, 2, 1, 3])  # [b, q, h, d]
        return self._dropout(self.output_dense(tf.reshape(context, tf.shape(x))), training=training)

    def _split_heads(self, x):
        """[b, length, width] to [b, h, length, d]."""
        shape = tf.shape(x)
        return tf.transpose(tf.reshape(x, [shape[0], shape[1], self.heads, self.width // self.heads]), [0, 2, 1, 3])


def check_heads(width, heads):
    """Refuses a width that the heads do not divide."""
    check_count("width", width)
    check_count("heads", heads)
    if width % heads:
        refuse("heads", heads, f"a divisor of width={width}")
