"""The bank of layer norms: against Keras, by hand, and really one a block."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf

from tests.graphs import graph_def_of, xla_calls
from tests.widenet import reference
from widenet import IndividualLayerNorm, fast_path


def tokens(dtype=np.float32):
    return np.random.default_rng(0).normal(loc=3, scale=2, size=(2, 5, 8)).astype(dtype)


def built(depth, randomized=True, **kwargs):
    norm = IndividualLayerNorm(depth, **kwargs)
    norm.build((None, None, 8))
    if randomized:
        reference.randomize(norm)
    return norm


@pytest.mark.parametrize("epsilon", [1e-6, 1e-12, 0.1])
def test_every_block_equals_a_keras_layer_norm(epsilon):
    norm = built(3, epsilon=epsilon)
    for block in range(3):
        keras = tf.keras.layers.LayerNormalization(epsilon=epsilon)
        keras.build((None, None, 8))
        keras.set_weights([norm.gamma[block], norm.beta[block]])
        np.testing.assert_allclose(norm(tokens(), block), keras(tokens()), atol=1e-5)


def test_by_hand():
    """(0, 2) has mean 1 and variance 1; with epsilon 3 it becomes (-1/2, 1/2), then times gamma (2, 4) plus beta (1, 10)."""
    norm = IndividualLayerNorm(2, epsilon=3)
    norm.build((None, 2))
    norm.set_weights([np.array([[1, 1], [2, 4]]), np.array([[0, 0], [1, 10]])])
    np.testing.assert_allclose(norm(tf.constant([[0.0, 2.0]]), 0), [[-0.5, 0.5]], atol=1e-6)
    np.testing.assert_allclose(norm(tf.constant([[0.0, 2.0]]), 1), [[0, 12]], atol=1e-6)


def test_starts_as_the_plain_normalization():
    norm = built(2, randomized=False)
    np.testing.assert_array_equal(norm.gamma, np.ones((2, 8)))
    np.testing.assert_array_equal(norm.beta, np.zeros((2, 8)))
    np.testing.assert_allclose(np.mean(norm(tokens(), 1), axis=-1), np.zeros((2, 5)), atol=1e-6)
    np.testing.assert_allclose(np.std(norm(tokens(), 1), axis=-1), np.ones((2, 5)), atol=1e-5)


@pytest.mark.parametrize("which", ["gamma", "beta"])
@pytest.mark.parametrize("block", range(3))
def test_a_change_of_one_block_moves_only_that_block(which, block):
    norm = built(3)
    before = [norm(tokens(), i).numpy() for i in range(3)]
    variable = getattr(norm, which)
    variable.assign(variable.numpy() + np.eye(3, dtype=np.float32)[:, block : block + 1])
    moved = [i for i in range(3) if np.any(norm(tokens(), i).numpy() != before[i])]
    assert moved == [block]


def test_gradient_of_one_block_reaches_only_its_row():
    norm = built(3)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(norm(tokens(), 1) ** 2)
    for gradient in tape.gradient(total, [norm.gamma, norm.beta]):
        rows = np.any(tf.convert_to_tensor(gradient).numpy() != 0, axis=-1)
        np.testing.assert_array_equal(rows, [False, True, False])


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-12), ("float32", 2e-5), ("mixed_bfloat16", 2e-2)])
def test_the_compiled_norm_and_its_gradients_equal_the_plain_one_in_float64(dtype, tolerance, monkeypatch):
    """Value and gradients of input, gamma and beta, to the accuracy of each precision; bfloat16 has 8 bits."""
    monkeypatch.setattr(fast_path, "COMPILED_ELEMENTS", 0)
    exact = built(3, dtype="float64")
    upstream = np.random.default_rng(1).normal(size=tokens().shape)

    def results(norm, scope):
        x = tf.constant(tokens(), norm.compute_dtype)

        @tf.function
        def run(x):
            with tf.GradientTape() as tape, scope():
                tape.watch(x)
                y = norm(x, 1)
                total = tf.reduce_sum(tf.cast(y, tf.float64) * upstream)
            return y, *map(tf.convert_to_tensor, tape.gradient(total, [x, norm.gamma, norm.beta]))

        return [np.asarray(tf.cast(result, tf.float64)) for result in run(x)]

    norm = built(3, dtype=dtype)
    assert xla_calls(graph_def_of(lambda x: in_scope(norm, x), tf.constant(tokens())))
    for own, expected in zip(results(norm, fast_path.xla_elementwise), results(exact, contextlib.nullcontext), strict=True):
        np.testing.assert_allclose(own, expected, atol=tolerance * np.abs(expected).max())


def in_scope(norm, x):
    with fast_path.xla_elementwise():
        return norm(tf.cast(x, norm.compute_dtype), 1)


def test_the_compiled_norm_has_second_derivatives(monkeypatch):
    """Of a function of the gradient, against the plain norm's, in float64."""
    monkeypatch.setattr(fast_path, "COMPILED_ELEMENTS", 0)
    norm = built(1, dtype="float64")

    def second(is_compiled):
        x = tf.constant(tokens(), tf.float64)
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as tape, fast_path.xla_elementwise(is_compiled):
                tape.watch(x)
                total = tf.reduce_sum(norm(x, 0) ** 3)
            penalty = tf.reduce_sum(tape.gradient(total, x) ** 2)
        return outer.gradient(penalty, [x, norm.gamma])

    for own, expected in zip(second(True), second(False), strict=True):
        np.testing.assert_allclose(tf.convert_to_tensor(own), tf.convert_to_tensor(expected), rtol=1e-9, atol=1e-9)


def test_depth_one_is_a_shared_norm():
    norm = built(1)
    keras = tf.keras.layers.LayerNormalization(epsilon=1e-6)
    keras.build((None, None, 8))
    keras.set_weights([norm.gamma[0], norm.beta[0]])
    assert [tuple(weight.shape) for weight in norm.weights] == [(1, 8), (1, 8)]
    np.testing.assert_allclose(norm(tokens(), 0), keras(tokens()), atol=1e-5)


@pytest.mark.parametrize("block", [3, -1, 1.0, "1", None, True])
def test_refuses_a_block_outside_the_bank(block):
    norm = built(3)
    with pytest.raises(ValueError, match=rf"block={block!r}.*from 0 to 2"):
        norm(tokens(), block)


def test_float64_is_computed_in_float64():
    norm = built(2, dtype="float64")
    x = tokens(np.float64)
    expected = reference.layer_norm(x, reference.weight(norm.gamma)[1], reference.weight(norm.beta)[1], 1e-6)
    assert norm(x, 1).dtype == norm.gamma.dtype == tf.float64
    np.testing.assert_allclose(norm(x, 1), expected, atol=1e-12)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "bfloat16", "mixed_float16"])
def test_statistics_are_float32_under_low_precision(dtype):
    """512 values 256, 258, 260, ..., all exact in bfloat16, whose sum and squares are not (nor finite in float16).

    Only the result is rounded: relative 2**-8 in bfloat16, of values up to 1.8.
    """
    x = np.tile(np.arange(256.0, 512.0, 2), 4)[None]
    norm = IndividualLayerNorm(1, dtype=dtype)
    y = norm(tf.cast(x, norm.compute_dtype), 0)
    assert y.dtype == norm.compute_dtype
    expected = reference.layer_norm(x, 1.0, 0.0, 1e-6)
    np.testing.assert_allclose(tf.cast(y, tf.float64), expected, atol=1.8 * 2**-8)


def test_gamma_is_not_rounded_under_mixed_precision():
    """(-1, 1) times gamma 1 + 2**-9 plus beta (1, -1) leaves (-2**-9, 2**-9), zero had gamma been rounded to bfloat16."""
    norm = IndividualLayerNorm(1, epsilon=1e-12, dtype="mixed_bfloat16")
    norm.build((None, 2))
    norm.set_weights([np.full((1, 2), 1 + 2**-9), np.array([[1, -1]])])
    y = norm(tf.constant([[-1, 1]], tf.bfloat16), 0)
    np.testing.assert_allclose(tf.cast(y, tf.float32), [[-(2**-9), 2**-9]], rtol=0.01)
    assert norm.gamma.dtype == tf.float32
