"""Moving averages of the weights (`train.ema_decay`): they take the place of the weights in evaluation and export."""

import contextlib

import tensorflow as tf


@contextlib.contextmanager
def averaged_weights(optimizer, model):
    """Inside, the model's trained weights hold their averages; afterwards exactly what they held before.

    Does nothing for an optimizer without averages.

    Args:
      optimizer: one of official.training.optimizers whose state is created, or restored from a checkpoint.
      model: the model whose weights it trains.

    Raises:
      RuntimeError: the averages are in use already.
    """
    if not optimizer.ema_decay:
        yield
        return
    held = use_averages(optimizer, model)
    try:
        yield
    finally:
        stop_using_averages(optimizer, model, held)


def use_averages(optimizer, model):
    """Puts the averages into the weights and returns copies of these, for `stop_using_averages`. Raises as averaged_weights."""
    if optimizer.averages_in_use:
        raise RuntimeError("the weights hold their averages already; what they held before would be lost")
    held = [tf.identity(weight) for weight in model.trainable_weights]
    optimizer.averages_in_use = True
    for weight in model.trainable_weights:
        weight.assign(optimizer.get_slot(weight, "average"))
    return held


def stop_using_averages(optimizer, model, held):
    """Gives the weights the values that `use_averages` returned."""
    for weight, value in zip(model.trainable_weights, held, strict=True):
        weight.assign(value)
    optimizer.averages_in_use = False


class EvaluateAverages(tf.keras.callbacks.Callback):
    """Evaluates a model with its averaged weights."""

    def on_test_begin(self, logs=None):
        # Not the context manager: Python would close it, and change the weights, while a failed run is torn down.
        self._held = use_averages(self.model.optimizer, self.model)

    def on_test_end(self, logs=None):
        stop_using_averages(self.model.optimizer, self.model, self._held)
        self._held = None
