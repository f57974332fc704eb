"""The router layer: precision, noise and the balance loss it adds."""

import numpy as np
import pytest
import tensorflow as tf

from tests.widenet import reference
from widenet import Router, SharedMoE
from widenet.routing import balance_loss, jitter, router_z_loss


def tokens(shape=(2, 6, 8), seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("top_k", [1, 2, 3])
@pytest.mark.parametrize("renormalize", [False, True])
def test_routing_against_a_loop(top_k, renormalize):
    router = Router(3, top_k=top_k, renormalize=renormalize)
    routing = router(tokens())
    expected = reference.route(tokens().reshape(-1, 8), reference.weight(router.kernel), top_k, renormalize)
    assert routing.gates.shape == routing.experts.shape == (2, 6, top_k)
    assert routing.probabilities.shape == (2, 6, 3)
    for got, want in zip(routing, expected, strict=True):
        np.testing.assert_allclose(tf.reshape(got, [12, -1]), want, atol=1e-6)


def test_router_has_a_kernel_and_no_bias():
    router = Router(3)
    router(tokens())
    assert [tuple(weight.shape) for weight in router.weights] == [(8, 3)]
    np.testing.assert_allclose(router(tf.zeros([1, 1, 8])).probabilities, np.full((1, 1, 3), 1 / 3), atol=1e-7)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "mixed_bfloat16", "mixed_float16", "float32", tf.bfloat16])
@pytest.mark.parametrize("how", ["argument", "policy object", "global policy"])
def test_never_below_float32(dtype, how):
    """Weights and results; the kernel is not rounded to low precision on its way either: 1e-6 against the exact softmax."""
    kwargs = {"dtype": dtype}
    if how != "argument":
        policy = tf.keras.mixed_precision.Policy(tf.as_dtype(dtype).name if isinstance(dtype, tf.DType) else dtype)
        kwargs["dtype"] = policy
        if how == "global policy":
            tf.keras.mixed_precision.set_global_policy(policy)
            kwargs = {}
    router = Router(3, noise=False, **kwargs)
    x = tokens()
    routing = router(x, training=True)
    assert router.kernel.dtype == routing.gates.dtype == routing.probabilities.dtype == tf.float32
    assert router.losses[0].dtype == tf.float32
    expected = reference.route(x.reshape(-1, 8), reference.weight(router.kernel), 2)
    np.testing.assert_allclose(tf.reshape(routing.probabilities, [-1, 3]), expected.probabilities, atol=1e-6)
    np.testing.assert_allclose(tf.reshape(routing.gates, [-1, 2]), expected.gates, atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "mixed_bfloat16"])
def test_never_below_float32_inside_an_moe(dtype):
    """The tokens are rounded to the layer's dtype, the router's arithmetic on them is not."""
    layer = SharedMoE(3, 4, dtype=dtype)
    x = tf.cast(tokens(), layer.compute_dtype)
    routing = layer.route(x)
    assert layer.router.kernel.dtype == routing.gates.dtype == tf.float32
    x = tf.cast(x, tf.float64).numpy().reshape(-1, 8)
    expected = reference.route(x, reference.weight(layer.router.kernel), 2)
    np.testing.assert_allclose(tf.reshape(routing.probabilities, [-1, 3]), expected.probabilities, atol=1e-6)
    assert layer(tf.cast(tokens(), layer.compute_dtype)).dtype == layer.compute_dtype


def test_float64():
    """Under float64 the router computes in float64: float32 would be off by some 1e-8."""
    for make in (lambda: Router(3, dtype="float64"), lambda: SharedMoE(3, 4, dtype="float64").router):
        router = make()
        routing = router(tokens(dtype=np.float64))
        assert router.kernel.dtype == routing.gates.dtype == routing.probabilities.dtype == tf.float64
        expected = reference.route(tokens(dtype=np.float64).reshape(-1, 8), reference.weight(router.kernel), 2)
        np.testing.assert_allclose(tf.reshape(routing.probabilities, [-1, 3]), expected.probabilities, atol=1e-14)
    tf.keras.mixed_precision.set_global_policy("float64")
    assert Router(3)(tokens(dtype=np.float64)).gates.dtype == tf.float64


def training_noise(num_experts, count=20000, **kwargs):
    """The noise on the logits, read off as log P (up to a constant a token) of a router whose own logits are zero."""
    router = Router(num_experts, top_k=1, kernel_initializer="zeros", **kwargs)
    return np.log(router(tf.ones([count, 2]), training=True).probabilities.numpy().astype(np.float64))


@pytest.mark.parametrize("num_experts", [2, 4, 8])
def test_noise_is_normal_with_standard_deviation_one_over_the_number_of_experts(num_experts):
    """20000 differences of two experts' noises, each of variance 2 / E^2.

    Their standard deviation is known to 0.5 % (one sigma), their mean to 0.7 % of it, their kurtosis (3 for a normal
    distribution, 2.4 for the difference of two uniform ones) to 0.035: tolerances are about six sigma.
    """
    noise = training_noise(num_experts)
    difference = noise[:, 0] - noise[:, 1]
    sigma = np.sqrt(2) / num_experts
    np.testing.assert_allclose(np.std(difference), sigma, rtol=0.03)
    assert abs(np.mean(difference)) < 0.045 * sigma
    assert abs(np.mean(difference**4) / np.var(difference) ** 2 - 3) < 0.25


def test_noise_differs_between_calls_tokens_and_experts():
    router = Router(4, top_k=2)
    first, second = (router(tf.ones([5, 8]), training=True).probabilities.numpy() for _ in range(2))
    assert len(np.unique(first)) == len(np.unique(np.concatenate([first, second]))) / 2 == 20


def test_no_noise_outside_training():
    router = Router(4)
    without = Router(4, noise=False)
    x = tokens()
    without.build(x.shape)
    without.set_weights([np.ones((8, 4)) * [1, 2, 3, 4]])
    router.build(x.shape)
    router.set_weights(without.get_weights())
    for training in (None, False):
        np.testing.assert_array_equal(router(x, training=training).probabilities, without(x).probabilities)
    np.testing.assert_array_equal(without(x, training=True).probabilities, without(x).probabilities)
    assert np.max(np.abs(router(x, training=True).probabilities - without(x).probabilities)) > 1e-3


def test_noise_is_in_gates_choices_and_balance_loss():
    """All three belong to the same noisy softmax, which a second call without noise does not give."""
    router = Router(4, top_k=2, balance_weight=0.5)
    x = tokens((50, 8))
    routing = router(x, training=True)
    (loss,) = router.losses
    probabilities, experts = reference.weight(routing.probabilities), routing.experts.numpy()
    np.testing.assert_array_equal(routing.gates, np.take_along_axis(routing.probabilities.numpy(), experts, axis=-1))
    np.testing.assert_array_equal(routing.gates[:, 0], np.max(routing.probabilities, axis=-1))
    np.testing.assert_allclose(loss, 0.5 * reference.balance_loss(probabilities, experts), rtol=1e-5)
    silent = router(x)
    assert np.max(np.abs(silent.probabilities - probabilities)) > 0.01
    assert np.any(silent.experts.numpy() != experts)
    assert abs(loss - 0.5 * balance_loss(silent.probabilities, silent.experts)) > 1e-4


@pytest.mark.parametrize("balance_weight", [0.01, 1.0, 3])
@pytest.mark.parametrize("masked", [False, True])
def test_balance_loss_is_added_in_training_only(balance_weight, masked):
    router = Router(3, noise=False, balance_weight=balance_weight)
    x = tokens()
    mask = np.random.default_rng(1).random((2, 6)) < 0.5 if masked else None
    routing = router(x, mask=mask, training=True)
    (loss,) = router.losses
    flat_mask = None if mask is None else mask.reshape(-1)
    probabilities = reference.weight(routing.probabilities).reshape(-1, 3)
    expected = reference.balance_loss(probabilities, routing.experts.numpy().reshape(-1, 2), flat_mask)
    np.testing.assert_allclose(loss, balance_weight * expected, rtol=1e-5)
    for training in (None, False):
        router(x, mask=mask, training=training)
        assert router.losses == []


@pytest.mark.parametrize("masked", [False, True])
def test_z_loss_is_added_in_training_only(masked):
    """Beside the balance loss, weighted, of the logits of real tokens."""
    router = Router(3, noise=False, balance_weight=0.01, z_loss_weight=0.5)
    x = tokens()
    mask = np.random.default_rng(1).random((2, 6)) < 0.5 if masked else None
    router(x, mask=mask, training=True)
    logits = x.reshape(-1, 8).astype(np.float64) @ reference.weight(router.kernel)
    logits = logits if mask is None else logits[mask.reshape(-1)]
    expected = 0.5 * np.mean(np.log(np.sum(np.exp(logits), axis=-1)) ** 2)
    _, z_loss = router.losses
    np.testing.assert_allclose(z_loss, expected, rtol=1e-5)  # float32 against float64
    router(x, mask=mask, training=False)
    assert router.losses == []


def test_z_loss_sees_the_noise_and_is_off_by_default():
    router = Router(3, balance_weight=0, z_loss_weight=1.0)
    router(tokens(), training=True)
    quiet = router_z_loss(tf.constant(tokens()) @ router.kernel)
    assert abs(float(router.losses[0]) - float(quiet)) > 1e-4
    router = Router(3, balance_weight=0)
    router(tokens(), training=True)
    assert router.losses == []


def test_no_balance_term_for_a_weight_of_zero():
    router = Router(3, balance_weight=0)
    router(tokens(), training=True)
    assert router.losses == []


def test_gradient_of_gates_and_balance_loss_reaches_the_kernel():
    router = Router(3, noise=False)
    with tf.GradientTape(persistent=True) as tape:
        routing = router(tokens(), training=True)
        gates, balance = tf.reduce_sum(routing.gates), router.losses[0]
    for target in (gates, balance):
        assert np.any(tape.gradient(target, router.kernel).numpy() != 0)


def test_jitter_is_uniform_and_in_training_only():
    """Inputs of 2 become uniform in [1.5, 2.5]: mean 2, deviation 1/sqrt(12), six sigma of 20000 draws. 0 adds no operation."""
    x = jitter(tf.fill([20000], 2.0), 0.25).numpy()
    assert 1.5 <= x.min() < 1.51 and 2.49 < x.max() <= 2.5
    np.testing.assert_allclose([x.mean(), x.std()], [2, 12**-0.5], atol=0.0125)
    for amount in (0.0, 0.25):
        router = Router(3, noise=False, jitter=amount)
        first, second = (router(tokens(), training=True).probabilities for _ in range(2))
        assert bool(tf.reduce_all(first == second)) == (amount == 0)
        tf.debugging.assert_equal(router(tokens()).probabilities, router(tokens()).probabilities)
        graph = tf.function(lambda x: router(x, training=True)).get_concrete_function(tokens()).graph  # noqa: B023
        assert any("Random" in operation.type for operation in graph.get_operations()) == (amount > 0)
