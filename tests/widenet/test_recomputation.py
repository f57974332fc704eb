"""Blocks that the backward pass computes again: the same numbers, bit for bit, with fewer results kept."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.config_pb2 import ConfigProto
from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig
from tensorflow.python.eager import context

from official.config import train_settings
from official.training.optimizers import create_optimizer
from widenet import Deployment, Encoder, Model, fast_path
from widenet.draws import Dropout, seeded
from widenet.encoder import recording_blocks
from widenet.expert_load import recording
from widenet.recomputation import recomputed

LENGTH, WIDTH = 4, 8
# Every kind of draw, and a balance loss that matters.
NOISY = dict(dropout=0.2, attention_dropout=0.2, drop_path=0.3, jitter=0.1, balance_weight=0.5)


def new_encoder(depth=2, deployment=None, **settings):
    own = {**NOISY, **settings}
    return Encoder(depth, WIDTH, 2, 12, num_experts=2, deployment=deployment or Deployment(1, 1), name="encoder", **own)


def trained(recompute, parts=1, jit_compile=False, strategy=None, batch=4, steps=2, policy="float32", **settings):
    """({name: weight}, logs) after some steps of `fit` with LAMB, on tokens of which some are padding."""
    tf.keras.utils.set_random_seed(0)
    tf.keras.mixed_precision.set_global_policy(policy)
    with (strategy or tf.distribute.get_strategy()).scope():
        inputs = {"x": tf.keras.Input((LENGTH, WIDTH)), "mask": tf.keras.Input((LENGTH,), dtype=tf.bool)}
        x = new_encoder(**settings)(inputs["x"], mask=inputs["mask"])
        model = Model(inputs, tf.keras.layers.Dense(2, dtype="float32", name="head")(x))
        optimizer = create_optimizer(train_settings(schedule="linear", steps=10, lr=0.01))
        model.compile(optimizer, "mse", jit_compile=jit_compile)
    model.seed_steps(3)
    model.accumulate_steps(parts)
    model.recompute_blocks(recompute)
    random = np.random.default_rng(0)
    x, y = (random.normal(size=(batch * steps, LENGTH, size)).astype(np.float32) for size in (WIDTH, 2))
    data = {"x": x, "mask": random.random((batch * steps, LENGTH)) > 0.2}
    history = model.fit(data, y, batch_size=batch, shuffle=False, verbose=0).history
    return {weight.name: weight.numpy() for weight in model.weights}, history


def assert_same(found, expected):
    for name, value in expected[0].items():
        np.testing.assert_array_equal(found[0][name], value, err_msg=name)
    assert found[1] == expected[1]


ONE_A_BLOCK = Deployment(None, None, None, None, moe_blocks=1, norm_position="post")
CASES = {
    "experts": dict(),
    "of each block, post-norm, one dense": dict(deployment=ONE_A_BLOCK),
    "one routing for two blocks": dict(depth=4, deployment=Deployment(1, 2, routing_groups=2)),
    "parts of a batch": dict(depth=3, parts=2),
    "nothing dropped": dict(depth=3, capacity_factor=None),
    "bfloat16": dict(depth=3, policy="mixed_bfloat16"),
    "bfloat16, parts of a batch, nothing dropped": dict(depth=3, policy="mixed_bfloat16", parts=2, capacity_factor=None),
}


@pytest.mark.further_cases
@pytest.mark.parametrize("case", CASES)
def test_same_weights(case):
    """Bit for bit, after a second step too, where the norms' gammas are no longer 1."""
    assert_same(trained(True, **CASES[case]), trained(False, **CASES[case]))


@pytest.mark.further
def test_same_weights_but_for_rounding():
    """Compiled by XLA, which joins operations in other ways. LAMB's steps here are about 1e-2."""
    (found, _), (expected, _) = (trained(recompute, jit_compile=True) for recompute in (True, False))
    for name, value in expected.items():
        if "key/bias" not in name:  # whose gradient is rounding alone
            np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.further
def test_same_weights_on_two_replicas():
    """Each with draws of its own."""
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert_same(*(trained(recompute, strategy=strategy) for recompute in (True, False)))


@pytest.mark.further
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_same_weights_where_gradients_are_added_early(policy, monkeypatch):
    """As those of large weights are."""
    monkeypatch.setattr(fast_path, "COMPILED_ELEMENTS", 0)
    assert_same(*(trained(recompute, depth=4, policy=policy) for recompute in (True, False)))


def test_only_calls_of_a_step_are_as_written():
    """TensorFlow's options are those of before afterwards, also after an error; those that the user has set stay."""

    def passes():
        options = ConfigProto.FromString(context.context().function_call_options.config_proto_serialized)
        return {field.name: value for field, value in options.graph_options.rewrite_options.ListFields()}

    @tf.function
    def step(x):
        inside.append(passes())
        tf.debugging.assert_positive(x)
        return x

    inside = []
    tf.config.optimizer.set_experimental_options({"loop_optimization": False})
    try:
        before = passes()
        with pytest.raises(tf.errors.InvalidArgumentError):
            fast_path.as_written(step)(tf.constant(-1.0))
        assert passes() == before
    finally:
        tf.config.optimizer.set_experimental_options({"loop_optimization": True})
    names = ("arithmetic_optimization", "common_subgraph_elimination", "remapping", "loop_optimization")
    assert inside == [{**before, **dict.fromkeys(names, RewriterConfig.OFF)}]


def gradients_of(encoder, x):
    """(loss, losses of layers after it, loads, block outputs, gradients) of a training step, where blocks' outputs are used."""
    with seeded(1, 2), recording() as loads, recording_blocks() as blocks, tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(tf.square(encoder(x, training=True))) + tf.add_n(encoder.losses)
        total += tf.reduce_sum(tf.sin(blocks[0].ffn_input) + tf.sin(blocks[0].output))
    found = tape.gradient(total, [x, *encoder.trainable_variables])
    return total, encoder.losses, loads, blocks, found


def test_what_is_recorded_and_added():
    """Loads, blocks and losses are those of one forward pass, also after the backward pass; so are all gradients.

    Of the largest gradient, 1e-6: those of a block's output are added in another order.
    """
    encoder, x = new_encoder(depth=3), tf.random.normal([2, LENGTH, WIDTH])
    encoder(x)
    expected = gradients_of(encoder, x)
    encoder.recompute = True
    found = gradients_of(encoder, x)
    assert [len(each) for each in found[1:4]] == [3, 3, 3]
    tf.nest.map_structure(np.testing.assert_array_equal, found[:4], expected[:4])
    largest = max(np.abs(value).max() for value in expected[4])
    for value, other in zip(found[4], expected[4], strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-5, atol=1e-6 * largest)


def test_one_seed_for_both_calls():
    """Where nothing says what is drawn: the gradient is what x was multiplied by, in another place in the next call."""
    layer, x = Dropout(0.5), tf.ones([50])
    found = []
    for _ in range(2):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = recomputed(lambda x: layer(x, training=True), x)
        np.testing.assert_array_equal(tape.gradient(y, x), y)
        found.append(y.numpy())
    assert set(found[0]) == {0.0, 2.0}
    assert not np.array_equal(*found)


def test_structures_variables_and_calls():
    """Integers, booleans and None pass through; a variable gets its gradient; the function is called once in each direction."""
    variable, calls = tf.Variable([2.0, 3.0]), []

    def function(inputs):
        calls.append(inputs)
        x, rows, nothing, is_used = inputs
        assert nothing is None
        return {"y": tf.where(is_used, tf.gather(x, rows) * variable, 0), "rows": rows + 1, "nothing": None}

    @tf.function
    def step(x, rows, is_used):
        with tf.GradientTape() as tape:
            tape.watch(x)
            found = recomputed(function, (x, rows, None, is_used))
            total = tf.reduce_sum(found["y"])
        return found["rows"], tape.gradient(total, [x, variable])

    x = tf.constant([[5.0, 7.0], [11.0, 13.0]])
    rows, (of_x, of_variable) = step(x, tf.constant([1, 1]), tf.constant([True, False]))
    assert len(calls) == 2
    np.testing.assert_array_equal(rows, [2, 2])
    np.testing.assert_array_equal(of_x, [[0, 0], [4, 0]])
    np.testing.assert_array_equal(of_variable, [22, 0])


def nodes_of_step(encoder, x):
    """{name: node} of a training step's graph, after TensorFlow has optimized it."""

    @tf.function
    def step(x):
        with seeded(1, 2), tf.GradientTape() as tape:
            total = tf.reduce_sum(tf.square(encoder(x, training=True)))
        return tape.gradient(total, encoder.trainable_variables)

    context.enable_run_metadata()
    step(x)
    graphs = context.export_run_metadata().partition_graphs
    context.disable_run_metadata()
    return {node.name: node for graph in graphs for node in graph.node}


def after_a_gradient(nodes):
    """Names of what waits for a gradient."""
    waiting = {name for name, node in nodes.items() if name.startswith("gradient_tape/") and node.op != "Const"}
    before = 0
    while before != len(waiting):
        before = len(waiting)
        waiting |= {name for name, node in nodes.items() if any(x.strip("^").split(":")[0] in waiting for x in node.input)}
    return waiting


def test_blocks_are_computed_again_in_the_backward_pass():
    """All but the last: their products are not taken from the forward pass, and not made before a gradient is there."""
    encoder, x = new_encoder(), tf.random.normal([2, LENGTH, WIDTH])
    kept = nodes_of_step(encoder, x)
    encoder.recompute = True
    found = nodes_of_step(encoder, x)
    of_a_block = 4 + 2 + 1 + 2 * 2  # projections, scores and context; router; two experts
    kept_products, products = (sum("MatMul" in node.op for node in nodes.values()) for nodes in (kept, found))
    assert products == kept_products + of_a_block
    softmaxes = [name for name, node in found.items() if "Softmax" in node.op]
    assert len(softmaxes) == 2 * (2 + 1)  # of attention and router
    assert len(after_a_gradient(found) & set(softmaxes)) == 2


def test_gradients_are_added_one_after_another():
    """Those of a weight's uses, the last first, bit for bit."""
    value = tf.zeros([1000])
    gradients = [tf.random.normal([1000]) for _ in range(11)]
    with tf.GradientTape() as tape:
        tape.watch(value)
        links = fast_path._chain(value, len(gradients))
        total = tf.add_n([tf.reduce_sum(link * gradient) for link, gradient in zip(links, gradients, strict=True)])
    np.testing.assert_array_equal(tape.gradient(total, value), functools.reduce(tf.add, gradients[::-1]))


def test_refused():
    with pytest.raises(ValueError, match="enabled=1 is not allowed: it must be True or False"):
        Model(*[tf.keras.Input((2,))] * 2).recompute_blocks(1)
