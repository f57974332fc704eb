"""Self-attention against tf.keras.layers.MultiHeadAttention and a loop over heads."""

import numpy as np
import pytest
import tensorflow as tf

from tests.widenet import reference
from widenet import SelfAttention

MASK = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [0, 1, 0, 1, 1]], bool)


def tokens(dtype=np.float32):
    return np.random.default_rng(0).normal(size=(3, 5, 12)).astype(dtype)


def built(width=12, heads=3, **kwargs):
    layer = SelfAttention(width, heads, **kwargs)
    layer.build((None, None, width))
    reference.randomize(layer)
    return layer


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("heads", [1, 3, 12])
def test_equals_keras(heads, masked):
    """Same weights, split over the heads as Keras keeps them."""
    layer = built(heads=heads)
    keras = tf.keras.layers.MultiHeadAttention(heads, 12 // heads)
    keras(tokens(), tokens())
    weights = []
    for dense in (layer.query, layer.key, layer.value):
        weights += [np.reshape(dense.kernel, (12, heads, -1)), np.reshape(dense.bias, (heads, -1))]
    weights += [np.reshape(layer.output_dense.kernel, (heads, -1, 12)), layer.output_dense.bias]
    keras.set_weights(weights)
    mask = MASK if masked else None
    expected = keras(tokens(), tokens(), attention_mask=MASK[:, np.newaxis] if masked else None)
    np.testing.assert_allclose(layer(tokens(), mask=mask), expected, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_against_a_loop_in_float64(masked):
    layer = built(dtype="float64")
    mask = MASK if masked else None
    expected = reference.attention(layer, tokens(np.float64), mask)
    np.testing.assert_allclose(layer(tokens(np.float64), mask=mask), expected, atol=1e-12)


def test_padding_changes_nothing_for_real_tokens():
    """Neither what stands in the padding nor how much there is."""
    layer = built()
    short = layer(tokens()[:, :3])
    mask = np.zeros((3, 5), bool)
    mask[:, :3] = True
    for value in (0.0, 1e4):
        padded = tokens()
        padded[:, 3:] = value
        np.testing.assert_allclose(layer(padded, mask=mask)[:, :3], short, atol=1e-5)


def test_all_real_mask_is_no_mask():
    layer = built()
    np.testing.assert_allclose(layer(tokens(), mask=np.ones((3, 5), bool)), layer(tokens()), atol=1e-6)


def test_mask_that_keras_carries_with_the_tokens():
    layer, embedding = built(), tf.keras.layers.Embedding(7, 12, mask_zero=True)
    ids = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 1, 2]])
    x = embedding(ids)
    np.testing.assert_allclose(layer(x), layer(x.numpy(), mask=ids > 0), atol=1e-6)
    assert np.max(np.abs(layer(x) - layer(x.numpy()))) > 1e-3


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "float16"])
def test_example_without_a_real_token_gives_numbers(dtype):
    layer = built(dtype=dtype)
    x, mask = tf.cast(tokens(), layer.compute_dtype), np.zeros((3, 5), bool)
    with tf.GradientTape() as tape:
        y = layer(x, mask=mask)
    assert np.all(np.isfinite(tf.cast(y, tf.float32)))
    for gradient in tape.gradient(y, layer.trainable_weights):
        assert np.all(np.isfinite(tf.cast(gradient, tf.float32)))


def test_permuting_tokens_permutes_the_output():
    layer, order = built(), [3, 1, 4, 0, 2]
    np.testing.assert_allclose(layer(tokens()[:, order]), layer(tokens()).numpy()[:, order], atol=1e-5)


@pytest.mark.parametrize("rate", ["dropout", "attention_dropout"])
def test_dropouts_are_on_in_training_only(rate):
    layer = built(**{rate: 0.5})
    plain = built()
    np.testing.assert_array_equal(layer(tokens()), plain(tokens()))
    np.testing.assert_array_equal(layer(tokens(), training=False), plain(tokens()))
    assert np.max(np.abs(layer(tokens(), training=True) - plain(tokens()))) > 0.01


def test_output_dropout_drops_entries_and_scales_the_rest():
    layer, plain = built(dropout=0.75), built()
    ratio = (layer(tokens(), training=True) / plain(tokens())).numpy()
    np.testing.assert_allclose(np.where(ratio == 0, 4, ratio), np.full(ratio.shape, 4), rtol=1e-4)
    assert 0.1 < np.mean(ratio != 0) < 0.45  # 180 entries: 0.25 with a standard deviation of 0.03


def test_kernels_start_with_the_glorot_deviation_of_a_dense_layer():
    """Glorot's sqrt(2 / (D + D)); 1024 uniform values fix it to 1.4 %, the tolerance is some six times that."""
    layer = SelfAttention(32, 4)
    layer.build((None, None, 32))
    kernels = [layer.query.kernel, layer.key.kernel, layer.value.kernel, layer.output_dense.kernel]
    for kernel in kernels:
        np.testing.assert_allclose(np.std(kernel), np.sqrt(2 / 64), rtol=0.08)
    for i in range(4):
        for j in range(i):
            assert np.max(np.abs(kernels[i] - kernels[j])) > 0.01


def test_refuses_an_input_of_another_width():
    with pytest.raises(ValueError, match="width=12.*10, the last axis"):
        SelfAttention(12, 3)(tf.zeros([2, 5, 10]))
