"""Training steps of several parts of a batch: the update of the whole batch, with the experts' load and draws of the parts."""

import numpy as np
import pytest
import tensorflow as tf

from official.config import train_settings
from official.training.optimizers import create_optimizer, create_state
from widenet import Encoder, Model
from widenet.draws import Dropout

LENGTH, WIDTH = 3, 8
# Nothing of these depends on the other examples of a batch.
APART = dict(noise=False, capacity_factor=None, balance_weight=0.0)


def new_model(**settings):
    """A model of tokens with experts, and a layer whose output the loss does not depend on."""
    tf.keras.utils.set_random_seed(0)
    encoder = Encoder(1, WIDTH, 2, 6, name="encoder", num_experts=3, **{**APART, **settings})
    inputs = tf.keras.Input((LENGTH, WIDTH))
    x = encoder(inputs)
    return Model(inputs, {"used": tf.keras.layers.Dense(2, name="used")(x), "unused": tf.keras.layers.Dense(1, name="unused")(x)})


def trained(parts, optimizer="lamb", steps=2, batch=16, settings=None, **compiled):
    """({name: weight}, logs, updates) after `steps` steps of one batch each."""
    model = new_model(**(settings or {}))
    model.compile(
        create_optimizer(train_settings(optimizer=optimizer, schedule="linear", steps=10, lr=0.01)),
        {"used": "mse"},
        {"used": "mae"},
        **compiled,
    )
    create_state(model.optimizer, model.trainable_weights)
    if parts is not None:
        model.accumulate_steps(parts)
    random = np.random.default_rng(0)
    x, y = (random.normal(size=(batch * steps, LENGTH, size)).astype(np.float32) for size in (WIDTH, 2))
    history = model.fit(x, {"used": y}, batch_size=batch, shuffle=False, verbose=0).history
    # A bias of the keys shifts all scores of a query alike, so its gradient is rounding alone.
    weights = {weight.name: weight.numpy() for weight in model.weights if "key/bias" not in weight.name}
    return weights, {name: values[0] for name, values in history.items()}, int(model.optimizer.iterations)


def assert_same(found, found_logs, weights, logs):
    for name, expected in weights.items():
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-5, err_msg=name)
    del found_logs["balance"]  # of the parts: see test_load_is_that_of_the_parts
    assert found_logs == pytest.approx({name: logs[name] for name in found_logs}, rel=1e-4)


@pytest.mark.parametrize("optimizer", ["lamb", pytest.param("adamw", marks=pytest.mark.further)])
def test_the_update_of_the_whole_batch(optimizer):
    """Where no example depends on another: weights within 1e-5 (float32 sums in another order), the same logs, two updates."""
    weights, logs, steps = trained(None, optimizer)
    found, found_logs, found_steps = trained(8, optimizer)
    assert_same(found, found_logs, weights, logs)
    assert found_steps == steps == 2
    start = {weight.name: weight.numpy() for weight in new_model().weights}
    still = {name for name, value in weights.items() if np.abs(value - start[name]).max() < 1e-3}
    assert still == {name for name in weights if name.startswith("unused/")}


@pytest.mark.further
def test_compiled_by_xla():
    weights, logs, _ = trained(None)
    found, found_logs, _ = trained(4, jit_compile=True)
    assert_same(found, found_logs, weights, logs)


def test_load_is_that_of_the_parts():
    """Capacity and balance loss are of a part: their logs are means over parts, each a batch of its own with the same weights."""
    settings = dict(settings=dict(capacity_factor=0.7, balance_weight=0.5), optimizer="sgd")
    _, logs, _ = trained(4, steps=1, batch=16, **settings)
    model = new_model(**settings["settings"])
    model.compile(tf.keras.optimizers.SGD(0.0), {"used": "mse"}, {"used": "mae"})
    random = np.random.default_rng(0)
    x, y = (random.normal(size=(16, LENGTH, size)).astype(np.float32) for size in (WIDTH, 2))
    expected = model.fit(x, {"used": y}, batch_size=4, shuffle=False, verbose=0).history
    assert logs["dropped"] > 0.02
    assert logs == pytest.approx({name: values[0] for name, values in expected.items()}, rel=1e-4)


def test_every_part_has_draws_of_its_own():
    """Of equal examples other elements are dropped in each part, and the same ones when the step is made again."""
    inputs = tf.keras.Input((1000,))
    model = Model(inputs, Dropout(0.5)(tf.keras.layers.Dense(1000, kernel_initializer="identity", use_bias=False)(inputs)))

    def gradient(seed, parts):
        model.compile(tf.keras.optimizers.legacy.SGD(1.0), "mae")
        model.set_weights([np.eye(1000)])
        model.seed_steps(seed)
        model.accumulate_steps(parts)
        model.train_on_batch(np.ones([2, 1000]), np.full([2, 1000], 9.0))
        return np.diag(model.get_weights()[0] - np.eye(1000))

    found = gradient(1, 2)
    # Half of the elements stay in one part, a quarter in both.
    shares = [np.mean(np.isclose(found, n * found.max() / 2, rtol=1e-3)) for n in range(3)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.08)  # five standard deviations
    np.testing.assert_array_equal(gradient(1, 2), found)
    assert not np.array_equal(gradient(2, 2), found)


@pytest.mark.parametrize("parts", [0, 1.5, "2"])
def test_refused(parts):
    with pytest.raises(ValueError, match=f"parts={parts!r} is not allowed"):
        new_model().accumulate_steps(parts)
