"""Which experts a token goes to, and the terms computed from it: pure functions of tensors.

Axes, here and in dispatch.py: tokens T, experts E, choices K (the paper's top-K), width D, buffer B (slots of one expert).
"""

from fractions import Fraction
from typing import NamedTuple

import tensorflow as tf

from widenet.checks import check_count, check_positive, refuse


class Routing(NamedTuple):
    """The outcome of one routing; a NamedTuple, so that it passes through functional Keras models.

    Attributes:
      gates: float32 or float64 [..., K], the weight of each chosen expert's output, largest first.
      experts: int32 [..., K], the chosen experts in the same order.
      probabilities: as gates, [..., E], softmax(f(x) + noise) of every expert.
    """

    gates: tf.Tensor
    experts: tf.Tensor
    probabilities: tf.Tensor


def top_k_routing(logits, top_k, renormalize=False):
    """g(x) = TopK(softmax(logits)), the paper's equation for routing.

    Args:
      logits: float [..., E], noise included.
      top_k: K.
      renormalize: whether the K gates are divided by their sum.
    """
    probabilities = tf.nn.softmax(logits)
    gates, experts = tf.math.top_k(probabilities, k=top_k)
    if renormalize:
        gates /= tf.reduce_sum(gates, axis=-1, keepdims=True)
    return Routing(gates, experts, probabilities)


def balance_loss(probabilities, experts, mask=None):
    """E * sum_i m_i * P_i, the paper's equation l_balance.

    m_i is the share of real tokens that list expert i among their K, so that m sums to K and perfect balance gives K (the
    authors' code divides m by K, a factor that lambda absorbs); P_i is the mean probability of expert i over real tokens. Only
    P carries a gradient.

    Args:
      probabilities: float [..., E].
      experts: int [..., K].
      mask: bool [...], False where a token is padding; None if all are real.

    Returns:
      A scalar of the probabilities' dtype; 0 where no token is real.
    """
    num_experts = probabilities.shape[-1]
    listed = tf.reduce_sum(tf.one_hot(experts, num_experts, dtype=probabilities.dtype), axis=-2)  # [..., E]
    real = tf.ones_like(probabilities[..., :1]) if mask is None else tf.cast(mask, probabilities.dtype)[..., tf.newaxis]
    tokens = tf.maximum(tf.reduce_sum(real), 1)
    all_tokens = range(probabilities.shape.rank - 1)
    m = tf.reduce_sum(listed * real, axis=all_tokens) / tokens
    p = tf.reduce_sum(probabilities * real, axis=all_tokens) / tokens
    return num_experts * tf.reduce_sum(tf.stop_gradient(m) * p)


def router_z_loss(logits, mask=None):
    """Mean over real tokens of log(sum_i exp(logit_i))^2, which keeps logits small (arXiv:2202.08906, equation 5).

    Args:
      logits: float [..., E], noise included.
      mask: bool [...], False where a token is padding; None if all are real.

    Returns:
      A scalar of the logits' dtype; 0 where no token is real.
    """
    squares = tf.square(tf.reduce_logsumexp(logits, axis=-1))
    real = tf.ones_like(squares) if mask is None else tf.cast(mask, squares.dtype)
    return tf.reduce_sum(squares * real) / tf.maximum(tf.reduce_sum(real), 1)


def batch_priority(gates):
    """The tokens by their largest gate, largest first and equal ones in their order (arXiv:2106.05974, section 4).

    Args:
      gates: float [T, K], largest first.

    Returns:
      int32 [T], the order in which tokens take slots.
    """
    return tf.argsort(gates[:, 0], direction="DESCENDING", stable=True)


def expert_capacity(tokens, num_experts, top_k, capacity_factor):
    """How many tokens one expert keeps: ceil(C * K * T / E) in exact integer arithmetic.

    C is read as the decimal fraction it is written as (1.2 is 6/5): in float32, 1.2 * 2 * 25 / 4 comes out one too high.

    Args:
      tokens: T, the real tokens of the dispatch group; a Python int or an int64 scalar.
      capacity_factor: C, to six decimals, so that the products below fit into 64 bits.

    Returns:
      A Python int or an int64 scalar, as `tokens`.
    """
    smallest = Fraction(1, 10**6)
    factor = max(Fraction(str(capacity_factor)).limit_denominator(smallest.denominator), smallest)
    shares = factor.denominator * num_experts
    # Rounded up without a negative number: see plan_dispatch.
    return (tokens * (factor.numerator * top_k) + shares - 1) // shares


def check_routing(num_experts, top_k):
    """Refuses a K outside 1..E."""
    check_count("num_experts", num_experts)
    check_count("top_k", top_k, maximum=num_experts, why=f" (num_experts={num_experts})")


def check_capacity_factor(setting, value):
    """Refuses whatever is neither None nor a number above 0 with which `expert_capacity` stays within 64 bits."""
    if value is not None:
        check_positive(setting, value, or_none=", or None to drop nothing")
        if value > 10**6:
            refuse(setting, value, "at most a million, or None to drop nothing")
