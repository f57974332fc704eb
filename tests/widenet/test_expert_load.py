"""Recording and accumulating the load of experts, against counts by hand."""

import threading

import numpy as np
import pytest
import tensorflow as tf

from tests.widenet import reference
from widenet import Deployment, Encoder, ExpertLoad, Routing, SharedMoE
from widenet.expert_load import BlockLoad, record_load, recording
from widenet.routing import top_k_routing


def new_moe(**kwargs):
    layer = SharedMoE(3, 4, noise=False, **kwargs)
    layer.build((None, None, 8))
    reference.randomize(layer)
    return layer


def tokens(batch=2, length=5):
    return np.random.default_rng(0).normal(size=(batch, length, 8)).astype(np.float32)


def test_a_record_by_hand():
    """Tokens choose experts (0, 1), (0, 2), (1, 0); token 3 is padding. The second token's second choice has no slot.

    Kept: expert 0 three times, expert 1 twice, expert 2 never; dropped: 1 of 6. With m = (1, 2/3, 1/3) and P the mean over the
    first three tokens, (0.4, 0.4, 0.2), the balance is 3 * (0.4 + 0.8/3 + 0.2/3) = 2.2.
    """
    probabilities = tf.constant([[0.6, 0.3, 0.1], [0.4, 0.2, 0.4], [0.2, 0.7, 0.1], [0.0, 0.0, 1.0]])
    experts = tf.constant([[0, 1], [0, 2], [1, 0], [2, 1]])
    loads = tf.constant([3, 2, 0])
    mask = tf.constant([True, True, True, False])
    with recording() as records:
        record_load(Routing(tf.gather(probabilities, experts, batch_dims=1), experts, probabilities), loads, mask)
    (record,) = records
    np.testing.assert_array_equal(record.kept, [3, 2, 0])
    np.testing.assert_array_equal(record.dropped, 1)
    np.testing.assert_allclose(record.balance, 2.2, rtol=1e-6)
    assert all(field.dtype == tf.float32 for field in record)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("factor", [None, 0.6])
def test_records_of_an_moe_against_a_loop(factor, masked):
    layer = new_moe(eval_capacity_factor=factor, dtype="float64")
    x, mask = tokens().astype(np.float64), np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool) if masked else None
    with recording() as records:
        layer(x, mask=mask)
    _, call = reference.moe(layer, x, mask)
    (record,) = records
    np.testing.assert_array_equal(record.kept, np.bincount(call.routing.experts[call.kept], minlength=3))
    real = np.ones(10, bool) if mask is None else mask.reshape(-1)
    assert record.dropped == 2 * real.sum() - call.kept.sum()
    assert (record.dropped > 0) == (factor is not None)
    balance = reference.balance_loss(call.routing.probabilities, call.routing.experts, real)
    np.testing.assert_allclose(record.balance, balance, rtol=1e-6)


def test_nothing_is_recorded_outside():
    layer = new_moe()
    layer(tokens())
    with recording() as records:
        assert records == []
    layer(tokens())
    assert records == []


def test_recordings_do_not_mix():
    """An inner recording takes its own, the outer one goes on afterwards, also after an error."""
    layer = new_moe()
    with recording() as outer:
        layer(tokens())
        with recording() as inner:
            layer(tokens())
            layer(tokens())
        with pytest.raises(RuntimeError), recording():
            raise RuntimeError
        layer(tokens())
    assert (len(outer), len(inner)) == (2, 2)


def test_recording_is_of_one_thread():
    """Replicas of a MirroredStrategy run in threads of their own."""
    layer, seen = new_moe(), []

    def other():
        with recording() as records:
            layer(tokens())
        seen.append(len(records))

    with recording() as records:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert (records, seen) == ([], [1])


def test_routing_alone_is_not_a_block():
    layer = new_moe()
    with recording() as records:
        routing = layer.route(tokens())
        assert records == []
        layer(tokens(), routing=routing)
        layer(tokens(), routing=routing)
    assert len(records) == 2


def test_one_record_a_block_in_the_order_of_blocks():
    deployment = Deployment(moe_blocks=(0, 2, 3))
    encoder = Encoder(4, 8, 2, 6, num_experts=3, noise=False, deployment=deployment, dtype="float64")
    encoder.build((None, None, 8))
    reference.randomize(encoder)
    x = tokens().astype(np.float64)
    with recording() as records:
        encoder(x)
    _, calls = reference.encode(encoder, x)
    assert len(records) == len(calls) == 3
    for record, call in zip(records, calls, strict=True):
        np.testing.assert_array_equal(record.kept, np.bincount(call.routing.experts[call.kept], minlength=3))


def test_graph_outside_a_recording_has_no_further_operations(monkeypatch):
    """It is the graph of a layer that cannot record at all; inside, counting adds a one-hot of the experts."""
    layer = new_moe()

    def recorded(x):
        with recording() as records:
            y = layer(x)
        return y, records

    def operations(function):
        graph = tf.function(function).get_concrete_function(tf.TensorSpec([2, 5, 8])).graph
        return sorted(operation.type for operation in graph.get_operations())

    outside, inside = operations(lambda x: layer(x)), operations(recorded)
    monkeypatch.setattr("widenet.moe.record_load", lambda *_: None)
    monkeypatch.setattr("widenet.moe.record_assignments", lambda *_: None)
    without = operations(lambda x: layer(x))
    assert outside == without
    assert inside.count("OneHot") > without.count("OneHot")


def test_records_carry_no_gradient():
    layer, x = new_moe(), tf.constant(tokens())
    with tf.GradientTape() as tape, recording() as records:
        tape.watch(x)
        layer(x)
        total = tf.reduce_sum(records[0].kept) + records[0].balance
    assert tape.gradient(total, x) is None


def load(kept, dropped, balance):
    return BlockLoad(tf.constant(kept, tf.float32), tf.constant(dropped, tf.float32), tf.constant(balance, tf.float32))


def test_metric_by_hand():
    """Two blocks, two steps. Block 0: kept 3 + 1 and 1 + 5 of 10 and 10, the balance weighs a step by its assignments."""
    metric = ExpertLoad(2, 2)
    metric.update_state([load([3, 5], 2, 2.0), load([0, 10], 0, 3.0)])
    metric.update_state([load([1, 19], 10, 4.0), load([0, 30], 0, 1.0)])
    experts, dropped, balance = metric.shares()
    # Block 0: (3 + 1, 5 + 19) of 40, 12 dropped; balance (10 * 2 + 30 * 4) / 40. Block 1: (0, 40); (10 * 3 + 30 * 1) / 40.
    np.testing.assert_allclose(experts, [[0.1, 0.6], [0, 1]], rtol=1e-6)
    np.testing.assert_allclose(dropped, [0.3, 0], rtol=1e-6)
    np.testing.assert_allclose(balance, [3.5, 1.5], rtol=1e-6)
    np.testing.assert_allclose(metric.result()["balance"], 2.5, rtol=1e-6)
    np.testing.assert_allclose(metric.result()["dropped"], 0.15, rtol=1e-6)
    table = metric.table()
    assert [list(row) for row in table] == [["block", "expert_0", "expert_1", "dropped", "balance"]] * 2
    assert [row["block"] for row in table] == [0, 1]
    np.testing.assert_allclose(list(table[0].values()), [0, 0.1, 0.6, 0.3, 3.5], rtol=1e-6)
    assert all(type(value) in (int, float) for row in table for value in row.values())
    for row in table:
        assert abs(row["expert_0"] + row["expert_1"] + row["dropped"] - 1) < 1e-6


def test_metric_after_a_reset_and_before_any_step_has_no_table():
    metric = ExpertLoad(2, 2)
    metric.update_state([load([3, 5], 2, 2.0)] * 2)
    metric.reset_state()
    for state in (metric, ExpertLoad(2, 2)):
        assert all(value == 0 for value in state.result().values())
        with pytest.raises(ValueError, match="expert_load has counted nothing since its last reset"):
            state.table()


def test_table_of_a_step_in_which_all_was_dropped():
    metric = ExpertLoad(1, 2)
    metric.update_state([load([0, 0], 4, 2.0)])
    assert metric.table() == [{"block": 0, "expert_0": 0, "expert_1": 0, "dropped": 1, "balance": 2}]


def test_metric_config():
    metric = ExpertLoad(3, 4, name="load")
    restored = tf.keras.saving.deserialize_keras_object(tf.keras.saving.serialize_keras_object(metric))
    assert type(restored) is ExpertLoad
    assert restored.get_config() == metric.get_config()
    assert (restored.blocks, restored.num_experts, restored.name) == (3, 4, "load")


def test_nothing_is_computed_where_nobody_records(monkeypatch):
    """Calls and exports carry no operation for the load."""

    def fail(*arguments):
        raise AssertionError("computed")

    monkeypatch.setattr("widenet.expert_load.balance_loss", fail)
    routing = top_k_routing(tf.constant([[1.0, 2.0, 3.0]]), 2)
    record_load(routing, tf.constant([[True, True]]), tf.constant([True]))
