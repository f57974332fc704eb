"""How near an example came to being sent to other experts."""

import numpy as np
import pytest
import tensorflow as tf

from tests.widenet import reference
from widenet import Deployment, Encoder, Model, Routing, SharedMoE
from widenet.expert_load import record_margins, recording_margins

LENGTH, WIDTH, EXPERTS = 5, 8, 3


def routing(probabilities, top_k):
    gates, experts = tf.math.top_k(tf.constant(probabilities, tf.float64), k=top_k)
    return Routing(gates, experts, tf.constant(probabilities, tf.float64))


def margins(probabilities, top_k, mask, batch):
    with recording_margins() as records:
        record_margins(routing(probabilities, top_k), tf.constant(mask), tf.zeros([batch, len(mask) // batch, 1]))
    return records[0].numpy()


PROBABILITIES = [[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.25, 0.35, 0.4], [0.2, 0.2, 0.6]]


@pytest.mark.parametrize("top_k, expected", [(1, [0.2, 0.05]), (2, [0.1, 0.0]), (3, [np.inf, np.inf])])
def test_by_hand(top_k, expected):
    """Two examples of two tokens: K-th probability less the next one, the smaller of the tokens; no next one where K is E."""
    np.testing.assert_allclose(margins(PROBABILITIES, top_k, [True] * 4, 2), expected, atol=1e-15)


def test_padding_has_no_margin():
    found = margins(PROBABILITIES, 2, [True, False, False, False], 2)
    np.testing.assert_allclose(found, [0.1, np.inf], atol=1e-15)


def test_nobody_records():
    record_margins(routing(PROBABILITIES, 2), tf.constant([True] * 4), tf.zeros([2, 2, 1]))
    with recording_margins() as records:
        pass
    assert records == []


@pytest.mark.further_cases
@pytest.mark.parametrize("renormalize", [False, True])
def test_of_a_model_against_its_routings(renormalize):
    """The least over MoE blocks and tokens, of the probabilities as they were before they became gates."""
    tf.keras.mixed_precision.set_global_policy("float64")
    encoder = Encoder(4, WIDTH, 2, 6, deployment=Deployment(moe_blocks=(0, 2, 3)), num_experts=EXPERTS, renormalize=renormalize)
    inputs = tf.keras.Input((LENGTH, WIDTH))
    model = Model(inputs, encoder(inputs))
    reference.randomize(encoder)
    x = np.random.default_rng(0).normal(size=(6, LENGTH, WIDTH))
    outputs, found = model.call_with_margins(tf.constant(x))
    _, calls = reference.encode(encoder, x)
    by_block = []
    for call in calls:
        ranked = np.sort(call.routing.probabilities, axis=-1)
        by_block.append((ranked[:, -2] - ranked[:, -3]).reshape(6, LENGTH).min(axis=1))
    np.testing.assert_allclose(found, np.min(by_block, axis=0), atol=1e-6)  # the model's input is float32
    np.testing.assert_array_equal(outputs, model(tf.constant(x)))


def test_without_experts():
    encoder = Encoder(2, WIDTH, 2, 6, deployment=Deployment(moe_blocks=0))
    inputs = tf.keras.Input((LENGTH, WIDTH))
    _, found = Model(inputs, encoder(inputs)).call_with_margins(tf.zeros([2, LENGTH, WIDTH]))
    assert found is None


def test_priority_needs_no_order_where_nothing_is_dropped():
    """Graphs that drop nothing carry no sort, and give what they gave without it."""
    layer = SharedMoE(EXPERTS, 6, batch_priority=True)
    layer.build((None, LENGTH, WIDTH))
    plain = SharedMoE(EXPERTS, 6)
    plain.build((None, LENGTH, WIDTH))
    plain.set_weights(layer.get_weights())
    specs = tf.TensorSpec([None, LENGTH, WIDTH])
    call, other = (tf.function(lambda x, of=of: of(x, training=False)).get_concrete_function(specs) for of in (layer, plain))
    assert "InvertPermutation" not in {node.op for node in call.graph.as_graph_def().node}
    x = tf.random.stateless_normal([4, LENGTH, WIDTH], [0, 0])
    np.testing.assert_array_equal(call(x), other(x))
