"""Norms against gradients and weights taken apart from the run, in float64; utilisation by hand; which steps are profiled."""

import numpy as np
import pytest
import tensorflow as tf

from official.config import train_settings
from official.training import devices
from official.training.measuring import NORMS, LogNorms, LogUtilisation, ProfileSteps
from official.training.optimizers import create_optimizer, create_state

STEPS = 2
IDS = np.arange(STEPS * 4 * 2).reshape(STEPS, 4, 2) % 5
LABELS = np.arange(STEPS * 4).reshape(STEPS, 4, 1) % 3


def create(optimizer="lamb", measured=True, strategy=None, **compiled):
    """(model, callbacks): a small model with an embedding, whose gradient is sparse, and gradients that are clipped."""
    with (strategy or tf.distribute.get_strategy()).scope():
        tf.keras.utils.set_random_seed(1)
        ids = tf.keras.Input((2,), dtype=tf.int32)
        x = tf.keras.layers.Dense(3, name="dense")(tf.keras.layers.Embedding(5, 4)(ids))
        model = tf.keras.Model(ids, tf.reduce_sum(x, axis=1))
        optimizer = create_optimizer(train_settings(steps=10, optimizer=optimizer, lr=0.1, clip_norm=0.05, weight_decay=0.2))
        create_state(optimizer, model.trainable_weights)
        model.compile(optimizer, tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True), **compiled)
        return model, [LogNorms(model)] if measured else []


def train_on_batch(model, step):
    return model.train_on_batch(IDS[step], LABELS[step], return_dict=True)


def batches():
    return tf.data.Dataset.from_tensor_slices((IDS, LABELS))


def vector(tensors):
    return np.concatenate([np.asarray(tf.convert_to_tensor(tensor), np.float64).ravel() for tensor in tensors])


@pytest.mark.parametrize("optimizer", ["lamb", pytest.param("adamw", marks=pytest.mark.further), "sgd"])
def test_norms_are_those_of_the_step(optimizer):
    """||g|| before clipping, and ||w' - w|| / ||w||; the weights are those of a run without them, bit by bit."""
    model, _ = create(optimizer)
    plain, _ = create(optimizer, measured=False)
    found, expected = [], []
    for step in range(STEPS):
        with tf.GradientTape() as tape:
            loss = plain.compiled_loss(tf.constant(LABELS[step]), plain(tf.constant(IDS[step]), training=True))
        gradient = vector(tape.gradient(loss, plain.trainable_weights))
        before = vector(plain.trainable_weights)
        train_on_batch(plain, step)
        update = vector(plain.trainable_weights) - before
        expected.append([np.linalg.norm(gradient), np.linalg.norm(update) / np.linalg.norm(before)])
        logs = train_on_batch(model, step)
        found.append([logs[name] for name in NORMS])
    assert min(row[0] for row in expected) > 0.05  # or nothing would be clipped
    np.testing.assert_allclose(found, expected, rtol=1e-4)  # an update in float32 is the difference of nearly equal weights
    np.testing.assert_array_equal(vector(model.get_weights()), vector(plain.get_weights()))


@pytest.mark.parametrize(
    "case", ["several steps at a time", "two replicas", pytest.param("compiled by XLA", marks=pytest.mark.further)]
)
def test_norms_in_other_ways_to_train(case):
    """The mean over the steps of an epoch; an evaluation has none."""
    one, _ = create()
    single = [train_on_batch(one, step) for step in range(STEPS)]
    strategy = devices.create_strategy("mirrored") if case == "two replicas" else None
    compiled = {"several steps at a time": dict(steps_per_execution=STEPS), "compiled by XLA": dict(jit_compile=True)}
    model, callbacks = create(strategy=strategy, **compiled.get(case, {}))
    logs = model.fit(batches(), steps_per_epoch=STEPS, verbose=0, callbacks=callbacks, validation_data=batches()).history
    assert "val_loss" in logs and not {f"val_{name}" for name in NORMS} & set(logs)
    for name in NORMS:
        # Sums in another order, in float32; an update is the difference of nearly equal weights.
        assert logs[name][0] == pytest.approx(np.mean([logs_of_step[name] for logs_of_step in single]), rel=1e-4)


def test_checkpoints_have_no_norms(tmp_path):
    names = []
    for measured in (True, False):
        model, _ = create(measured=measured)
        path = tf.train.Checkpoint(model=model, optimizer=model.optimizer).write(str(tmp_path / str(measured)))
        names.append([name for name, _ in tf.train.list_variables(path)])
    assert names[0] == names[1]


def test_utilisation_by_hand():
    """Ten examples a second, of three times 90 operations, of 5,400 a second that the machine can do: a half."""
    measure = LogUtilisation(lambda kept: 100.0 * kept, "images_per_second", 5400.0)
    logs = {"dropped": 0.1, "images_per_second": 10.0}
    measure.on_epoch_end(0, logs)
    assert logs["flop_utilisation"] == pytest.approx(0.5)
    logs = {"images_per_second": 10.0}
    LogUtilisation(lambda kept: None, "images_per_second", 1.0).on_epoch_end(0, logs)
    assert logs == {"images_per_second": 10.0}


def test_peak_is_that_of_the_fastest_product(monkeypatch):
    seconds = {
        shape: [2.0 * np.prod(shape) / rate for rate in rates]
        for shape, rates in zip(devices.CPU_PRODUCTS, ([1e9] * 5, [2e9, 3e9, 1e9, 2e9, 1e9], [1e9] * 5), strict=True)
    }
    monkeypatch.setattr(devices, "_seconds", lambda dtype, *shape: seconds[shape].pop())
    assert devices.peak_flops("float32") == pytest.approx(3e9)


@pytest.mark.parametrize(
    "steps, at_a_time, resumed, profiled",
    [
        ((3, 5), 1, 0, [3, 4, 5]),
        ((1, 1), 1, 0, [1]),
        ((4, 5), 3, 0, [4, 5, 6]),
        ((3, 4), 3, 0, [1, 2, 3, 4, 5, 6]),
        ((3, 5), 1, 4, [5]),
        ((3, 5), 1, 5, []),
        ((8, 9), 3, 0, [7, 8, 9]),
    ],
)
def test_profiled_steps(monkeypatch, tmp_path, steps, at_a_time, resumed, profiled):
    """Those that were asked for, and with several steps at a time the others of these times."""

    class Counter:
        step = resumed

    calls, seen = [], []
    monkeypatch.setattr(tf.profiler.experimental, "start", calls.append)
    monkeypatch.setattr(tf.profiler.experimental, "stop", lambda: calls.append("stop"))
    profile = ProfileSteps(steps, Counter, at_a_time, tmp_path)
    with profile.session():
        while Counter.step < 9:
            profile.on_train_batch_begin(Counter.step)
            Counter.step += at_a_time
            seen += range(Counter.step - at_a_time + 1, Counter.step + 1) if len(calls) == 1 else []
            profile.on_train_batch_end(Counter.step - 1, {"loss": tf.constant(1.0)})
    assert seen == profiled
    assert calls == ([str(tmp_path), "stop"] if profiled else [])


def test_profile_of_a_run_that_is_stopped_is_written(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(tf.profiler.experimental, "start", calls.append)
    monkeypatch.setattr(tf.profiler.experimental, "stop", lambda: calls.append("stop"))
    profile = ProfileSteps((1, 9), type("Counter", (), {"step": 0}), 1, tmp_path)
    with pytest.raises(KeyboardInterrupt), profile.session():
        profile.on_train_batch_begin(0)
        raise KeyboardInterrupt
    assert calls == [str(tmp_path), "stop"]
