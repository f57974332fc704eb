"""Layer norms, one for each block, in one bank; and the paper's measure of how much they differ."""

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from widenet.checks import check_count, check_positive
from widenet.fast_path import compiles_elementwise, custom_gradient, elementwise
from widenet.layer import Layer, at_least_float32, register


@register
class IndividualLayerNorm(Layer):
    """A bank of layer norms over the last axis, indexed by block (the paper's section "Individual Layer Normalization").

    LayerNorm_i(x) = (x - E[x]) / sqrt(Var[x] + epsilon) * gamma_i + beta_i. Moments and scaling are computed in float32 at
    least, whatever the compute dtype. A bank of depth 1 is the shared norm of the paper's ablation.

    Args:
      depth: number of norms in the bank.
      epsilon: added to the variance; 1e-6 for images, 1e-12 for text.

    Weights: `gamma` and `beta`, [depth, width], ones and zeros.

    Raises:
      ValueError: depth below 1 or epsilon not above 0, at construction.
    """

    def __init__(self, depth: int, epsilon: float = 1e-6, **kwargs: Any):
        super().__init__(**kwargs)
        check_count("depth", depth)
        check_positive("epsilon", epsilon)
        self.depth = depth
        self.epsilon = epsilon

    def build(self, input_shape: tf.TensorShape) -> None:
        shape = (self.depth, input_shape[-1])
        # Not cast to a low-precision compute dtype: the scaling below is in float32.
        self.gamma = self.add_weight(name="gamma", shape=shape, initializer="ones", experimental_autocast=False)
        self.beta = self.add_weight(name="beta", shape=shape, initializer="zeros", experimental_autocast=False)
        super().build(input_shape)

    def call(self, x: tf.Tensor, block: int) -> tf.Tensor:
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
        # Tensors: a slice of a variable refers to it, which keeps both of them and their graph in memory for good.
        gamma, beta = (tf.cast(tf.convert_to_tensor(weights)[block], wide) for weights in (self.gamma, self.beta))
        if compiles_elementwise(x.shape.num_elements()):
            tokens = tf.reshape(x, [-1, x.shape[-1]])
            return tf.reshape(_compiled_norm(tokens, gamma, beta, tf.constant(self.epsilon, wide)), tf.shape(x))
        mean, variance = tf.nn.moments(tf.cast(x, wide), axes=[-1], keepdims=True)
        return _normalize(x, mean, tf.math.rsqrt(variance + self.epsilon), gamma, beta)


@custom_gradient
def _compiled_norm(x, gamma, beta, epsilon):
    """A layer norm of [N, D] whose elementwise parts are compiled, and whose sums are products with a constant vector.

    Otherwise TensorFlow reads all of x for every operation (`python -m benchmarks.ablation --part=encoder` measures both).
    """
    width = x.shape[1]
    wide = tf.cast(x, gamma.dtype)
    average = tf.fill([width, 1], tf.constant(1 / width, gamma.dtype))
    mean = tf.matmul(wide, average)  # [N, 1]
    inverse_deviation = tf.math.rsqrt(tf.matmul(_squared_difference(wide, mean), average) + epsilon)
    times_normalized, input_gradient = (
        function.for_size(x.shape.num_elements()) for function in (_times_normalized, _input_gradient)
    )

    def gradient(upstream):
        # With n the normalized x and g the upstream gradient, by token: (g gamma - E[g gamma] - n E[g gamma n]) / deviation.
        product = times_normalized(upstream, x, mean, inverse_deviation)  # g n
        plain = tf.cast(upstream, gamma.dtype)
        weights = gamma[:, tf.newaxis] / width
        of_x = input_gradient(upstream, x, mean, inverse_deviation, gamma, tf.matmul(plain, weights), tf.matmul(product, weights))
        ones = tf.ones([1, tf.shape(x)[0]], gamma.dtype)
        return of_x, tf.matmul(ones, product)[0], tf.matmul(ones, plain)[0], None

    return _normalize(x, mean, inverse_deviation, gamma, beta), gradient


@elementwise
def _normalize(x, mean, inverse_deviation, gamma, beta):
    return tf.cast((tf.cast(x, mean.dtype) - mean) * inverse_deviation * gamma + beta, x.dtype)


@elementwise
def _squared_difference(x, mean):
    return tf.square(x - mean)


@elementwise
def _times_normalized(upstream, x, mean, inverse_deviation):
    return tf.cast(upstream, mean.dtype) * (tf.cast(x, mean.dtype) - mean) * inverse_deviation


@elementwise
def _input_gradient(upstream, x, mean, inverse_deviation, gamma, mean_gradient, mean_product):
    normalized = (tf.cast(x, mean.dtype) - mean) * inverse_deviation
    scaled = tf.cast(upstream, mean.dtype) * gamma
    return tf.cast(inverse_deviation * (scaled - mean_gradient - normalized * mean_product), x.dtype)


def norm_diversity(vectors: npt.ArrayLike) -> tuple[np.ndarray, float]:
    """The paper's y ("Layer Norm Analysis"): the mean distance between the elements of one block's gamma or beta and all others'.

    For element i of block j of N blocks of width M: y_ij = 1 / (M N^2) * sum over n != j and m of |v_ij - v_mn|, which the paper
    sums over j as well. Computed by sorting, without a table of all M N x M N distances.

    Args:
      vectors: [N, M], such as `encoder.ffn_norm.gamma`: the norms before the FFN or MoE.

    Returns:
      (per_block, overall): float64 [N], the mean of y_ij over i, and a float, the mean over all.
    """
    vectors = np.asarray(vectors, np.float64)
    blocks, width = vectors.shape
    everything = np.sort(vectors, axis=None)
    distances = [_distances(row, everything) - _distances(row, np.sort(row)) for row in vectors]
    per_block = np.mean(distances, axis=1) / (width * blocks**2)
    return per_block, float(per_block.mean())


def _distances(values, others):
    """For each value the sum of its distances to all of `others`, which are sorted."""
    below = np.searchsorted(others, values)
    sums = np.concatenate([[0.0], np.cumsum(others)])
    return (values * below - sums[below]) + (sums[-1] - sums[below] - values * (len(others) - below))
