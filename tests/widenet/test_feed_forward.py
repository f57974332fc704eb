"""The feed-forward layer against two tf.keras.layers.Dense."""

import numpy as np
import pytest
import tensorflow as tf

from tests.widenet import reference
from widenet import FeedForward
from widenet.feed_forward import ACTIVATIONS


def tokens(dtype=np.float32):
    return np.random.default_rng(0).normal(size=(2, 5, 8)).astype(dtype)


def built(hidden_dim=6, **kwargs):
    layer = FeedForward(hidden_dim, **kwargs)
    layer.build((None, None, 8))
    reference.randomize(layer)
    return layer


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_equals_two_keras_dense_layers(activation):
    layer = built(activation=activation)
    first = tf.keras.layers.Dense(6, activation=ACTIVATIONS[activation])
    second = tf.keras.layers.Dense(8)
    keras = tf.keras.Sequential([first, second])
    keras.build((None, None, 8))
    keras.set_weights([layer.kernel_in, layer.bias_in, layer.kernel_out, layer.bias_out])
    np.testing.assert_allclose(layer(tokens()), keras(tokens()), atol=1e-5)


def test_against_numpy_in_float64():
    layer = built(dtype="float64")
    np.testing.assert_allclose(layer(tokens(np.float64)), reference.feed_forward(layer, tokens(np.float64)), atol=1e-12)


@pytest.mark.parametrize("shape", [(8,), (3, 8), (0, 8), (2, 0, 8), (2, 3, 4, 8)])
def test_any_number_of_leading_axes(shape):
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    y = built()(x)
    assert y.shape == shape
    np.testing.assert_allclose(y, reference.feed_forward(built(), x), atol=1e-5)


def test_dropout_after_the_activation_and_after_the_second_dense():
    """With the identity for kernels, an output is dropped at either place: kept 1/4 of the time and then scaled by 4."""
    layer = FeedForward(200, activation="linear", dropout=0.5)
    layer.build((None, 200))
    layer.set_weights([np.eye(200), np.zeros(200), np.eye(200), np.zeros(200)])
    y = layer(tf.ones([20, 200]), training=True).numpy()
    assert set(np.unique(y)) == {0.0, 4.0}
    assert abs(np.mean(y == 4) - 0.25) < 0.04  # 4000 entries: standard deviation 0.007
    np.testing.assert_array_equal(layer(tf.ones([20, 200])), np.ones((20, 200)))


def test_starts_as_two_dense_layers_would():
    """Glorot's sqrt(2 / (D + H)), which 2048 uniform values fix to 1 %; the tolerance is six times that. Biases are zero."""
    layer = FeedForward(64)
    layer.build((None, 32))
    for kernel in (layer.kernel_in, layer.kernel_out):
        np.testing.assert_allclose(np.std(kernel), np.sqrt(2 / 96), rtol=0.06)
        assert np.max(np.abs(kernel)) <= np.sqrt(6 / 96)
    assert not np.any(layer.bias_in) and not np.any(layer.bias_out)
    assert np.max(np.abs(layer.kernel_in - tf.transpose(layer.kernel_out))) > 0.01
