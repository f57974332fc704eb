"""Random draws that follow from (seed, step, replica, number of the draw), and those of TensorFlow's generator elsewhere."""

import copy

import numpy as np
import pytest
import tensorflow as tf

from widenet import Encoder, Model
from widenet.draws import Dropout, normal, seeded, uniform
from widenet.fast_path import CONTEXT, setting

ONES = tf.ones([64, 32])


def draw(seed=1, step=2, calls=1):
    """What the last of some calls of a dropout gives, as bytes."""
    layer = Dropout(0.5)
    with seeded(seed, step):
        for _ in range(calls):
            drawn = layer(ONES, training=True)
    return drawn.numpy().tobytes()


def test_each_draw_is_another():
    """Of seeds, steps and calls; the same of the same, whatever was drawn before, also as a variable and in a graph."""
    expected = draw()
    tf.random.normal([3])
    others = [draw(seed=2), draw(step=3), draw(calls=2), draw(seed=2, step=1), draw(calls=3)]
    assert len({expected, *others}) == 6
    step = tf.Variable(2, dtype=tf.int64)
    assert draw() == draw(step=step) == expected
    layer = Dropout(0.5)

    @tf.function
    def twice():
        with seeded(1, step):
            return layer(ONES, training=True), layer(ONES, training=True)

    assert [drawn.numpy().tobytes() for drawn in twice()] == [expected, others[2]]
    step.assign(3)
    assert twice()[0].numpy().tobytes() == others[1]


def test_replicas_differ():
    """Each of two replicas draws for itself, the first one what a single one would draw."""
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    layer = Dropout(0.5)

    @tf.function
    def step():
        def replica():
            with seeded(1, 2):
                return layer(ONES, training=True)

        return strategy.run(replica)

    first, second = (drawn.numpy().tobytes() for drawn in strategy.experimental_local_results(step()))
    assert first == draw() != second


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_rate_and_scale(dtype, rate):
    """The share of zeros within four standard errors, and what is kept divided by 1 - rate, rounded to the dtype.

    1e-5: the rate is a 2^16th.
    """
    x = tf.fill([400, 500], tf.cast(3, dtype))
    with seeded(0, 0):
        dropped = Dropout(rate, dtype=dtype)(x, training=True).numpy().astype(np.float64)
    share = np.mean(dropped == 0)
    assert abs(share - rate) < 4 * np.sqrt(rate * (1 - rate) / dropped.size)
    kept = dropped[dropped != 0]
    np.testing.assert_allclose(kept, 3 / (1 - rate), rtol=2**-7 if dtype == "bfloat16" else 1e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_elements_are_independent(jit_compile):
    """Neighbours, of which four come from one number drawn: each pattern of five in a row as often as its probability says.

    Within five standard errors. The number of elements is not a multiple of four.
    """
    x = tf.ones([3, 5, 2001])

    @tf.function(jit_compile=jit_compile)
    def dropped():
        with seeded(0, 0):
            return Dropout(0.3)(x, training=True)

    is_zero = dropped().numpy().reshape(-1, 5) == 0
    counts = np.bincount(is_zero @ 2 ** np.arange(5), minlength=32)
    for pattern, count in enumerate(counts):
        ones = pattern.bit_count()
        probability = 0.3**ones * 0.7 ** (5 - ones)
        assert abs(count - probability * len(is_zero)) < 5 * np.sqrt(probability * len(is_zero)), pattern


@pytest.mark.parametrize("rate", [1e-6, 1e-4, 0.99999])
def test_mean_of_rates_that_are_no_2_16th(rate):
    """1 within five standard errors, as the divisor is that of the rounded rate."""
    with seeded(0, 0):
        y = Dropout(rate)(tf.ones([2000, 1000]), training=True).numpy().astype(np.float64)
    rounded = min(round(rate * 2**16), 2**16 - 1) / 2**16
    assert abs(y.mean() - 1) <= 1e-6 + 5 * np.sqrt(rounded / (1 - rounded) / y.size)


def test_gradient_and_whole_examples():
    """The gradient is what x was multiplied by; noise_shape drops whole examples, as drop path does."""
    layer = Dropout(0.5, noise_shape=(None, 1))
    with tf.GradientTape() as tape, seeded(0, 0):
        tape.watch(ONES)
        y = layer(ONES, training=True)
    np.testing.assert_array_equal(tape.gradient(y, ONES), y)
    rows = y.numpy()
    assert {tuple(np.unique(row)) for row in rows} == {(0.0,), (2.0,)}


def test_noise():
    """Deviation and range, and another number in each element and call."""
    with seeded(0, 0):
        noise, more = normal([20000], 0.25, tf.float32), normal([20000], 0.25, tf.float32)
        factors = uniform([20000], 0.9, 1.1, tf.float32)
    assert abs(float(tf.math.reduce_std(noise)) - 0.25) < 0.25 * 4 / np.sqrt(2 * 20000)
    assert abs(np.corrcoef(noise, more)[0, 1]) < 4 / np.sqrt(20000)
    assert 0.9 <= float(tf.reduce_min(factors)) < 0.901 < 1.099 < float(tf.reduce_max(factors)) < 1.1


def test_nothing_is_drawn_where_nothing_is_dropped():
    """Outside training, and with rate 0."""
    with seeded(0, 0):
        for layer, training in ((Dropout(0.5), False), (Dropout(0.0), True)):
            np.testing.assert_array_equal(layer(ONES, training=training), ONES)
        assert CONTEXT.draws._drawn == 0


def test_elsewhere_as_keras():
    """Without a seed of steps: other numbers in each call, and with Keras's seeds those of Keras's own layer."""
    assert CONTEXT.draws is None
    drawn = []
    for kind in (Dropout, tf.keras.layers.Dropout):
        tf.keras.utils.set_random_seed(3)
        layer = kind(0.5)
        drawn.append([layer(ONES, training=True).numpy().tobytes() for _ in range(2)])
    assert drawn[0] == drawn[1]
    assert drawn[0][0] != drawn[0][1]


def noisy_encoder(depth=2):
    """Blocks that share all layers, with every kind of draw."""
    rates = dict(dropout=0.2, attention_dropout=0.2, drop_path=0.3, jitter=0.1)
    return Encoder(depth=depth, width=8, heads=2, ffn_dim=16, num_experts=2, capacity_factor=None, **rates)


def test_copy_repeats():
    """What recomputes a part of a step draws what it drew at first."""
    encoder, x = noisy_encoder(), tf.random.normal([2, 3, 8])
    with seeded(1, 2):
        encoder(x, training=True)
        again = copy.copy(CONTEXT.draws)
        first, other = encoder(x, training=True), encoder(x, training=True)
        with setting(draws=again):
            repeated = encoder(x, training=True)
    np.testing.assert_array_equal(repeated, first)
    assert abs(first - other).numpy().max() > 0.01


def test_graph_and_eager_draw_the_same():
    """1e-5: sums in another order; a dropout of other elements differs by far more."""
    encoder, x = noisy_encoder(depth=1), tf.random.normal([2, 3, 8])

    def step(x):
        with seeded(1, 2):
            return encoder(x, training=True)

    eager = step(x)
    np.testing.assert_allclose(tf.function(step)(x), eager, atol=1e-5)
    assert abs(eager - encoder(x, training=True)).numpy().max() > 0.01


def fitted(steps, seed=5, earlier=0, weights=None):
    """Weights after some steps of `fit`, of a model and an optimizer that have done `earlier` steps."""
    inputs = tf.keras.Input((8,))
    model = Model(inputs, tf.keras.layers.Dense(1)(Dropout(0.5)(Dropout(0.5)(inputs))))
    model.compile(tf.keras.optimizers.legacy.SGD(0.1), "mse")
    model.set_weights(weights or [np.ones((8, 1)), np.zeros(1)])
    model.optimizer.iterations.assign(earlier)
    model.seed_steps(seed)
    x = np.arange(32, dtype=np.float32).reshape(4, 8) / 32
    model.fit(x, np.ones((4, 1)), epochs=steps, shuffle=False, verbose=0)
    return model.get_weights()


def test_model_goes_on_as_if_never_stopped():
    """By weights and the optimizer's number of steps alone, whatever was drawn before; not with another seed or step."""
    half, whole = fitted(2), fitted(3)
    for found, expected in zip(fitted(1, earlier=2, weights=half), whole, strict=True):
        np.testing.assert_array_equal(found, expected)
    for others in (dict(earlier=1), dict(earlier=2, seed=6), dict(earlier=2, seed=None)):
        assert not np.array_equal(fitted(1, weights=half, **others)[0], whole[0]), others
