"""Regularizers of kernels: their terms in `losses` against NumPy, once for each kernel, and refused values."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.widenet import reference
from widenet import Deployment, Encoder, FeedForward, Router, SelfAttention, SharedMoE

WIDTH = 8
MOE = dict(num_experts=3, noise=False, balance_weight=0.0)
BOTH = Deployment(moe_blocks=(1, 2), attention_groups=2)
L1, L2 = 0.01, 0.125

# A layer, and its number of kernels by hand.
CASES = {
    "router": (lambda **r: Router(**MOE, **r), 1),
    "attention": (lambda **r: SelfAttention(WIDTH, 2, **r), 4),
    "feed_forward": (lambda **r: FeedForward(6, **r), 2),
    "moe": (lambda **r: SharedMoE(hidden_dim=6, **MOE, **r), 1 + 3 * 2),
    # Three blocks: two attentions, one dense layer and one MoE layer, of which two blocks have the weights.
    "encoder": (lambda **r: Encoder(3, WIDTH, 2, 6, deployment=BOTH, moe=MOE, **r), 2 * 4 + 2 + 1 + 3 * 2),
}


def penalties(weights):
    """The sum over the kernels among the weights, in float64."""
    kernels = [np.float64(weight.numpy()) for weight in weights if "kernel" in weight.name]
    return sum(np.sum(L1 * np.abs(kernel) + L2 * kernel**2) for kernel in kernels)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_terms_of_the_kernels(name, dtype):
    """Of float32 weights and not of their copies in bfloat16; in training and outside, after any number of calls."""
    make, kernels = CASES[name]
    layer = make(kernel_regularizer=tf.keras.regularizers.L1L2(L1, L2), dtype=dtype)
    x = tf.cast(np.random.default_rng(0).normal(size=(2, 5, WIDTH)), layer.compute_dtype)
    layer(x)
    reference.randomize(layer, scale=0.3)
    for training in (False, True):
        layer(x, training=training)
        terms = [term for term in layer.losses if term != 0]  # the balance loss has the weight 0
        assert len(terms) == kernels
        np.testing.assert_allclose(tf.add_n([tf.cast(term, tf.float64) for term in terms]), penalties(layer.weights), rtol=1e-6)
    assert make().kernel_regularizer is None


def test_gradients_of_a_kernel_that_blocks_share():
    """That of its one term, beside that of the outputs: 2 L2 k + L1 sign(k)."""
    layers = [CASES["encoder"][0](kernel_regularizer=regularizer) for regularizer in (None, tf.keras.regularizers.L1L2(L1, L2))]
    x = np.random.default_rng(0).normal(size=(2, 5, WIDTH)).astype(np.float32)
    gradients = []
    for layer in layers:
        layer(x)
        reference.randomize(layer, scale=0.3)
        layer.set_weights(layers[0].get_weights())
        kernel = layer.moe_layers[0].experts[0].kernel_in
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(layer(x, training=True) ** 2) + sum(layer.losses)
        gradients.append(tf.convert_to_tensor(tape.gradient(total, kernel)))
    kernel = kernel.numpy()
    np.testing.assert_allclose(gradients[1] - gradients[0], 2 * L2 * kernel + L1 * np.sign(kernel), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "given",
    ["l2", {"class_name": "L2", "config": {"l2": 0.01}}, tf.keras.regularizers.L2(0.01)],
    ids=["name", "config", "instance"],
)
def test_by_name_config_or_instance(given):
    """All say the same, and the config is plain JSON."""
    layer = Encoder(1, WIDTH, 2, 6, kernel_regularizer=given)
    config = json.loads(json.dumps(layer.get_config()))
    assert config["kernel_regularizer"]["config"] == {"l2": pytest.approx(0.01)}
    again = Encoder.from_config(config)
    assert again.get_config() == layer.get_config()
    assert isinstance(again.moe_layers[0].experts[0].kernel_regularizer, tf.keras.regularizers.L2)


@pytest.mark.parametrize("layer", [make for make, _ in CASES.values()], ids=CASES)
@pytest.mark.parametrize("wrong", ["l3", 0.1, {"class_name": "NoSuch", "config": {}}, tf.abs, tf.keras.initializers.Zeros()])
def test_refused(layer, wrong):
    with pytest.raises(ValueError, match=r"^kernel_regularizer=.* is not allowed: it must be a Keras regularizer, such as "):
        layer(kernel_regularizer=wrong)
