"""Slots by hand, and gather and combine against loops.

Axes: tokens T, experts E, choices K, width D, buffer B.
"""

import numpy as np
import pytest
import tensorflow as tf

from tests.widenet import reference
from widenet.dispatch import combine_outputs, gather_tokens, plan_dispatch, with_zero_row


def plan(experts, num_experts, capacity, buffer=None, mask=None):
    experts = tf.constant(experts)
    mask = tf.ones(len(experts), tf.bool) if mask is None else tf.constant(mask)
    return plan_dispatch(experts, mask, num_experts, capacity if buffer is None else buffer, capacity)


def test_tokens_take_slots_in_their_order():
    """Expert 0 has two slots, 0 and 1; tokens 0 and 2 take them and token 3 is dropped. Expert 1's slots are 2 and 3."""
    dispatch = plan([[0], [1], [0], [0], [1]], num_experts=2, capacity=2)
    np.testing.assert_array_equal(dispatch.kept, [[True], [True], [True], [False], [True]])
    np.testing.assert_array_equal(dispatch.slots, [[0], [2], [1], [4], [3]])


def test_capacity_is_counted_from_zero():
    """An expert with capacity c keeps exactly c tokens."""
    for capacity in range(6):
        kept = plan([[0]] * 5, num_experts=3, capacity=capacity, buffer=5).kept
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


def test_capacity_below_the_buffer():
    """Buffers of 4 but a limit of 1: slots of expert 1 start at 4, and only the first token of each expert is kept."""
    dispatch = plan([[1], [1], [0]], num_experts=2, capacity=1, buffer=4)
    np.testing.assert_array_equal(dispatch.kept, [[True], [False], [True]])
    np.testing.assert_array_equal(dispatch.slots, [[4], [8], [0]])


def random_case(seed, tokens=30, num_experts=4, top_k=2):
    random = np.random.default_rng(seed)
    experts = np.array([random.permutation(num_experts)[:top_k] for _ in range(tokens)], np.int32)
    return experts, random.random(tokens) < 0.7


@pytest.mark.parametrize("top_k", [1, 2, 3, 4])
@pytest.mark.parametrize("capacity", [0, 1, 5, 11, 30])
def test_plan_against_a_loop(top_k, capacity):
    experts, mask = random_case(top_k, top_k=top_k)
    dispatch = plan_dispatch(tf.constant(experts), tf.constant(mask), 4, 30, tf.constant(capacity))
    np.testing.assert_array_equal(dispatch.kept, reference.kept_assignments(experts, mask, 4, capacity))


def test_plan_gives_every_kept_assignment_a_slot_of_its_own_expert():
    experts, mask = random_case(0)
    dispatch = plan_dispatch(tf.constant(experts), tf.constant(mask), 4, 9, 7)
    slots, kept = dispatch.slots.numpy(), dispatch.kept.numpy()
    assert len(set(slots[kept])) == kept.sum() > 0
    np.testing.assert_array_equal(slots[kept] // 9, experts[kept])
    assert np.all(slots[kept] % 9 < 7)
    assert np.all(slots[~kept] == 4 * 9)


def test_gather_and_combine_by_hand():
    """Token 0 goes to both experts, token 1 to expert 0 alone, token 2 nowhere; expert 1's second slot stays empty."""
    dispatch = plan([[0, 1], [0, 1], [0, 1]], num_experts=2, capacity=2, buffer=2, mask=[True, True, False])
    dispatch = dispatch._replace(slots=tf.constant([[0, 2], [1, 4], [4, 4]]))
    x = tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    buffers = gather_tokens(x, dispatch, 2, 2)
    np.testing.assert_array_equal(buffers, [[[1, 2], [3, 4]], [[1, 2], [0, 0]]])
    gates = tf.constant([[0.5, 0.25], [0.5, 0.25], [0.5, 0.25]])
    outputs = tf.constant([[[10.0, 20.0], [30.0, 40.0]], [[100.0, 200.0], [7.0, 7.0]]])
    # Token 0: 0.5 * (10, 20) + 0.25 * (100, 200).
    np.testing.assert_allclose(combine_outputs(outputs, dispatch, gates), [[30, 60], [15, 20], [0, 0]])


def test_identity_experts_give_back_the_sum_of_the_kept_gates():
    experts, mask = random_case(3)
    random = np.random.default_rng(3)
    x, gates = random.normal(size=(30, 5)), random.random((30, 2))
    dispatch = plan_dispatch(tf.constant(experts), tf.constant(mask), 4, 6, 6)
    output = combine_outputs(gather_tokens(tf.constant(x), dispatch, 4, 6), dispatch, tf.constant(gates))
    kept = reference.kept_assignments(experts, mask, 4, 6)
    assert 0 < kept.sum() < 2 * mask.sum()  # some are dropped, or this would test little
    np.testing.assert_allclose(output, x * np.sum(gates * kept, axis=-1, keepdims=True), atol=1e-12)


def test_dropped_assignments_carry_no_gradient():
    """One slot, three tokens: only the first one's input and gate matter."""
    x, gates = tf.ones([3, 2]), tf.ones([3, 1])
    with tf.GradientTape() as tape:
        tape.watch([x, gates])
        dispatch = plan([[0], [0], [0]], num_experts=1, capacity=1)
        total = tf.reduce_sum(combine_outputs(3 * gather_tokens(x, dispatch, 1, 1), dispatch, gates))
    by_x, by_gates = tape.gradient(total, [x, gates])
    np.testing.assert_array_equal(tf.convert_to_tensor(by_x), [[3, 3], [0, 0], [0, 0]])
    np.testing.assert_array_equal(by_gates, [[6], [0], [0]])


def test_no_tokens():
    dispatch = plan_dispatch(tf.zeros([0, 2], tf.int32), tf.zeros([0], tf.bool), 3, 0, 0)
    buffers = gather_tokens(tf.zeros([0, 5]), dispatch, 3, 0)
    assert buffers.shape == (3, 0, 5)
    assert combine_outputs(buffers, dispatch, tf.zeros([0, 2])).shape == (0, 5)


def test_unknown_sizes_in_a_graph():
    """Token number, buffer and capacity known only at run time give what they give eagerly."""
    experts, mask = random_case(5)
    eager = plan_dispatch(tf.constant(experts), tf.constant(mask), 4, 12, 9)

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.int32), tf.TensorSpec([None], tf.bool)])
    def graph(experts, mask):
        buffer = tf.shape(experts)[0] * 2 // 5
        return plan_dispatch(experts, mask, 4, buffer, tf.cast(buffer, tf.int64) - 3)

    np.testing.assert_array_equal(graph(experts, mask).slots, eager.slots)
    np.testing.assert_array_equal(graph(experts, mask).kept, eager.kept)


def test_zero_row():
    np.testing.assert_array_equal(with_zero_row(tf.ones([2, 3])), [[1, 1, 1], [1, 1, 1], [0, 0, 0]])
