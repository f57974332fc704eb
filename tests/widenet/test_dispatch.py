"""Slots by hand, and gather and combine against loops.

Axes: tokens T, experts E, choices K, width D, rows R of the experts' inputs.
"""

import numpy as np
import pytest
import tensorflow as tf

from tests.widenet import reference
from widenet.dispatch import GROUP_ROWS, combine_outputs, gather_tokens, join_groups, plan_dispatch, split_groups
from widenet.fast_path import xla_elementwise


def plan(experts, num_experts, capacity, group_size=None, mask=None, order=None):
    """The plan with groups of the capacity's size, unless they have another."""
    experts = tf.constant(experts)
    mask = tf.ones(len(experts), tf.bool) if mask is None else tf.constant(mask)
    order = None if order is None else tf.constant(order)
    return plan_dispatch(experts, mask, num_experts, capacity, capacity if group_size is None else group_size, order)


def test_tokens_take_slots_in_their_order():
    """Expert 0 has two slots, 0 and 1; tokens 0 and 2 take them and token 3 is dropped. Expert 1's slots are 2 and 3."""
    dispatch = plan([[0], [1], [0], [0], [1]], num_experts=2, capacity=2)
    np.testing.assert_array_equal(dispatch.kept, [[True], [True], [True], [False], [True]])
    np.testing.assert_array_equal(dispatch.slots, [[0], [2], [1], [4], [3]])
    np.testing.assert_array_equal(dispatch.assignments, [0, 2, 1, 4, 5])
    np.testing.assert_array_equal(dispatch.loads, [2, 2])


def test_capacity_is_counted_from_zero():
    """An expert with capacity c keeps exactly c tokens."""
    for capacity in range(6):
        kept = plan([[0]] * 5, num_experts=3, capacity=capacity, group_size=5).kept
        np.testing.assert_array_equal(kept[:, 0], [t < capacity for t in range(5)])


def test_first_choices_come_before_second_choices():
    """Tokens 0 and 1 want expert 1 second, token 2 wants it first: with one slot, token 2 gets it although it comes last."""
    dispatch = plan([[0, 1], [0, 1], [1, 0]], num_experts=2, capacity=1)
    np.testing.assert_array_equal(dispatch.kept, [[True, False], [False, False], [True, False]])
    np.testing.assert_array_equal(dispatch.slots, [[0, 2], [2, 2], [1, 2]])


def test_second_choices_take_what_is_left_in_token_order():
    """Expert 1 keeps three: the first choice of token 2, then the second choices of tokens 0 and 1, and not of token 3.

    Expert 0 keeps three: the first choices of tokens 0, 1 and 3. Slots of expert e start at 3 e.
    """
    dispatch = plan([[0, 1], [0, 1], [1, 0], [0, 1]], num_experts=2, capacity=3)
    np.testing.assert_array_equal(dispatch.kept, [[True, True], [True, True], [True, False], [True, False]])
    np.testing.assert_array_equal(dispatch.slots, [[0, 4], [1, 5], [3, 6], [2, 6]])


def test_masked_tokens_take_no_slot():
    """Without token 0, which is padding, tokens 1 and 2 both fit into the two slots."""
    dispatch = plan([[0], [0], [0]], num_experts=1, capacity=2, mask=[False, True, True])
    np.testing.assert_array_equal(dispatch.kept, [[False], [True], [True]])
    np.testing.assert_array_equal(dispatch.slots, [[2], [0], [1]])
    np.testing.assert_array_equal(dispatch.loads, [2])


def test_capacity_below_the_group():
    """Groups of 4 but a limit of 1: slots of expert 1 start at 4, and only the first token of each expert is kept."""
    dispatch = plan([[1], [1], [0]], num_experts=2, capacity=1, group_size=4)
    np.testing.assert_array_equal(dispatch.kept, [[True], [False], [True]])
    np.testing.assert_array_equal(dispatch.slots, [[4], [8], [0]])
    np.testing.assert_array_equal(dispatch.loads, [1, 1])


def test_a_given_order_of_taking_slots():
    """Two slots an expert, taken in the order 3, 1, 0, 2: of the tokens of expert 0, tokens 3 and 0 keep theirs, 2 does not."""
    dispatch = plan([[0], [1], [0], [0]], num_experts=2, capacity=2, order=[3, 1, 0, 2])
    np.testing.assert_array_equal(dispatch.kept, [[True], [True], [False], [True]])
    np.testing.assert_array_equal(dispatch.slots, [[1], [2], [4], [0]])


def test_an_order_does_not_put_second_choices_before_first_ones():
    """Token 1 is first in order, but its second choice, expert 0, has one slot that is token 0's first choice."""
    dispatch = plan([[0, 1], [1, 0]], num_experts=2, capacity=1, order=[1, 0])
    np.testing.assert_array_equal(dispatch.kept, [[True, False], [True, False]])


def test_groups_as_long_as_the_tokens_that_came():
    """17 tokens of expert 0 and one of expert 2: groups of two, none and one times GROUP_ROWS rows, which are 16."""
    assert GROUP_ROWS == 16
    experts = tf.constant([[0]] * 17 + [[2]])
    dispatch = plan_dispatch(experts, tf.ones(18, tf.bool), 3, capacity=18)
    np.testing.assert_array_equal(dispatch.sizes, [32, 0, 16])
    np.testing.assert_array_equal(dispatch.loads, [17, 0, 1])
    np.testing.assert_array_equal(dispatch.slots[:, 0], [*range(17), 32])
    rows = 18 + 3 * 15 + 1
    assert dispatch.assignments.shape == rows >= 32 + 16 + 1
    np.testing.assert_array_equal(dispatch.assignments, [*range(17), *[18] * 15, 17, *[18] * (rows - 33)])


@pytest.mark.parametrize("group_size", [None, 9])
def test_groups_split_and_join(group_size):
    experts, mask = random_case(0)
    dispatch = plan_dispatch(tf.constant(experts), tf.constant(mask), 4, 9, group_size)
    rows = tf.random.normal([len(dispatch.assignments), 5])
    groups = split_groups(rows, dispatch.sizes)
    assert [len(group) for group in groups] == list(np.array(dispatch.sizes))
    joined = join_groups(groups, len(rows))
    inside = sum(map(len, groups))
    np.testing.assert_array_equal(joined[:inside], rows[:inside])
    np.testing.assert_array_equal(joined[inside:], tf.zeros_like(rows[inside:]))


def random_case(seed, tokens=30, num_experts=4, top_k=2):
    random = np.random.default_rng(seed)
    experts = np.array([random.permutation(num_experts)[:top_k] for _ in range(tokens)], np.int32)
    return experts, random.random(tokens) < 0.7


@pytest.mark.parametrize("top_k", [1, 2, 3, 4])
@pytest.mark.parametrize("capacity", [0, 1, 5, 11, 30])
def test_plan_against_a_loop(top_k, capacity):
    experts, mask = random_case(top_k, top_k=top_k)
    dispatch = plan_dispatch(tf.constant(experts), tf.constant(mask), 4, tf.constant(capacity), 30)
    np.testing.assert_array_equal(dispatch.kept, reference.kept_assignments(experts, mask, 4, capacity))


@pytest.mark.parametrize("group_size", [None, 9])
def test_plan_gives_every_kept_assignment_a_row_of_its_own_expert(group_size):
    experts, mask = random_case(0)
    dispatch = plan_dispatch(tf.constant(experts), tf.constant(mask), 4, 7, group_size)
    slots, kept, rows = dispatch.slots.numpy(), dispatch.kept.numpy(), len(dispatch.assignments)
    assert len(set(slots[kept])) == kept.sum() > 0
    first_rows = np.concatenate([[0], np.cumsum(np.array(dispatch.sizes))])
    assert first_rows[-1] < rows
    position = slots[kept] - first_rows[experts[kept]]
    assert np.all((position >= 0) & (position < 7))
    assert np.all(slots[~kept] == rows - 1)
    # `assignments` is the inverse of `slots`.
    inverse = np.full(rows, slots.size)
    inverse[slots[kept]] = np.flatnonzero(kept)
    np.testing.assert_array_equal(dispatch.assignments, inverse)


def test_gather_and_combine_by_hand():
    """Token 0 goes to both experts, token 1 to expert 0 alone, token 2 nowhere; expert 1's second row stays empty."""
    dispatch = plan([[0, 1], [0, 1], [1, 0]], num_experts=2, capacity=2, mask=[True, True, False])
    dispatch = dispatch._replace(
        slots=tf.constant([[0, 2], [1, 4], [4, 4]]),
        kept=tf.constant([[True, True], [True, False], [False, False]]),
        assignments=tf.constant([0, 2, 1, 6, 6]),
    )
    x = tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    rows = gather_tokens(x, dispatch)
    np.testing.assert_array_equal(rows[:3], [[1, 2], [3, 4], [1, 2]])
    gates = tf.constant([[0.5, 0.25], [0.5, 0.25], [0.5, 0.25]])
    outputs = tf.constant([[10.0, 20.0], [30.0, 40.0], [100.0, 200.0], [7.0, 7.0], [9.0, 9.0]])
    # Token 0: 0.5 * (10, 20) + 0.25 * (100, 200).
    np.testing.assert_allclose(combine_outputs(outputs, gates, dispatch), [[30, 60], [15, 20], [0, 0]])


@pytest.mark.parametrize("group_size", [None, 6])
def test_identity_experts_give_back_the_sum_of_the_kept_gates(group_size):
    experts, mask = random_case(3)
    random = np.random.default_rng(3)
    x, gates = random.normal(size=(30, 5)), random.random((30, 2))
    dispatch = plan_dispatch(tf.constant(experts), tf.constant(mask), 4, 6, group_size)
    output = combine_outputs(gather_tokens(tf.constant(x), dispatch), tf.constant(gates), dispatch)
    kept = reference.kept_assignments(experts, mask, 4, 6)
    assert 0 < kept.sum() < 2 * mask.sum()  # some are dropped, or this would test little
    np.testing.assert_allclose(output, x * np.sum(gates * kept, axis=-1, keepdims=True), atol=1e-12)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("group_size", [None, 6])
def test_gradients_against_those_of_a_loop(group_size, compiled, monkeypatch):
    """sum_t sum_k kept g_tk <r_tk, x_t>, r being weights of an assignment's row: by x sum_k kept g r, by g <r, x> where kept."""
    monkeypatch.setattr("widenet.fast_path.COMPILED_ELEMENTS", 0)
    experts, mask = random_case(4)
    random = np.random.default_rng(4)
    x, gates, weights = random.normal(size=(30, 5)), random.random((30, 2)), random.normal(size=(4, 5))
    upstream = random.normal(size=(30, 5))
    dispatch = plan_dispatch(tf.constant(experts), tf.constant(mask), 4, 6, group_size)
    variables = [tf.Variable(value) for value in (x, gates, weights)]

    @tf.function
    def gradients():
        x, gates, weights = variables
        with tf.GradientTape() as tape, xla_elementwise(compiled):
            groups = split_groups(gather_tokens(x, dispatch), dispatch.sizes)
            rows = join_groups([group * weights[e] for e, group in enumerate(groups)], len(dispatch.assignments))
            total = tf.reduce_sum(combine_outputs(rows, gates, dispatch) * upstream)
        return tape.gradient(total, variables)

    by_x, by_gates, by_weights = np.zeros_like(x), np.zeros_like(gates), np.zeros_like(weights)
    for t, k in zip(*np.nonzero(reference.kept_assignments(experts, mask, 4, 6)), strict=True):
        e = experts[t, k]
        by_x[t] += gates[t, k] * weights[e] * upstream[t]
        by_gates[t, k] = np.sum(weights[e] * x[t] * upstream[t])
        by_weights[e] += gates[t, k] * x[t] * upstream[t]
    for gradient, expected in zip(gradients(), (by_x, by_gates, by_weights), strict=True):
        np.testing.assert_allclose(gradient, expected, atol=1e-12)  # float64


def test_dropped_assignments_carry_no_gradient():
    """One slot, three tokens: only the first one's input and gate matter."""
    x, gates = tf.ones([3, 2]), tf.ones([3, 1])
    with tf.GradientTape() as tape:
        tape.watch([x, gates])
        dispatch = plan([[0], [0], [0]], num_experts=1, capacity=1)
        total = tf.reduce_sum(combine_outputs(3 * gather_tokens(x, dispatch), gates, dispatch))
    by_x, by_gates = tape.gradient(total, [x, gates])
    np.testing.assert_array_equal(tf.convert_to_tensor(by_x), [[3, 3], [0, 0], [0, 0]])
    np.testing.assert_array_equal(by_gates, [[6], [0], [0]])


@pytest.mark.parametrize("group_size", [None, 0])
def test_no_tokens(group_size):
    dispatch = plan_dispatch(tf.zeros([0, 2], tf.int32), tf.zeros([0], tf.bool), 3, 0, group_size)
    rows = gather_tokens(tf.zeros([0, 5]), dispatch)
    np.testing.assert_array_equal(rows, np.zeros(rows.shape))  # only those of nobody
    joined = join_groups(split_groups(rows, dispatch.sizes), len(rows))
    assert combine_outputs(joined, tf.zeros([0, 2]), dispatch).shape == (0, 5)


def test_unknown_sizes_in_a_graph():
    """Token number, group size and capacity known only at run time give what they give eagerly."""
    experts, mask = random_case(5)
    eager = plan_dispatch(tf.constant(experts), tf.constant(mask), 4, 9, 12)

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.int32), tf.TensorSpec([None], tf.bool)])
    def graph(experts, mask):
        group_size = tf.shape(experts)[0] * 2 // 5
        return plan_dispatch(experts, mask, 4, tf.cast(group_size, tf.int64) - 3, group_size)

    for of_graph, of_eager in zip(graph(experts, mask), eager, strict=True):
        np.testing.assert_array_equal(of_graph, of_eager)


def test_choices_are_not_the_last_axis_but_one():
    """A TPU pads that axis to 8, so that arrays [T, K, D] would take four times their memory at K = 2."""
    experts, mask = random_case(6)
    dispatch = plan_dispatch(tf.constant(experts), tf.constant(mask), 4, 9, 9)

    @tf.function(jit_compile=True)
    def gradients(x, gates):
        with tf.GradientTape() as tape:
            tape.watch([x, gates])
            total = tf.reduce_sum(combine_outputs(tf.square(gather_tokens(x, dispatch)), gates, dispatch))
        return tape.gradient(total, [x, gates])

    program = gradients.experimental_get_compiler_ir(tf.zeros([30, 5]), tf.zeros([30, 2]))(stage="hlo")
    assert "[2,30,5]" in program and "[30,2,5]" not in program
