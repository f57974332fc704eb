"""Activations against the formulas they are named after."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.graphs import graph_def_of
from tests.widenet import reference
from widenet import Encoder, FeedForward, fast_path
from widenet.feed_forward import ACTIVATIONS, get_activation

X = np.linspace(-4, 4, 33)

FORMULAS = {
    "gelu": reference.gelu,
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "linear": lambda x: x,
}


def test_every_activation_has_a_formula_here():
    assert set(ACTIVATIONS) == set(FORMULAS)


@pytest.mark.parametrize("name", FORMULAS)
def test_formula(name):
    # Float64, but TensorFlow rounds a constant of its approximate GELU to float32: 1e-8. The two GELUs differ by up to 5e-4.
    np.testing.assert_allclose(get_activation(name)(X), FORMULAS[name](X), atol=1e-7 if name == "gelu_tanh" else 1e-14)


def test_exact_gelu_is_not_the_tanh_one():
    assert np.max(np.abs(get_activation("gelu")(X) - get_activation("gelu_tanh")(X))) > 1e-4


@pytest.mark.parametrize("dtype, atol", [("float32", 2e-7), ("float64", 1e-15)])
@pytest.mark.parametrize("is_compiled", [False, True])
def test_the_exact_gelu_and_its_gradient_far_from_zero(monkeypatch, dtype, atol, is_compiled):
    """Errors relative to max(1, |x|). The reference does not cancel: for x < 0 it is computed by erfc."""
    monkeypatch.setattr(fast_path, "COMPILED_ELEMENTS", 0)
    x = tf.constant(np.linspace(-20, 20, 4001), dtype)
    exact = x.numpy().astype(np.float64)
    phi = np.vectorize(math.erfc)(-exact / math.sqrt(2)) / 2
    with fast_path.xla_elementwise(is_compiled), tf.GradientTape() as tape:
        tape.watch(x)
        y = get_activation("gelu")(x)
    scale = np.maximum(1, np.abs(exact))
    assert np.max(np.abs(y - exact * phi) / scale) < atol
    assert np.max(np.abs(tape.gradient(y, x) - phi - exact * np.exp(-(exact**2) / 2) / math.sqrt(2 * math.pi))) < atol


@pytest.mark.parametrize("name", FORMULAS)
def test_graphs_have_only_operations_that_onnx_knows(name):
    """Such as Erf, and not Erfc, which newer TensorFlows make of tf.nn.gelu."""
    operations = {node.op for node in graph_def_of(get_activation(name), tf.TensorSpec([None, 3])).node}
    assert not operations & {"Erfc", "Ndtri", "PartitionedCall", "StatefulPartitionedCall"}


@tf.keras.saving.register_keras_serializable(package="tests")
def cubed(x):
    return x**3


@pytest.mark.parametrize(
    "function, name",
    [(tf.nn.relu, "relu"), (tf.nn.gelu, "gelu"), (tf.keras.activations.swish, "silu"), (tf.nn.tanh, "tanh")],
)
def test_functions_of_tensorflow_have_names(function, name):
    """So they are compiled and saved like these."""
    layer = FeedForward(4, activation=function)
    assert layer.get_config()["activation"] == name
    x = tf.constant([-2.0, -0.5, 0.0, 1.5])
    np.testing.assert_allclose(get_activation(function)(x), function(x), atol=1e-6)


def test_a_function_of_the_user():
    """Used everywhere, and saved by its registered name."""
    encoder = Encoder(depth=2, width=4, heads=1, ffn_dim=4, num_experts=2, activation=cubed)
    assert encoder.get_config()["activation"] == "tests>cubed"
    again = Encoder.from_config(encoder.get_config())
    x = tf.random.stateless_normal([2, 3, 4], (0, 1))
    expected = encoder(x)
    again(x)
    again.set_weights(encoder.get_weights())
    np.testing.assert_array_equal(again(x), expected)
    by_name = Encoder(depth=2, width=4, heads=1, ffn_dim=4, num_experts=2, activation="linear")
    by_name(x)
    by_name.set_weights(encoder.get_weights())
    assert np.abs(by_name(x) - expected).max() > 1e-3


def test_a_function_that_cannot_be_saved():
    layer = FeedForward(4, activation=lambda x: x**3)
    np.testing.assert_array_equal(layer._activation(tf.constant([2.0])), [8.0])
    with pytest.raises(ValueError, match=r"^activation=<function .*> cannot be saved: it must be registered with"):
        layer.get_config()
