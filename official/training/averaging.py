"""The averages of the weights that an optimizer keeps (`train.ema_decay`): in the weights' place for evaluation and export."""

import contextlib

import tensorflow as tf


@contextlib.contextmanager
def averaged_weights(optimizer, model):
    """Inside, the model's trained weights hold their averages; after it, bit for bit what they held before.

    Without averages nothing changes.

    Args:
      optimizer: one of official.training.optimizers whose state is made, or restored from a checkpoint.
      model: the model whose weights it trains.

    Raises:
      RuntimeError: where the averages are in use already.
    """
    if not optimizer.ema_decay:
        yield
        return
    held = use_averages(optimizer, model)
    try:
        yield
    finally:
        restore_weights(optimizer, model, held)


def use_averages(optimizer, model):
    """Puts the averages into the weights and returns copies of these, for restore_weights. Raises as averaged_weights."""
    if optimizer.averages_in_use:
        raise RuntimeError("the weights hold their averages already; what they held before would be lost")
    held = [tf.identity(weight) for weight in model.trainable_weights]
    optimizer.averages_in_use = True
    for weight in model.trainable_weights:
        weight.assign(optimizer.get_slot(weight, "average"))
    return held


def restore_weights(optimizer, model, held):
    """Gives the weights back what use_averages has returned."""
    for weight, value in zip(model.trainable_weights, held, strict=True):
        weight.assign(value)
    optimizer.averages_in_use = False


class EvaluateAverages(tf.keras.callbacks.Callback):
    """Evaluates a model with its averaged weights."""

    def on_test_begin(self, logs=None):
        # Not the context manager: Python would close it, and touch the weights, when a run that failed in between is torn down.
        self._held = use_averages(self.model.optimizer, self.model)

    def on_test_end(self, logs=None):
        restore_weights(self.model.optimizer, self.model, self._held)
        self._held = None
