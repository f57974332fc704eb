"""The mixture of experts against a loop over tokens, its capacity, gradients, padding and independence of batch-mates."""

import numpy as np
import pytest
import tensorflow as tf

from tests.widenet import reference
from widenet import Routing, SharedMoE

WIDTH, HIDDEN = 8, 6


def tokens(batch=2, length=7, seed=0, dtype=np.float32):
    """Tokens with a common part, so that some experts are wanted more than others and capacities are reached."""
    random = np.random.default_rng(seed)
    return (random.normal(size=(batch, length, WIDTH)) + random.normal(size=WIDTH)).astype(dtype)


def some_mask(batch=2, length=7, seed=1):
    return np.random.default_rng(seed).random((batch, length)) < 0.6


def built(num_experts=4, hidden_dim=HIDDEN, **kwargs):
    layer = SharedMoE(num_experts, hidden_dim, **{"noise": False, **kwargs})
    layer.build((None, None, WIDTH))
    reference.randomize(layer)
    return layer


def routing_by_hand(experts, num_experts, gates=None):
    """A Routing of one example [1, T] from a table [T, K]."""
    experts = np.array(experts, np.int32)[np.newaxis]
    gates = np.ones(experts.shape, np.float32) if gates is None else np.array(gates, np.float32)[np.newaxis]
    probabilities = np.full((*experts.shape[:2], num_experts), 1 / num_experts, np.float32)
    return Routing(tf.constant(gates), tf.constant(experts), tf.constant(probabilities))


def computed(output):
    """Bool [batch, length]: which tokens any expert gave something to (random biases keep it from being zero)."""
    return np.any(np.asarray(output) != 0, axis=-1)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "factor", [0.01, 0.5, 1.0, *(pytest.param(factor, marks=pytest.mark.further) for factor in (1.2, 2.5, 100.0)), None]
)
@pytest.mark.parametrize("top_k", [1, 2, pytest.param(3, marks=pytest.mark.further), 4])
def test_against_a_loop(top_k, factor, masked):
    """Training and evaluation capacity, from far too small to unlimited, within 1e-5 of float64."""
    x, mask = tokens(), some_mask() if masked else None
    for training in (True, False):
        own, other = ("capacity_factor", "eval_capacity_factor") if training else ("eval_capacity_factor", "capacity_factor")
        layer = built(top_k=top_k, **{own: factor, other: 0.3})
        expected, call = reference.moe(layer, x.astype(np.float64), mask, training=training)
        np.testing.assert_allclose(layer(x, mask=mask, training=training), expected, atol=1e-5)
    if factor in (0.01, 0.5) and top_k < 4:
        assert call.kept.sum() < (14 if mask is None else mask.sum()) * top_k  # the case does drop


def test_against_a_loop_renormalized_with_one_expert_and_with_long_inputs():
    for kwargs in (dict(renormalize=True), dict(num_experts=1, top_k=1), dict(num_experts=3, top_k=2, capacity_factor=1.0)):
        layer, x = built(**kwargs), tokens(3, 25)
        expected, _ = reference.moe(layer, x.astype(np.float64), training=True)
        np.testing.assert_allclose(layer(x, training=True), expected, atol=1e-5)


def test_float64_against_a_loop():
    layer, x = built(dtype="float64"), tokens(dtype=np.float64)
    expected, _ = reference.moe(layer, x, training=True)
    np.testing.assert_allclose(layer(x, training=True), expected, atol=1e-12)


@pytest.mark.parametrize("padding", [0, 7])
@pytest.mark.parametrize("length_known", [True, False])
def test_capacity_that_float32_gets_wrong(padding, length_known):
    """25 real tokens that all want the same experts: each keeps 1.2 * 2 * 25 / 4 = 15, which float32 makes 16."""
    layer = built(capacity_factor=1.2)
    length = 25 + padding
    routing = routing_by_hand([[0, 1]] * length, 4)
    mask = (np.arange(length) < 25)[np.newaxis] if padding else None
    call = tf.function(
        lambda x, routing, mask: layer(x, mask=mask, routing=routing, training=True), reduce_retracing=not length_known
    )
    if not length_known:
        call = call.get_concrete_function(
            tf.TensorSpec([None, None, WIDTH]),
            Routing(*(tf.TensorSpec([None, None, n], t.dtype) for n, t in zip((2, 2, 4), routing, strict=True))),
            None if mask is None else tf.TensorSpec([None, None], tf.bool),
        )
    output = call(*(t for t in (tf.constant(tokens(1, length)), routing, None if mask is None else tf.constant(mask))))
    np.testing.assert_array_equal(computed(output), (np.arange(length) < 15)[np.newaxis])


@pytest.mark.parametrize("capacity", [1, 2, 3, 4])
def test_an_expert_keeps_exactly_its_capacity(capacity):
    """K T / E = 4, so a factor of c / 4 is a capacity of c."""
    layer = built(2, top_k=1, eval_capacity_factor=capacity / 4)
    output = layer(tokens(1, 8), routing=routing_by_hand([[1]] * 8, 2))
    np.testing.assert_array_equal(computed(output)[0], np.arange(8) < capacity)


def test_first_choices_take_slots_before_second_choices():
    """Capacity 1: expert 1 serves token 2, whose first choice it is, and not tokens 0 and 1, whose second choice it is."""
    layer = built(2, top_k=2, eval_capacity_factor=0.3)  # ceil(0.3 * 2 * 3 / 2) = 1
    x = tokens(1, 3)
    routing = routing_by_hand([[0, 1], [0, 1], [1, 0]], 2, gates=[[0.7, 0.3], [0.6, 0.4], [0.9, 0.1]])
    output = layer(x, routing=routing)[0]
    np.testing.assert_allclose(output[0], 0.7 * reference.feed_forward(layer.experts[0], x[0, 0]), atol=1e-5)
    np.testing.assert_array_equal(output[1], np.zeros(WIDTH))
    np.testing.assert_allclose(output[2], 0.9 * reference.feed_forward(layer.experts[1], x[0, 2]), atol=1e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_batch_priority_drops_the_least_certain_tokens(jit_compile):
    """Six tokens want expert 0, which has room for 0.5 * 1 * 6 / 1 = 3: those of the largest gates, wherever they stand."""
    for batch_priority, kept in ((False, [0, 1, 2]), (True, [1, 3, 5])):
        layer = built(num_experts=1, top_k=1, eval_capacity_factor=0.5, batch_priority=batch_priority)
        routing = routing_by_hand([[0]] * 6, 1, gates=[[0.1], [0.6], [0.2], [0.7], [0.3], [0.5]])
        call = tf.function(lambda x, moe=layer, r=routing: moe(x, routing=r, training=False), jit_compile=jit_compile)
        output = computed(call(tf.constant(tokens(1, 6))))
        np.testing.assert_array_equal(np.flatnonzero(output[0]), kept)


def test_training_and_evaluation_capacity():
    layer = built(capacity_factor=0.25, eval_capacity_factor=None, top_k=1)
    x, routing = tokens(1, 16), routing_by_hand([[2]] * 16, 4)
    assert computed(layer(x, routing=routing, training=True)).sum() == 1
    for training in (None, False):
        assert computed(layer(x, routing=routing, training=training)).sum() == 16


def test_gates_weigh_the_experts_and_do_not_sum_to_one():
    """Experts that output ones: a token's output is the sum of its gates, the two largest probabilities of four."""
    layer = built()
    for expert in layer.experts:
        expert.set_weights([np.zeros((WIDTH, HIDDEN)), np.zeros(HIDDEN), np.zeros((HIDDEN, WIDTH)), np.ones(WIDTH)])
    x = tokens()
    probabilities = reference.softmax(x @ reference.weight(layer.router.kernel))
    two_largest = np.sum(np.sort(probabilities, axis=-1)[..., -2:], axis=-1, keepdims=True)
    np.testing.assert_allclose(layer(x), np.tile(two_largest, WIDTH), atol=1e-5)
    layer.router.renormalize = True
    np.testing.assert_allclose(layer(x), np.ones(x.shape), atol=1e-5)


def test_masked_tokens_get_zeros():
    layer, mask = built(), some_mask()
    np.testing.assert_array_equal(computed(layer(tokens(), mask=mask)), mask)


def test_garbage_in_the_padding_stays_there():
    layer, mask = built(), some_mask()
    garbage = np.where(mask[..., np.newaxis], tokens(), np.float32(1e4))
    np.testing.assert_array_equal(layer(garbage, mask=mask), layer(tokens(), mask=mask))


def test_a_routing_that_is_passed_in_is_used_and_nothing_is_routed():
    layer, x = built(), tokens()
    routing = layer.route(x)
    np.testing.assert_allclose(layer(x, routing=routing), layer(x), atol=1e-6)
    np.testing.assert_allclose(layer(x, routing=list(routing)), layer(x), atol=1e-6)
    other = layer.route(tokens(seed=5))
    expected, _ = reference.moe(layer, x.astype(np.float64), routing=reference.Routing(*(flat(t) for t in other)))
    np.testing.assert_allclose(layer(x, routing=other), expected, atol=1e-5)
    assert np.max(np.abs(expected - layer(x))) > 0.1


def flat(t):
    return np.reshape(t, (-1, t.shape[-1]))


def test_balance_loss_once_a_routing_and_in_training_only():
    layer, x, mask = built(balance_weight=0.5), tokens(), some_mask()
    routing = layer.route(x, mask=mask, training=True)
    (from_route,) = layer.losses
    layer(x, mask=mask, training=True)
    (from_call,) = layer.losses
    expected = reference.balance_loss(flat(routing.probabilities).astype(np.float64), flat(routing.experts), mask.reshape(-1))
    np.testing.assert_allclose([from_route, from_call], [0.5 * expected] * 2, rtol=1e-5)
    layer(x, mask=mask, routing=routing, training=True)
    assert layer.losses == []
    for training in (None, False):
        layer(x, mask=mask, training=training)
        assert layer.losses == []
        layer.route(x, mask=mask, training=training)
        assert layer.losses == []


def test_balance_loss_of_a_model_that_reuses_a_routing():
    """One term for three calls with one routing, a second one for a call that routes itself; none in evaluation."""
    layer = built(balance_weight=1.0)
    x = inputs = tf.keras.Input((7, WIDTH))
    routing = layer.route(x)
    for _ in range(3):
        x = layer(x, routing=routing)
    model = tf.keras.Model(inputs, layer(x))
    first = layer.route(tokens())
    model(tokens(), training=True)
    assert len(model.losses) == 2
    expected = reference.balance_loss(flat(first.probabilities).astype(np.float64), flat(first.experts))
    np.testing.assert_allclose(model.losses[0], expected, rtol=1e-5)
    model(tokens())
    assert model.losses == []


@pytest.mark.parametrize("by_route", [False, True])
def test_mask_that_keras_carries_with_the_tokens(by_route):
    """An Embedding with mask_zero marks padding; a call and `route` both see it without being handed it."""
    layer = built(balance_weight=1.0, capacity_factor=1.0)
    ids = np.array([[1, 2, 3, 0, 0, 0], [4, 5, 6, 1, 2, 0]])
    x = tf.keras.layers.Embedding(7, WIDTH, mask_zero=True)(ids)
    run = layer.route if by_route else layer
    got = run(x, training=True)
    (loss,) = layer.losses
    want = run(x.numpy(), mask=ids > 0, training=True)
    np.testing.assert_allclose(loss, layer.losses[0], rtol=1e-6)
    if not by_route:
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_noise_reaches_the_output_in_training_only():
    layer = built(noise=True, capacity_factor=None)
    np.testing.assert_array_equal(layer(tokens()), layer(tokens()))
    np.testing.assert_allclose(layer(tokens()), built()(tokens()), atol=1e-6)
    assert np.max(np.abs(layer(tokens(), training=True) - layer(tokens(), training=True))) > 0.01


def test_dropout_is_on_in_training_only():
    layer = built(dropout=0.5, capacity_factor=None)
    np.testing.assert_allclose(layer(tokens()), built()(tokens()), atol=1e-6)
    assert np.mean(np.abs(layer(tokens(), training=True) - layer(tokens())) > 1e-4) > 0.5


# Gradients


def loss_by_reference(layer, x, mask, weights):
    """sum(weights * output) + balance loss, in float64 with the layer's current weights."""
    output, call = reference.moe(layer, x, mask, training=True)
    real = None if mask is None else mask.reshape(-1)
    balance = reference.balance_loss(call.routing.probabilities, call.routing.experts, real)
    return np.sum(weights * output) + layer.balance_weight * balance


@pytest.mark.further_cases
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("renormalize", [False, True])
def test_gradients_against_central_differences(masked, renormalize):
    """Of every weight and the input, of the output (with dropped assignments) and the balance loss, all in float64.

    A step of 1e-5 errs by some 1e-9, and the rounded constant of TensorFlow's GELU by some 1e-8: tolerance 1e-6. Choices and
    drops are constant within a step, as no two probabilities of a token are closer than 1e-3.
    """
    layer = SharedMoE(3, 4, noise=False, capacity_factor=0.7, balance_weight=0.8, renormalize=renormalize, dtype="float64")
    layer.build((None, None, 5))
    reference.randomize(layer, seed=3)
    random = np.random.default_rng(4)
    x, weights = random.normal(size=(2, 4, 5)), random.normal(size=(2, 4, 5))
    mask = np.array([[1, 1, 1, 0], [1, 0, 1, 1]], bool) if masked else None
    _, call = reference.moe(layer, x, mask, training=True)
    assert np.min(np.abs(np.diff(np.sort(call.routing.probabilities, axis=-1)))) > 1e-3
    assert call.kept.sum() < 2 * (8 if mask is None else mask.sum())

    inputs = tf.Variable(x)
    variables = [*layer.trainable_weights, inputs]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(weights * layer(inputs, mask=mask, training=True)) + tf.add_n(layer.losses)
    gradients = tape.gradient(loss, variables)
    np.testing.assert_allclose(loss, loss_by_reference(layer, x, mask, weights), atol=1e-6)

    step = 1e-5
    for variable, gradient in zip(variables, gradients, strict=True):
        start, expected = variable.numpy(), np.zeros(variable.shape)
        for index in np.ndindex(*start.shape):
            sides = []
            for sign in (1, -1):
                moved = start.copy()
                moved[index] += sign * step
                variable.assign(moved)
                sides.append(loss_by_reference(layer, inputs.numpy(), mask, weights))
            expected[index] = (sides[0] - sides[1]) / (2 * step)
        variable.assign(start)
        np.testing.assert_allclose(tf.convert_to_tensor(gradient), expected, atol=1e-6, err_msg=variable.name)
        assert np.max(np.abs(expected)) > 1e-3, variable.name  # every weight matters here


# Independence


def hostile_mates(layer, count, length):
    """Examples whose tokens all want the same expert: multiples of one column of the router's kernel."""
    direction = reference.weight(layer.router.kernel)[:, 0]
    return np.tile(10 * direction, (count, length, 1)).astype(np.float32)


def test_evaluation_does_not_depend_on_batch_mates():
    layer, x = built(), tokens(1)
    alone = layer(x)
    mates = hostile_mates(layer, 5, 7)
    assert len(np.unique(layer.route(mates).experts[..., 0])) == 1
    np.testing.assert_allclose(layer(np.concatenate([mates, x]))[-1:], alone, atol=1e-5)


def test_batch_mates_would_matter_with_a_capacity():
    """What the test above would see: with an evaluation capacity, mates in front of the example take the slots."""
    layer, x = built(eval_capacity_factor=0.2), tokens(1)
    mates = np.concatenate([tokens(5, seed=seed) for seed in range(3)])
    assert np.max(np.abs(layer(np.concatenate([mates, x]))[-1:] - layer(x))) > 0.01


@pytest.mark.parametrize("jit_compile", [False, True])
def test_amount_of_padding_changes_nothing(jit_compile):
    """In training, capacity counts real tokens: the same ones are kept wherever the padding is and however much there is."""
    layer = built(capacity_factor=0.6)
    x = tokens(1, 11)
    expected, call = reference.moe(layer, x.astype(np.float64), training=True)
    assert 0 < call.kept.sum() < 22

    @tf.function(jit_compile=jit_compile)
    def run(x, mask):
        return layer(x, mask=mask, training=True), tf.add_n(layer.losses)

    losses = []
    for front, back in ((0, 0), (0, 1), (4, 9), (30, 0)):
        padded = np.pad(x, [(0, 0), (front, back), (0, 0)], constant_values=9.0)
        mask = np.pad(np.ones((1, 11), bool), [(0, 0), (front, back)])
        output, loss = run(tf.constant(padded), tf.constant(mask))
        np.testing.assert_allclose(output[:, front : front + 11], expected, atol=1e-5)
        assert not np.any(output.numpy()[~mask])
        losses.append(loss)
    np.testing.assert_allclose(losses, [losses[0]] * 4, rtol=1e-5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("case", ["no example", "no token", "all masked"])
def test_nothing_real_gives_finite_outputs_and_gradients(case, training):
    layer = built(noise=True)
    shape = {"no example": (0, 7, WIDTH), "no token": (2, 0, WIDTH), "all masked": (2, 7, WIDTH)}[case]
    x = tf.ones(shape)
    mask = tf.zeros(shape[:2], tf.bool) if case == "all masked" else None
    with tf.GradientTape() as tape:
        tape.watch(x)
        output = layer(x, mask=mask, training=training)
        total = tf.reduce_sum(output) + sum(layer.losses)
    assert output.shape == shape
    np.testing.assert_array_equal(total, 0.0)
    for gradient in tape.gradient(total, [x, *layer.trainable_weights], unconnected_gradients="zero"):
        assert not np.any(gradient)


# Start


def test_each_expert_starts_as_a_dense_of_its_own_would():
    """Glorot's sqrt(2 / (D + H)), not that of one [E, D, H] kernel; 2048 uniform values fix it to 1 %, tolerance six sigma."""
    layer = SharedMoE(4, 64)
    layer.build((None, None, 32))
    for expert in layer.experts:
        for kernel in (expert.kernel_in, expert.kernel_out):
            np.testing.assert_allclose(np.std(kernel), np.sqrt(2 / 96), rtol=0.06)
            assert np.max(np.abs(kernel)) <= np.sqrt(6 / 96)
        assert not np.any(expert.bias_in) and not np.any(expert.bias_out)
    kernels = [np.asarray(expert.kernel_in) for expert in layer.experts]
    for i in range(4):
        for j in range(i):
            # Independent draws are not correlated: 2048 values give 0 with a standard deviation of 0.022.
            assert abs(np.corrcoef(kernels[i].ravel(), kernels[j].ravel())[0, 1]) < 0.12


def test_initializer_reaches_every_kernel():
    layer = SharedMoE(2, 64, kernel_initializer=tf.keras.initializers.TruncatedNormal(stddev=0.02))
    layer.build((None, None, 32))
    kernels = [layer.router.kernel, *(k for e in layer.experts for k in (e.kernel_in, e.kernel_out))]
    for kernel in kernels:
        assert 0.01 < np.std(kernel) < 0.025 and np.max(np.abs(kernel)) <= 0.04
    assert np.max(np.abs(kernels[1] - kernels[3])) > 0.01


def test_weights_are_separate_two_dimensional_variables():
    layer = built(3)
    shapes = [(WIDTH, 3)] + 3 * [(WIDTH, HIDDEN), (HIDDEN,), (HIDDEN, WIDTH), (WIDTH,)]
    assert [tuple(weight.shape) for weight in layer.weights] == shapes
    assert len({weight.name for weight in layer.weights}) == len(shapes)
    for e, expert in enumerate(layer.experts):
        assert f"expert_{e}/kernel_in" in expert.kernel_in.name
