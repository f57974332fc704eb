"""Layer norms that every block has of its own, in one bank."""

import tensorflow as tf

from widenet.checks import check_count, check_positive
from widenet.layer import Layer, at_least_float32, register


@register
class IndividualLayerNorm(Layer):
    """A bank of layer norms over the last axis, indexed by block (the paper's section "Individual Layer Normalization").

    LayerNorm_i(x) = (x - E[x]) / sqrt(Var[x] + epsilon) * gamma_i + beta_i. Moments and scaling are computed in float32 at
    least, whatever the compute dtype. A bank of depth 1 is the shared norm of the paper's ablation.

    Args:
      depth: how many norms the bank holds.
      epsilon: added to the variance; 1e-6 for images, 1e-12 for text.

    Weights: `gamma` and `beta`, [depth, width], ones and zeros.

    Raises:
      ValueError: depth below 1 or epsilon not above 0, at construction.
    """

    def __init__(self, depth, epsilon=1e-6, **kwargs):
        super().__init__(**kwargs)
        check_count("depth", depth)
        check_positive("epsilon", epsilon)
        self.depth = depth
        self.epsilon = epsilon

    def build(self, input_shape):
        shape = (self.depth, input_shape[-1])
        # Not cast to a low-precision compute dtype: the scaling below is done in float32.
        self.gamma = self.add_weight(name="gamma", shape=shape, initializer="ones", experimental_autocast=False)
        self.beta = self.add_weight(name="beta", shape=shape, initializer="zeros", experimental_autocast=False)
        super().build(input_shape)

    def call(self, x, block):
        """Normalizes with the norm of one block.

        Args:
          x: float [..., width].
          block: Python int in [0, depth).

        Returns:
          The same shape and dtype as x.

        Raises:
          ValueError: a block outside the bank.
        """
        check_count("block", block, minimum=0, maximum=self.depth - 1, why=f" (the bank's depth is {self.depth})")
        wide = at_least_float32(self.compute_dtype)
        mean, variance = tf.nn.moments(tf.cast(x, wide), axes=[-1], keepdims=True)
        normalized = (tf.cast(x, wide) - mean) * tf.math.rsqrt(variance + self.epsilon)
        return tf.cast(normalized * tf.cast(self.gamma[block], wide) + tf.cast(self.beta[block], wide), self.compute_dtype)
