"""Random numbers of a training step: dropout, and the noise of routers.

By default they come from TensorFlow's global generator, as in any Keras layer: they differ from step to step, and
tf.keras.utils.set_random_seed makes a program repeat them. Inside `seeded` each is a function of (seed, step, replica, number of
the draw in the step), whatever was drawn before: a run that is stopped and resumed draws what it would have drawn.
"""

import tensorflow as tf

from widenet.fast_path import CONTEXT, in_xla, setting
from widenet.layer import register


class Draws:
    """The draws of one step in one replica, which are numbered in the order of the calls of `next_seed`.

    A copy (copy.copy) draws from there on what the original draws: that is how a part of a step is computed a second time with
    the same numbers. Attribute `key`: int64 scalar, a function of seed, step and replica.

    Args:
      seed: of the run, an int64 scalar or a Python int.
      step: steps done, an int64 scalar.
      replica: number of the replica among all that make the step together, an int or a scalar.
    """

    def __init__(self, seed, step, replica):
        pair = tf.stack([tf.cast(seed, tf.int64), tf.cast(step, tf.int64)])
        self.key = tf.random.stateless_uniform(
            [], tf.random.experimental.stateless_fold_in(pair, tf.cast(replica, tf.int64)), None, None, tf.int64
        )
        self._drawn = 0

    def next_seed(self):
        """int64 [2], a seed for one call of a function tf.random.stateless_*."""
        self._drawn += 1
        return tf.stack([self.key, tf.constant(self._drawn, tf.int64)])


def seeded(seed, step):
    """A context for one training step, whose draws follow from (seed, step, replica, number of the draw).

    Enter it in the function that a replica runs. `widenet.Model.seed_steps` does this in `fit`.

    Args:
      seed: of the run, a Python int or an integer scalar.
      step: steps done, such as `optimizer.iterations`: an integer scalar or variable.
    """
    context = tf.distribute.get_replica_context()
    replica = context.replica_id_in_sync_group if context else 0
    return setting(draws=Draws(seed, step, replica))


def normal(shape, stddev, dtype):
    """Normal noise with mean 0."""
    if CONTEXT.draws is None:
        return tf.random.normal(shape, stddev=stddev, dtype=dtype)
    return tf.random.stateless_normal(shape, CONTEXT.draws.next_seed(), stddev=stddev, dtype=dtype)


def uniform(shape, low, high, dtype):
    """Uniform noise in [low, high)."""
    if CONTEXT.draws is None:
        return tf.random.uniform(shape, low, high, dtype=dtype)
    return tf.random.stateless_uniform(shape, CONTEXT.draws.next_seed(), low, high, dtype=dtype)


@register
class Dropout(tf.keras.layers.Dropout):
    """tf.keras.layers.Dropout, whose draws follow from the step inside `seeded`.

    There one of 2^16 equally likely integers decides about each element, in any dtype. The rate is rounded to a 2^16th, and what
    is kept is divided by the rounded rate's complement, so that the mean is exact. Keras draws in the dtype of the input, where
    bfloat16 has only 128 numbers in [0, 1) of the same distance.
    """

    def call(self, inputs, training=None):
        if CONTEXT.draws is None or not training or tf.is_tensor(training) or not self.rate:
            return super().call(inputs, training=training)
        shape = tf.shape(inputs) if self.noise_shape is None else self._get_noise_shape(inputs)
        dropped = min(round(self.rate * 2**16), 2**16 - 1)  # of 2^16 integers
        kept = _above(dropped, shape, CONTEXT.draws.next_seed())
        scaled = inputs * tf.constant(2**16 / (2**16 - dropped), inputs.dtype)
        return tf.ensure_shape(tf.where(kept, scaled, tf.zeros([], inputs.dtype)), inputs.shape)


def _above(threshold, shape, seed):
    """bool of a shape (a 1-D integer tensor): whether one of [0, 2^16), all equally likely, is at least the threshold."""
    if in_xla():  # on a TPU an axis of four would be slow
        drawn = tf.random.stateless_uniform(shape, seed, None, None, tf.uint32)
        return drawn >= tf.constant(threshold * 2**16, tf.uint32)
    size = tf.reduce_prod(shape)
    four_each = tf.random.stateless_uniform([(size + 3) // 4], seed, None, None, tf.uint64)
    drawn = tf.reshape(tf.bitcast(four_each, tf.uint16), [-1])[:size]
    return tf.reshape(drawn >= tf.constant(threshold, tf.uint16), shape)
