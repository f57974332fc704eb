"""Assignments counted example by example, against a direct count of what the router said."""

import numpy as np
import pytest
import tensorflow as tf

from tests.widenet import reference
from widenet import Deployment, Encoder, Model, SharedMoE
from widenet.expert_load import recording, recording_assignments

LENGTH, WIDTH, EXPERTS = 5, 8, 3


def new_model(deployment=None, depth=4, **settings):
    """Tokens [batch, length, D] to the encoder's output, every weight random, float64."""
    tf.keras.mixed_precision.set_global_policy("float64")
    encoder = Encoder(depth, WIDTH, 2, 6, deployment=deployment or Deployment(), num_experts=EXPERTS, **settings)
    inputs = tf.keras.Input((LENGTH, WIDTH))
    model = Model(inputs, encoder(inputs))
    reference.randomize(encoder)
    return model, encoder


def tokens(batch=6):
    return np.random.default_rng(0).normal(size=(batch, LENGTH, WIDTH))


def counted(experts, batch, mask=None):
    """[batch, E] from the chosen experts [T, K], a token at a time."""
    counts = np.zeros((batch, EXPERTS), int)
    for token, chosen in enumerate(experts):
        if mask is None or mask.reshape(-1)[token]:
            for expert in chosen:
                counts[token // LENGTH, expert] += 1
    return counts


@pytest.mark.further_cases
@pytest.mark.parametrize("top_k", [1, 2])
@pytest.mark.parametrize("factor", [None, 0.5])
def test_counts_of_a_model_against_its_routings(top_k, factor):
    """MoE blocks and dense ones, two blocks of one routing group; with what is dropped, a block's add up to tokens * K."""
    deployment = Deployment(moe_blocks=(0, 2, 3), routing_groups=2)
    model, encoder = new_model(deployment, top_k=top_k, eval_capacity_factor=factor)
    x = tokens()
    outputs, counts = model.call_with_assignments(tf.constant(x))
    expected, calls = reference.encode(encoder, x)
    assert counts.dtype == tf.int32
    assert counts.shape == (6, 3, EXPERTS)
    for block, call in enumerate(calls):
        assert (not np.all(call.kept)) == (factor is not None)
        np.testing.assert_array_equal(counts[:, block], counted(call.routing.experts, 6))
    np.testing.assert_array_equal(np.sum(counts, axis=-1), np.full((6, 3), LENGTH * top_k))
    np.testing.assert_array_equal(outputs, model(tf.constant(x)))
    np.testing.assert_allclose(outputs, expected, atol=1e-5)  # the model's input is float32


def test_padding_counts_nowhere():
    """Lengths from 1 to all; the counts of an example add up to K times its real tokens."""
    layer = SharedMoE(EXPERTS, 4, dtype="float64")
    layer.build((None, None, WIDTH))
    reference.randomize(layer)
    x, lengths = tokens(), np.array([5, 1, 3, 2, 4, 5])
    mask = np.arange(LENGTH) < lengths[:, np.newaxis]
    with recording_assignments() as records:
        layer(x, mask=mask)
    (counts,) = records
    _, call = reference.moe(layer, x, mask)
    np.testing.assert_array_equal(counts, counted(call.routing.experts, 6, mask))
    np.testing.assert_array_equal(np.sum(counts, axis=-1), 2 * lengths)


def test_known_experts_of_known_classes():
    """Experts that add nothing, norms of one example's tokens that point where its class does: the table is known.

    A token of class c is one-hot at c, and neither attention nor experts change it. Block 0's router is the identity: expert c.
    Block 1's norm turns the token around and adds (0, 0.2, 0.1): classes 0 and 2 go to expert 1, class 1 goes to expert 2. An
    example of class c has three tokens of c and one of c + 1.
    """
    encoder = Encoder(2, 3, 1, 4, num_experts=3, top_k=1, noise=False)
    inputs = tf.keras.Input((4, 3))
    model = Model(inputs, encoder(inputs))
    (attention,), (moe,) = encoder.attentions, encoder.moe_layers
    moe.router.kernel.assign(np.eye(3))
    encoder.ffn_norm.gamma.assign([[1, 1, 1], [-1, -1, -1]])
    encoder.ffn_norm.beta.assign([[0, 0, 0], [0, 0.2, 0.1]])
    for kernel in (attention.output_dense.kernel, *(expert.kernel_out for expert in moe.experts)):
        kernel.assign(tf.zeros_like(kernel))
    classes = np.array([2, 0, 1])
    x = np.eye(3, dtype=np.float32)[np.stack([classes, classes, classes, (classes + 1) % 3], axis=1)]
    _, counts = model.call_with_assignments(tf.constant(x))
    table = {
        0: [[3, 1, 0], [0, 3, 1]],
        1: [[0, 3, 1], [0, 1, 3]],
        2: [[1, 0, 3], [0, 4, 0]],
    }
    np.testing.assert_array_equal(counts, [table[c] for c in classes])


def test_in_a_graph_of_any_batch_size():
    """One trace for every batch size."""
    model, _ = new_model(depth=1)
    call = tf.function(model.call_with_assignments, input_signature=[tf.TensorSpec([None, LENGTH, WIDTH], tf.float64)])
    for batch in (6, 1):
        x = tf.constant(tokens(batch))
        np.testing.assert_array_equal(call(x)[1], model.call_with_assignments(x)[1])
    assert call.experimental_get_tracing_count() == 1


def test_compiled_by_xla():
    model, _ = new_model(depth=1)
    x = tf.constant(tokens(2))
    compiled = tf.function(model.call_with_assignments, jit_compile=True)
    np.testing.assert_array_equal(compiled(x)[1], model.call_with_assignments(x)[1])


def test_an_encoder_called_twice_and_encoders_of_other_sizes():
    """The calls of a block add up; experts that an encoder does not have get nothing."""
    first, second = tf.keras.Input((LENGTH, WIDTH)), tf.keras.Input((LENGTH, WIDTH))
    twice = Encoder(2, WIDTH, 2, 6, num_experts=2)
    model = Model([first, second], twice(first) - twice(second))
    x = tf.constant(tokens(), tf.float32)
    _, counts = model.call_with_assignments([x, x])
    np.testing.assert_array_equal(np.sum(counts, axis=-1), np.full((6, 2), 2 * 2 * LENGTH))
    larger = Encoder(1, WIDTH, 2, 6, num_experts=EXPERTS)
    model = Model(first, larger(twice(first)))
    _, counts = model.call_with_assignments(x)
    assert counts.shape == (6, 3, EXPERTS)
    assert not np.any(counts[:, :2, 2:])
    np.testing.assert_array_equal(np.sum(counts, axis=-1), np.full((6, 3), 2 * LENGTH))


def test_a_model_without_experts_has_no_counts():
    model, _ = new_model(Deployment(moe_blocks=0))
    x = tf.constant(tokens())
    outputs, counts = model.call_with_assignments(x)
    assert counts is None
    np.testing.assert_array_equal(outputs, model(x))


def test_a_moe_layer_outside_the_encoder_is_refused():
    inputs = tf.keras.Input((LENGTH, WIDTH))
    model = Model(inputs, SharedMoE(EXPERTS, 6)(Encoder(2, WIDTH, 2, 6, num_experts=EXPERTS)(inputs)))
    with pytest.raises(ValueError, match="3 MoE calls were recorded and 2 expected"):
        model.call_with_assignments(tf.constant(tokens(), tf.float32))


def test_the_two_recordings_do_not_mix():
    """Either inside the other: each gets its own kind, once a block."""
    layer = SharedMoE(EXPERTS, 4)
    x = tf.constant(tokens(), tf.float32)
    with recording() as loads, recording_assignments() as assignments:
        layer(x)
    with recording_assignments() as others:
        layer(x)
    layer(x)
    assert (len(loads), len(assignments), len(others)) == (1, 1, 1)
    np.testing.assert_array_equal(loads[0].kept, np.sum(assignments[0], axis=0))
    np.testing.assert_array_equal(assignments[0], others[0])
