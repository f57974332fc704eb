"""The averages in the weights' place, and the weights back again."""

import numpy as np
import pytest
import tensorflow as tf

from official.checkpoints.manager import Checkpoints
from official.config import train_settings
from official.training.averaging import EvaluateAverages, averaged_weights
from official.training.optimizers import create_optimizer, create_state

X, Y = np.eye(4, 3, dtype=np.float32), np.ones((4, 2), np.float32)


def compiled(ema_decay=0.75, **options):
    layers = [tf.keras.layers.Dense(5, name="frozen", trainable=False), tf.keras.layers.Dense(2)]
    model = tf.keras.Sequential([tf.keras.Input((3,)), *layers])
    optimizer = create_optimizer(train_settings(optimizer="adamw", lr=0.1, ema_decay=ema_decay))
    create_state(optimizer, model.trainable_weights)
    model.compile(optimizer, "mse", **options)
    return model


def values(variables):
    return [variable.numpy() for variable in variables]


def averages(model):
    return values(model.optimizer.get_slot(weight, "average") for weight in model.trainable_weights)


def assert_equal(found, expected):
    for value, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(value, wanted)


def test_in_and_out_again():
    """Inside, exactly the averages; after it, also after an error, exactly the weights; nothing else is touched."""
    model = compiled()
    model.fit(X, Y, epochs=3, verbose=0)
    before, state = values(model.weights), values(model.optimizer.variables())
    assert np.abs(model.trainable_weights[0] - averages(model)[0]).max() > 1e-3
    with pytest.raises(ZeroDivisionError), averaged_weights(model.optimizer, model):
        assert_equal(values(model.trainable_weights), averages(model))
        raise ZeroDivisionError
    assert_equal(values(model.weights), before)
    assert_equal(values(model.optimizer.variables()), state)
    with averaged_weights(model.optimizer, model):
        assert_equal(values(model.trainable_weights), averages(model))
        assert_equal(values(model.non_trainable_weights), before[:2])
    assert_equal(values(model.weights), before)


def test_without_averages_nothing_changes():
    model = compiled(ema_decay=0.0)
    before = values(model.weights)
    with averaged_weights(model.optimizer, model):
        assert_equal(values(model.weights), before)


def test_not_twice():
    """The weights themselves would be lost."""
    model = compiled()
    twice = pytest.raises(RuntimeError, match="the weights hold their averages already")
    with averaged_weights(model.optimizer, model), twice, averaged_weights(model.optimizer, model):
        pass
    with averaged_weights(model.optimizer, model):
        pass


def test_no_checkpoint_of_averages(tmp_path):
    """It would hold the averages for the weights, and a run could not go on from it."""
    model = compiled()
    checkpoints = Checkpoints(tmp_path / "c", model, keep=1)
    with averaged_weights(model.optimizer, model), pytest.raises(RuntimeError, match="no checkpoint of step 3"):
        checkpoints.save(3, 0.0)
    assert checkpoints.latest is None
    checkpoints.save(3, 0.0)
    assert checkpoints.latest.endswith("step-3")


def test_averages_begin_at_the_weights():
    """As they are when the state is made."""
    model = compiled()
    assert_equal(averages(model), values(model.trainable_weights))


@pytest.mark.further_cases
@pytest.mark.parametrize("options", [{}, {"jit_compile": True}, {"steps_per_execution": 2}])
def test_evaluation_within_training(options):
    """Validation is of the averages, and training goes on from the weights: what they are at the end is as without averages.

    1e-6 is for float32 means of the loss.
    """
    ends, losses, expected = [], [], []

    class Expected(tf.keras.callbacks.Callback):
        """What evaluating a copy that has the averages gives; called before the averages come in."""

        def on_test_begin(self, logs=None):
            copy = tf.keras.models.clone_model(self.model)
            copy.set_weights([*values(self.model.non_trainable_weights), *averages(self.model)])
            expected.append(float(np.mean((copy(X) - Y) ** 2)))

    for ema_decay in (0.75, 0.0):
        tf.keras.utils.set_random_seed(0)
        model = compiled(ema_decay, **options)
        callbacks = [Expected(), EvaluateAverages()] if ema_decay else []
        data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(2)
        history = model.fit(data, validation_data=data, epochs=3, verbose=0, callbacks=callbacks).history
        losses.append(history["val_loss"])
        ends.append(values(model.weights))
    np.testing.assert_allclose(losses[0], expected, rtol=1e-6)
    assert np.abs(np.subtract(*losses)).max() > 1e-3
    assert_equal(*ends)
