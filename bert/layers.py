"""Keras layers of text models: the embedding, the pooler, and the heads of the tasks."""

import tensorflow as tf

from widenet.checks import check_count, check_rate, refuse
from widenet.draws import Dropout
from widenet.feed_forward import get_activation, plain_activation
from widenet.layer import Layer, at_least_float32, check_initializer, check_regularizer, new_initializer, real_tokens
from widenet.norm import IndividualLayerNorm

register = tf.keras.saving.register_keras_serializable(package="bert")

NEVER = -1e9  # logit with probability 0; unlike -inf, the difference of two is not NaN


@register
class TextEmbedding(Layer):
    """Adds the embeddings of words, positions and types, normalizes, and projects to the encoder's width.

    As in ALBERT (arXiv:1909.11942, section 3.1), norm and dropout come before the projection. Without a projection it is BERT's
    embedding.

    Args:
      vocab_size, max_length, type_vocab_size: numbers of words, positions and types of segments.
      embedding_dim: width E of the three embeddings.
      width: of the output.
      dropout: rate after the norm.
      norm_epsilon: epsilon of the norm.
      initializer: name, config or unseeded instance of a Keras initializer, for embeddings and projection.
      kernel_regularizer: name, config or instance of a Keras regularizer of the projection, or None.
      embedding_projection: True for a projection always; None for one where embedding_dim is not the encoder's width.

    Weights: `word_embedding` [vocab_size, E], `position_embedding` [max_length, E], `type_embedding` [type_vocab_size, E], those
    of `norm`, and those of `projection` (a Dense) or None.

    Raises:
      ValueError: a setting out of range, at construction.
    """

    def __init__(
        self,
        vocab_size,
        max_length,
        type_vocab_size,
        embedding_dim,
        width,
        dropout=0.0,
        norm_epsilon=1e-12,
        initializer="glorot_uniform",
        kernel_regularizer=None,
        embedding_projection=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_count("vocab_size", vocab_size)
        check_count("max_length", max_length)
        check_count("type_vocab_size", type_vocab_size)
        check_count("embedding_dim", embedding_dim)
        check_count("width", width)
        check_rate("dropout", dropout)
        if embedding_projection is not None and embedding_projection is not True:
            refuse("embedding_projection", embedding_projection, "True, or None for a projection where the widths differ")
        self.vocab_size = vocab_size
        self.max_length = max_length
        self.type_vocab_size = type_vocab_size
        self.embedding_dim = embedding_dim
        self.width = width
        self.dropout = dropout
        self.norm_epsilon = norm_epsilon
        self.initializer = check_initializer("initializer", initializer)
        self.kernel_regularizer = check_regularizer("kernel_regularizer", kernel_regularizer)
        self.embedding_projection = embedding_projection
        # Sum and norm are at least float32: they cost little, and embeddings are not rounded before they are added.
        self.norm = IndividualLayerNorm(1, epsilon=norm_epsilon, name="norm", dtype=at_least_float32(self.compute_dtype))
        self._dropout = Dropout(dropout, dtype=self.dtype_policy)
        self.projection = None
        if embedding_projection or embedding_dim != width:
            self.projection = tf.keras.layers.Dense(
                width,
                kernel_initializer=new_initializer(self.initializer),
                kernel_regularizer=self.kernel_regularizer,
                name="projection",
                dtype=self.dtype_policy,
            )

    def build(self, input_shape):
        rows = {"word": self.vocab_size, "position": self.max_length, "type": self.type_vocab_size}
        for kind, number in rows.items():
            name = f"{kind}_embedding"
            initializer = new_initializer(self.initializer)
            shape = (number, self.embedding_dim)
            setattr(self, name, self.add_weight(name, shape, initializer=initializer, experimental_autocast=False))
        for child in (self.norm, self.projection):
            if child:
                self.build_child(child, (None, None, self.embedding_dim))
        super().build(input_shape)

    def call(self, word_ids, type_ids, training=None):
        """Embeds a batch of sequences.

        Args:
          word_ids, type_ids: int [batch, length]; length is at most `max_length`.
          training: whether dropout is on.

        Returns:
          float [batch, length, width], and the word embedding [vocab_size, E], float32 at least, for a head that is tied to it.

        Raises:
          ValueError: more tokens than positions, where the length is known; otherwise tf.errors.InvalidArgumentError, when run.
        """
        words = tf.convert_to_tensor(self.word_embedding)
        x = tf.gather(words, word_ids) + tf.gather(self.type_embedding, type_ids) + self._positions(word_ids)
        x = self._dropout(tf.cast(self.norm(x, 0), self.compute_dtype), training=training)
        return (self.projection(x) if self.projection else x), words

    def _positions(self, word_ids):
        """The position embeddings of the tokens: [length, E]."""
        length = word_ids.shape[1]
        if length is None:
            length = tf.shape(word_ids)[1]
            message = f"more tokens than max_length={self.max_length}"
            with tf.control_dependencies([tf.debugging.assert_less_equal(length, self.max_length, message)]):
                length = tf.identity(length)
        elif length > self.max_length:
            refuse("max_length", self.max_length, f"at least the {length} tokens of the input")
        return tf.convert_to_tensor(self.position_embedding)[:length]  # a slice of the variable itself would never be freed

    def compute_mask(self, inputs, mask=None):
        """Makes no mask from ids: padding is given by the model's mask input."""
        return None


@register
class FirstToken(Layer):
    """The first token of each example, [CLS]: float [batch, length, width] to [batch, width]."""

    def call(self, x):
        return x[:, 0]

    def compute_mask(self, inputs, mask=None):
        """Drops the mask: Keras would weight losses of later layers with it."""
        return None


def _mean_of_real(x, mask):
    """The mean of float [batch, length, width] where `mask` [batch, length] is not 0: [batch, width]; 0 without such a token."""
    real = tf.expand_dims(tf.cast(real_tokens(mask, x), x.dtype), axis=-1)  # TFLite has no slice with a new axis
    return tf.math.divide_no_nan(tf.reduce_sum(x * real, axis=1), tf.reduce_sum(real, axis=1))


@register
class TokenMean(Layer):
    """The mean over the real tokens of each example: float [batch, length, width] to [batch, width]; 0 without any real token.

    In float32 under mixed precision: a sum of many bfloat16 numbers loses digits.
    """

    def call(self, x, mask):
        """Pools tokens; arguments and result as of UnitMean."""
        wide = tf.cast(x, at_least_float32(self.compute_dtype))
        return tf.cast(_mean_of_real(wide, mask), self.compute_dtype)

    def compute_mask(self, inputs, mask=None):
        """Drops the mask, as FirstToken does."""
        return None


@register
class UnitMean(Layer):
    """The embedding of each example: the mean over its real tokens, divided by its L2 norm.

    As sentence embeddings are made of BERT's outputs by Sentence-BERT (arXiv:1908.10084, section 3, "MEAN"), with the length 1
    that makes a dot product of two of them their cosine. An example without any real token has an embedding of zeros.
    """

    def call(self, x, mask):
        """Pools tokens.

        Args:
          x: float [batch, length, width].
          mask: bool [batch, length], or integers, False or 0 where a token is padding.

        Returns:
          float [batch, width].
        """
        # Unlike x / norm(x), this has a gradient where all values are 0.
        return tf.math.l2_normalize(_mean_of_real(x, mask), axis=-1)

    def compute_mask(self, inputs, mask=None):
        """Drops the mask of tokens, which does not fit one value per example."""
        return None


@register
class MaskedWords(Layer):  # .keras files store its weights under the name of the class
    """Logits of the words at masked positions: Dense, activation, norm, and the word embedding again (BERT, arXiv:1810.04805).

    Args:
      embedding_dim: width E of the word embedding.
      activation: a name of widenet.feed_forward.ACTIVATIONS, or a function.
      norm_epsilon: epsilon of the norm.
      kernel_initializer: name, config or unseeded instance of a Keras initializer.
      kernel_regularizer: name, config or instance of a Keras regularizer of the kernel, or None.

    Weights: `dense` (a Dense to E), those of `norm`, and `bias` [vocab_size]. The matrix to the words is the embedding's.

    Raises:
      ValueError: a setting out of range, at construction.
    """

    def __init__(
        self,
        embedding_dim,
        activation="gelu",
        norm_epsilon=1e-12,
        kernel_initializer="glorot_uniform",
        kernel_regularizer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.embedding_dim = embedding_dim
        self.activation = plain_activation(activation)
        self.norm_epsilon = norm_epsilon
        self.kernel_initializer = check_initializer("kernel_initializer", kernel_initializer)
        self.kernel_regularizer = check_regularizer("kernel_regularizer", kernel_regularizer)
        self._activation = get_activation(activation)
        self.dense = tf.keras.layers.Dense(
            embedding_dim,
            kernel_initializer=new_initializer(self.kernel_initializer),
            kernel_regularizer=self.kernel_regularizer,
            name="dense",
            dtype=self.dtype_policy,
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
        """Drops the mask of tokens, which does not fit predictions."""
        return None


@register
class Span(Layer):
    """Logits of the start and the end of an answer: a Dense on each token, masked at padding.

    Args:
      kernel_initializer: name, config or unseeded instance of a Keras initializer.
      kernel_regularizer: name, config or instance of a Keras regularizer of the kernel, or None.

    Weights: `dense` (a Dense to 2).
    """

    def __init__(self, kernel_initializer="glorot_uniform", kernel_regularizer=None, **kwargs):
        super().__init__(**kwargs)
        self.kernel_initializer = check_initializer("kernel_initializer", kernel_initializer)
        self.kernel_regularizer = check_regularizer("kernel_regularizer", kernel_regularizer)
        self.dense = tf.keras.layers.Dense(
            2,
            kernel_initializer=new_initializer(self.kernel_initializer),
            kernel_regularizer=self.kernel_regularizer,
            name="dense",
            dtype=self.dtype_policy,
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
        """Drops the mask: the logits account for padding, and the loss has one value per example."""
        return None
