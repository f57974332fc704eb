"""Which experts a token goes to: pure functions of tensors, and the table of the settings of an MoE layer.

Axes: tokens T, experts E, choices K (the paper's top-K), width D.

A routing option is a function here, an entry of ROUTER_SETTINGS with the stage at which the router calls it, its type in
MoESettings, and a test.
"""

from fractions import Fraction
from typing import NamedTuple, TypedDict

import tensorflow as tf

from widenet import draws
from widenet.checks import check_count, check_not_negative, check_positive, check_rate, check_switch, refuse
from widenet.fast_path import custom_gradient, in_xla
from widenet.layer import Setting


class Routing(NamedTuple):
    """The result of one routing; a NamedTuple, so that it passes through functional Keras models.

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
    gates, experts = _largest(probabilities, top_k)
    if renormalize:
        gates /= tf.reduce_sum(gates, axis=-1, keepdims=True)
    return Routing(gates, experts, probabilities)


def _largest(probabilities, top_k):
    """The K largest of [..., E] and their indices, as tf.math.top_k. A TPU is slow at neither these nor their gradient.

    There TensorFlow's own are a sort and a scatter, of the same numbers.
    """

    @custom_gradient
    def largest(probabilities):
        gates, experts = (_largest_in_turn if in_xla() else tf.math.top_k)(probabilities, top_k)

        def gradient(of_gates, _):
            listed = tf.one_hot(experts, probabilities.shape[-1], dtype=of_gates.dtype)  # [..., K, E]
            return tf.reduce_sum(listed * of_gates[..., tf.newaxis], axis=-2)

        return (gates, experts), gradient

    return largest(probabilities)


def _largest_in_turn(values, count):
    """tf.math.top_k of values in [0, 1] without a sort: the largest, then the largest of the others, the first of equal ones.

    NaN counts as larger than 1.
    """
    indices, found = tf.range(values.shape[-1]), []
    left = tf.where(tf.math.is_nan(values), tf.constant(2, values.dtype), values)  # argmax may choose one NaN twice
    for _ in range(count):
        index = tf.argmax(left, axis=-1, output_type=tf.int32)
        is_largest = indices == index[..., tf.newaxis]
        found.append((tf.reduce_sum(tf.where(is_largest, values, 0), axis=-1), index))
        left = tf.where(is_largest, tf.constant(-1, values.dtype), left)
    largest, places = zip(*found, strict=True)
    return tf.stack(largest, axis=-1), tf.stack(places, axis=-1)


def balance_loss(probabilities, experts, mask=None):
    """E * sum_i m_i * P_i, the paper's equation l_balance.

    m_i is the share of real tokens that have expert i among their K, so m sums to K and perfect balance gives K (the authors'
    code divides m by K, a factor that lambda absorbs); P_i is the mean probability of expert i over real tokens. Only P carries
    a gradient.

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


def add_noise(logits, _=True):
    """Adds normal noise of standard deviation 1/E to logits, float [..., E] (the paper's section "Routing")."""
    return logits + draws.normal(tf.shape(logits), 1 / logits.shape[-1], logits.dtype)


def jitter(x, amount):
    """Multiplies x by uniform noise in [1 - amount, 1 + amount] (arXiv:2101.03961, section 2.2)."""
    return x * draws.uniform(tf.shape(x), 1 - amount, 1 + amount, x.dtype)


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
    """Sorts tokens by their largest gate, largest first; equal ones keep their order (arXiv:2106.05974, section 4).

    Args:
      gates: float [T, K], largest first.

    Returns:
      int32 [T], the order in which tokens take slots.
    """
    return tf.argsort(gates[:, 0], direction="DESCENDING", stable=True)


def expert_capacity(tokens, num_experts, top_k, capacity_factor):
    """The number of tokens that one expert keeps: ceil(C * K * T / E) in exact integer arithmetic.

    C is taken as the decimal fraction that its digits say (1.2 is 6/5): in float32, 1.2 * 2 * 25 / 4 rounds up to one too many.

    Args:
      tokens: T, the real tokens of the dispatch group; a Python int or an int64 scalar.
      capacity_factor: C, to six decimals, so that the products below fit into 64 bits.

    Returns:
      A Python int or an int64 scalar, as `tokens`.
    """
    smallest = Fraction(1, 10**6)
    factor = max(Fraction(str(capacity_factor)).limit_denominator(smallest.denominator), smallest)
    shares = factor.denominator * num_experts
    # Rounded up without negative numbers: see plan_dispatch.
    return (tokens * (factor.numerator * top_k) + shares - 1) // shares


def check_capacity_factor(setting, value):
    """Refuses anything but None and a number above 0 with which `expert_capacity` stays within 64 bits."""
    if value is not None:
        check_positive(setting, value, or_none=", or None to drop nothing")
        if value > 10**6:
            refuse(setting, value, "at most a million, or None to drop nothing")


# Stages, in training only, each skipped while the setting is 0 or False:
#   "tokens": function(x, value) gives the router's input x, float [..., D];
#   "logits": function(logits, value) gives the logits, float [..., E];
#   "loss": function(logits, routing, mask) gives a scalar that is added to the model's losses, times the setting.
# Settings without a stage are read by the layers.
ROUTER_SETTINGS = {
    "num_experts": Setting(4, check_count, "number of experts E"),
    "top_k": Setting(2, check_count, "experts of each token K, from 1 to E", at_most="num_experts"),
    "noise": Setting(
        True, check_switch, "whether normal noise of deviation 1/E is added to the logits", stage="logits", function=add_noise
    ),
    "renormalize": Setting(False, check_switch, "whether a token's K gates are divided by their sum; the paper does not"),
    "balance_weight": Setting(
        0.01,
        check_not_negative,
        "lambda of the balance loss, which is added once a routing",
        stage="loss",
        function=lambda logits, routing, mask: balance_loss(routing.probabilities, routing.experts, mask),
    ),
    "z_loss_weight": Setting(
        0.0,
        check_not_negative,
        "weight of the router's z-loss, which is added once a routing",
        stage="loss",
        function=lambda logits, routing, mask: router_z_loss(logits, mask),
    ),
    "jitter": Setting(
        0.0, check_rate, "the router's input is multiplied by noise in [1-j, 1+j]", stage="tokens", function=jitter
    ),
}

# What SharedMoE reads to give tokens to experts.
DISPATCH_SETTINGS = {
    "capacity_factor": Setting(1.2, check_capacity_factor, "capacity factor C in training; None drops nothing"),
    "eval_capacity_factor": Setting(None, check_capacity_factor, "capacity factor C outside training; None drops nothing"),
    "batch_priority": Setting(False, check_switch, "whether tokens of larger gates take slots first, and not earlier tokens"),
}

MOE_SETTINGS = {**ROUTER_SETTINGS, **DISPATCH_SETTINGS}


class MoESettings(TypedDict, total=False):
    """The settings in MOE_SETTINGS as keyword arguments, for editors and type checkers."""

    num_experts: int
    top_k: int
    noise: bool
    renormalize: bool
    balance_weight: float
    z_loss_weight: float
    jitter: float
    capacity_factor: float | None
    eval_capacity_factor: float | None
    batch_priority: bool
