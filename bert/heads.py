"""What stands on an encoder of text: pooling, the masked-word head and the span head."""

import tensorflow as tf

from widenet import IndividualLayerNorm
from widenet.activations import get_activation
from widenet.layer import Layer, check_initializer, new_initializer

register = tf.keras.saving.register_keras_serializable(package="bert")

NEVER = -1e9  # the logit of what cannot be: its probability is 0, and differences of two of them are not NaN


@register
class FirstToken(Layer):
    """The first token of each example, [CLS]: float [batch, length, width] to [batch, width]."""

    def call(self, x):
        return x[:, 0]

    def compute_mask(self, inputs, mask=None):
        """Keras would weight losses of what follows with a mask of tokens."""
        return None


@register
class MaskedWords(Layer):
    """Which words were at masked positions: Dense, activation, norm, and the word embedding again (BERT, arXiv:1810.04805).

    Args:
      embedding_dim: width E of the word embedding.
      activation: a name of widenet.activations.ACTIVATIONS.
      norm_epsilon: epsilon of the norm.
      kernel_initializer: name, config or unseeded instance of a Keras initializer.

    Weights: `dense` (a Dense to E), those of `norm`, and `bias` [vocab_size]. The matrix to the words is the embedding's.

    Raises:
      ValueError: a setting out of range, at construction.
    """

    def __init__(self, embedding_dim, activation="gelu", norm_epsilon=1e-12, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.embedding_dim = embedding_dim
        self.activation = activation
        self.norm_epsilon = norm_epsilon
        self.kernel_initializer = check_initializer("kernel_initializer", kernel_initializer)
        self._activation = get_activation(activation)
        self.dense = tf.keras.layers.Dense(
            embedding_dim, kernel_initializer=new_initializer(self.kernel_initializer), name="dense", dtype=self.dtype_policy
        )
        self.norm = IndividualLayerNorm(1, epsilon=norm_epsilon, name="norm", dtype=self.dtype_policy)

    def build(self, input_shape):
        tokens, _, words = input_shape
        self.build_child(self.dense, tokens)
        self.build_child(self.norm, (None, self.embedding_dim))
        self.bias = self.add_weight("bias", (words[0],), initializer="zeros")
        super().build(input_shape)

    def call(self, inputs):
        """Predicts the words at some positions.

        Args:
          inputs: float [batch, length, width]; int [batch, predictions], the positions; and [vocab_size, E], the word embedding.

        Returns:
          Logits, float [batch, predictions, vocab_size].
        """
        x, positions, words = inputs
        x = tf.gather(x, positions, batch_dims=1)
        x = self.norm(self._activation(self.dense(x)), 0)
        # One 2-D product, which is faster than a batched one.
        logits = tf.matmul(tf.reshape(x, [-1, self.embedding_dim]), words, transpose_b=True) + self.bias
        return tf.reshape(logits, [*tf.unstack(tf.shape(positions)), words.shape[0]])

    def compute_mask(self, inputs, mask=None):
        """Predictions stand in another order than tokens."""
        return None


@register
class Span(Layer):
    """Where an answer starts and ends: a Dense on each token, and never at padding.

    Args:
      kernel_initializer: name, config or unseeded instance of a Keras initializer.

    Weights: `dense` (a Dense to 2).
    """

    def __init__(self, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.kernel_initializer = check_initializer("kernel_initializer", kernel_initializer)
        self.dense = tf.keras.layers.Dense(
            2, kernel_initializer=new_initializer(self.kernel_initializer), name="dense", dtype=self.dtype_policy
        )

    def build(self, input_shape):
        self.build_child(self.dense, input_shape)
        super().build(input_shape)

    def call(self, x, mask):
        """Scores every token.

        Args:
          x: float [batch, length, width].
          mask: bool [batch, length], or integers, False or 0 where a token is padding.

        Returns:
          Logits, float [batch, length, 2].
        """
        logits = self.dense(x)
        return tf.where(tf.cast(mask, tf.bool)[..., tf.newaxis], logits, tf.constant(NEVER, logits.dtype))

    def compute_mask(self, inputs, mask=None):
        """Padding is in the logits; a loss over the tokens of an example is one number."""
        return None
