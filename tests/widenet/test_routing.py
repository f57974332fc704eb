"""Routing, balance loss and capacity as pure functions, with tables worked out by hand."""

import math
from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf

from tests.graphs import graph_def_of
from tests.widenet import reference
from widenet.routing import _largest, balance_loss, batch_priority, expert_capacity, router_z_loss, top_k_routing


def test_top_k_by_hand():
    """softmax(log p) = p where p sums to 1, so gates and order can be read off."""
    probabilities = np.array([[0.5, 0.25, 0.15, 0.1], [0.1, 0.2, 0.3, 0.4]])
    routing = top_k_routing(tf.constant(np.log(probabilities)), 2)
    np.testing.assert_array_equal(routing.experts, [[0, 1], [3, 2]])
    np.testing.assert_allclose(routing.gates, [[0.5, 0.25], [0.4, 0.3]], atol=1e-12)
    np.testing.assert_allclose(routing.probabilities, probabilities, atol=1e-12)
    assert routing.experts.dtype == tf.int32


def test_gates_are_not_renormalized_unless_asked():
    """The gates are those of the softmax over all experts; renormalized, they sum to 1 and keep their ratio."""
    logits = tf.math.log(tf.constant([[0.1, 0.2, 0.3, 0.4]], tf.float64))
    np.testing.assert_allclose(top_k_routing(logits, 2).gates, [[0.4, 0.3]], atol=1e-12)
    routing = top_k_routing(logits, 2, renormalize=True)
    np.testing.assert_allclose(routing.gates, [[4 / 7, 3 / 7]], atol=1e-12)
    np.testing.assert_allclose(routing.probabilities, [[0.1, 0.2, 0.3, 0.4]], atol=1e-12)


@pytest.mark.parametrize("top_k", [1, 2, 3, 5])
@pytest.mark.parametrize("renormalize", [False, True])
def test_top_k_against_a_loop(top_k, renormalize):
    logits = np.random.default_rng(0).normal(size=(4, 7, 5))
    routing = top_k_routing(tf.constant(logits), top_k, renormalize)
    expected = reference.route(logits.reshape(-1, 5), np.eye(5), top_k, renormalize)
    for got, want in zip(routing, expected, strict=True):
        np.testing.assert_allclose(tf.reshape(got, [28, -1]), want, atol=1e-12)


def test_all_experts_chosen_gives_gates_that_sum_to_one():
    gates = top_k_routing(tf.random.normal([9, 4]), 4).gates
    np.testing.assert_allclose(tf.reduce_sum(gates, axis=-1), np.ones(9), atol=1e-6)


def test_extreme_logits_give_finite_gates():
    routing = top_k_routing(tf.constant([[1e4, -1e4, 0.0]]), 2)
    np.testing.assert_allclose(routing.gates, [[1.0, 0.0]])


def test_gates_and_their_gradient_are_those_of_top_k_without_a_scatter():
    """Bit for bit, with ties, as each probability is at most one gate; TensorFlow's own gradient scatters."""
    random = np.random.default_rng(3)
    logits = tf.constant(random.normal(size=(3, 5, 6)).round(1), tf.float32)
    weights = tf.constant(random.normal(size=(3, 5, 2)), tf.float32)

    def ours(logits):
        return top_k_routing(logits, 2)[:2]

    def plain(logits):
        return tf.math.top_k(tf.nn.softmax(logits), 2)

    def gradient(route):
        def of_logits(logits):
            with tf.GradientTape() as tape:
                tape.watch(logits)
                gates, experts = route(logits)
            return gates, experts, tape.gradient(gates, logits, weights)

        return of_logits

    for got, want in zip(gradient(ours)(logits), gradient(plain)(logits), strict=True):
        np.testing.assert_array_equal(got, want)
    scatters = [
        [node.op for node in graph_def_of(gradient(route), logits).node if "Scatter" in node.op] for route in (ours, plain)
    ]
    assert scatters == [[], ["ScatterNd"]]


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_choices_in_a_program_of_xla_are_those_of_top_k_without_a_sort(dtype):
    """Bit for bit, for every K: random values, many equal ones, all equal, and of one expert 1 and of the others 0.

    Where all probabilities are NaN, so are the gates, of the first experts.
    """
    random = np.random.default_rng(4)
    rows = [random.random((40, 7)), random.integers(0, 3, (40, 7)) / 4, np.full((1, 7), 1 / 7), np.eye(7)]
    values = tf.cast(np.concatenate([*rows, np.full((1, 7), np.nan)]), dtype)

    @tf.function(jit_compile=True)
    def choose(values):
        return [_largest(values, top_k) for top_k in range(1, 8)]

    for top_k, found in enumerate(choose(values), 1):
        expected = tf.math.top_k(values, top_k)
        for got, want in zip(found, expected, strict=True):
            assert got.dtype == want.dtype
            np.testing.assert_array_equal(got[:-1], want[:-1])
        assert np.all(np.isnan(tf.cast(found[0][-1], tf.float32)))
        np.testing.assert_array_equal(found[1][-1], range(top_k))
    program = choose.experimental_get_compiler_ir(values)(stage="hlo")
    assert " reduce(" in program and " sort(" not in program and "topk" not in program.lower()


@pytest.mark.parametrize("top_k", [1, 2, 3, 4])
def test_balance_loss_at_perfect_balance_is_k(top_k):
    """Every expert is listed by K T / E tokens and P is 1/E: E * sum_i (K / E) * (1 / E) = K."""
    experts = tf.constant([[(t + k) % 4 for k in range(top_k)] for t in range(8)])
    loss = balance_loss(tf.fill([8, 4], 0.25), experts)
    np.testing.assert_allclose(loss, top_k, atol=1e-6)


def test_balance_loss_at_collapse_by_hand():
    """All tokens send everything to experts 0 and 1 of 4.

    m = (1, 1, 0, 0), P = (0.75, 0.25, 0, 0): E * sum m P = 4 * (0.75 + 0.25) = 4, twice the 2 of perfect balance.
    """
    probabilities = tf.tile([[0.75, 0.25, 0.0, 0.0]], [6, 1])
    np.testing.assert_allclose(balance_loss(probabilities, tf.tile([[0, 1]], [6, 1])), 4.0, atol=1e-6)
    # K = 1: m = (1, 0, 0, 0), so 4 * 0.75.
    np.testing.assert_allclose(balance_loss(probabilities, tf.zeros([6, 1], tf.int32)), 3.0, atol=1e-6)


def test_balance_loss_with_mask_by_hand():
    """Tokens 1 and 3 are padding and count in neither m nor P.

    Real tokens 0 and 2 list experts {0} and {1}: m = (1/2, 1/2, 0) and P = ((0.6 + 0.2) / 2, (0.3 + 0.7) / 2, 0.1), which is
    (0.4, 0.5, 0.1), so 3 * (0.2 + 0.25) = 1.35.
    """
    probabilities = tf.constant([[0.6, 0.3, 0.1], [0.0, 0.0, 1.0], [0.2, 0.7, 0.1], [0.0, 0.0, 1.0]])
    experts = tf.constant([[0], [2], [1], [2]])
    mask = tf.constant([True, False, True, False])
    np.testing.assert_allclose(balance_loss(probabilities, experts, mask), 1.35, atol=1e-6)
    batched = [tf.reshape(t, [2, 2, *t.shape[1:]]) for t in (probabilities, experts, mask)]
    np.testing.assert_allclose(balance_loss(*batched), 1.35, atol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_balance_loss_against_a_loop(masked):
    random = np.random.default_rng(1)
    probabilities = reference.softmax(random.normal(size=(20, 5)))
    experts = np.argsort(-probabilities, axis=-1)[:, :3]
    mask = random.random(20) < 0.6 if masked else None
    loss = balance_loss(tf.constant(probabilities), tf.constant(experts), mask)
    np.testing.assert_allclose(loss, reference.balance_loss(probabilities, experts, mask), atol=1e-12)
    assert loss.dtype == tf.float64


def test_balance_loss_without_a_real_token_is_zero():
    probabilities = tf.fill([3, 4], 0.25)
    experts = tf.zeros([3, 2], tf.int32)
    with tf.GradientTape() as tape:
        tape.watch(probabilities)
        loss = balance_loss(probabilities, experts, tf.zeros([3], tf.bool))
    np.testing.assert_array_equal(loss, 0.0)
    np.testing.assert_array_equal(tape.gradient(loss, probabilities), np.zeros((3, 4)))
    np.testing.assert_array_equal(balance_loss(tf.zeros([0, 4]), tf.zeros([0, 2], tf.int32)), 0.0)


def test_only_p_of_the_balance_loss_is_differentiable():
    """With respect to the probability of expert i for any real token the gradient is E m_i / T, with m a constant."""
    random = np.random.default_rng(2)
    probabilities = tf.constant(reference.softmax(random.normal(size=(6, 3))))
    mask = np.array([1, 1, 0, 1, 1, 1], bool)
    with tf.GradientTape() as tape:
        tape.watch(probabilities)
        # The choice depends on the probabilities here, as it does in the router.
        experts = tf.math.top_k(probabilities, 2).indices
        loss = balance_loss(probabilities, experts, mask)
    m = [np.mean([i in row for row in experts.numpy()[mask]]) for i in range(3)]
    expected = np.where(mask[:, None], 3 * np.array(m) / 5, 0.0)
    np.testing.assert_allclose(tape.gradient(loss, probabilities), expected, atol=1e-12)


def test_capacity_that_float32_gets_wrong():
    """1.2 * 2 * 25 / 4 is 15; in float32 it comes out above 15 and rounds up to 16."""
    assert math.ceil(np.float32(1.2) * np.float32(2) * np.float32(25) / np.float32(4)) == 16
    assert expert_capacity(25, 4, 2, 1.2) == 15
    assert expert_capacity(tf.constant(25, tf.int64), 4, 2, 1.2).numpy() == 15


FACTORS = {  # as written in a config: the exact number meant
    0.01: Fraction(1, 100),
    0.1: Fraction(1, 10),
    0.7: Fraction(7, 10),
    1.0: Fraction(1),
    1.05: Fraction(21, 20),
    1.1: Fraction(11, 10),
    1.2: Fraction(6, 5),
    1.25: Fraction(5, 4),
    1 / 3: Fraction(1, 3),
    2 / 3: Fraction(2, 3),
    2.3: Fraction(23, 10),
    10: Fraction(10),
    0.123457: Fraction(123457, 1000000),
}
TOKENS = [0, 1, 2, 3, 7, 25, 26, 77, 100, 196, 392, 1000, 50176, 200704, 2**31 + 1]


@pytest.mark.parametrize("factor", FACTORS)
def test_capacity_against_fractions(factor):
    for num_experts in (1, 2, 3, 4, 7, 16):
        for top_k in range(1, min(num_experts, 3) + 1):
            expected = [math.ceil(FACTORS[factor] * top_k * tokens / num_experts) for tokens in TOKENS]
            assert [expert_capacity(tokens, num_experts, top_k, factor) for tokens in TOKENS] == expected
            # Elementwise, a vector goes through the arithmetic of the int64 scalar.
            as_tensor = expert_capacity(tf.constant(TOKENS, tf.int64), num_experts, top_k, factor)
            np.testing.assert_array_equal(as_tensor, expected)
            assert as_tensor.dtype == tf.int64


def test_capacity_is_at_least_one_for_any_token():
    """A ceiling of something positive."""
    for factor in (0.01, 0.0001, 0.000001):
        assert expert_capacity(1, 16, 1, factor) == 1
        assert expert_capacity(tf.constant(1, tf.int64), 16, 1, factor).numpy() == 1


@pytest.mark.parametrize("factor", [1e-7, 1e-30])
def test_capacity_factors_below_six_decimals_still_round_up(factor):
    """Whatever a layer accepts as a factor above 0 leaves an expert room for one token, never silently for none."""
    assert expert_capacity(5, 4, 2, factor) == 1


def test_z_loss_by_hand():
    """log(e^0 + e^0) = log 2 and log(3 e^1) for experts of equal logits; the mean of the squares, without a last token."""
    logits = tf.constant([[0.0, 0.0, -1e9], [1.0, 1.0, 1.0], [50.0, 0.0, 0.0]])
    expected = (math.log(2) ** 2 + (1 + math.log(3)) ** 2) / 2
    np.testing.assert_allclose(router_z_loss(logits, tf.constant([True, True, False])), expected, rtol=1e-6)
    np.testing.assert_allclose(router_z_loss(logits), (2 * expected + 50**2) / 3, rtol=1e-6)


def test_z_loss_of_nothing_and_of_large_logits():
    """No real token gives 0; where exp would overflow it does not."""
    assert router_z_loss(tf.constant([[3.0, 4.0]]), tf.constant([False])) == 0
    np.testing.assert_allclose(router_z_loss(tf.constant([[1000.0, 0.0]])), 1e6, rtol=1e-6)


def test_batch_priority_by_hand():
    """By the first gate alone, largest first; tokens 1 and 3 are equal and keep their order."""
    gates = tf.constant([[0.5, 0.5], [0.7, 0.1], [0.9, 0.0], [0.7, 0.3], [0.2, 0.2]])
    np.testing.assert_array_equal(batch_priority(gates), [2, 1, 3, 0, 4])
