"""What every optimizer of this package adds to an update: a scale for each layer, and a moving average of the weights.

The averages (`train.ema_decay`) take the place of the weights in evaluation and export.
"""

import contextlib

import tensorflow as tf

from official.checkpoints.weights import plain_name


class ScaledAveragedUpdates:
    """Mixin, to stand before a Keras legacy optimizer among the bases: scales its updates and averages the weights.

    With the defaults the update is the optimizer's own, except that sparse gradients are made dense first: decay and moments
    change every row anyway, and the global norm is that of the summed rows.

    Args:
      update_scales: {name of a weight, as plain_name gives it: factor of its update, decay included}, a float or nested lists
        of floats that broadcast to the weight. The other weights have factor 1.
      ema_decay: d of the exponential moving average a = d * a + (1 - d) * w after each update; 0 for no average. The slot
        "average" starts at the weight's value when the state is created, without bias correction.

    Attributes:
      averages_in_use: whether the weights hold the averages at present (`averaged_weights`).
    """

    def __init__(self, *args, update_scales=None, ema_decay=0.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.update_scales = dict(update_scales or {})
        self.ema_decay = ema_decay
        self.averages_in_use = False

    def get_config(self):
        return {**super().get_config(), "update_scales": self.update_scales, "ema_decay": self.ema_decay}

    def _create_slots(self, var_list):
        super()._create_slots(var_list)
        if self.ema_decay:
            for var in var_list:
                self.add_slot(var, "average", initializer=var.read_value())

    def _transform_gradients(self, grads_and_vars):
        return super()._transform_gradients([(_dense(grad, var), var) for grad, var in grads_and_vars])

    def _resource_apply_dense(self, grad, var, apply_state=None):
        scale = self.update_scales.get(plain_name(var.name))
        if scale is None:
            update = super()._resource_apply_dense(grad, var, apply_state)
        else:
            # The whole update is scaled and not the gradient, by whose size Adam and LAMB divide. The fused operations write to
            # the weight, so the update is the difference of the weight before and after.
            before = tf.identity(var)
            with tf.control_dependencies([before]):
                applied = super()._resource_apply_dense(grad, var, apply_state)
            with tf.control_dependencies([applied]):
                update = var.assign(before + tf.constant(scale, before.dtype) * (var.read_value() - before))
        if not self.ema_decay:
            return update
        with tf.control_dependencies([update]):
            average = self.get_slot(var, "average")
            return average.assign_sub((1 - self.ema_decay) * (average.read_value() - var.read_value()))


def _dense(grad, var):
    if isinstance(grad, tf.IndexedSlices):
        return tf.math.unsorted_segment_sum(grad.values, grad.indices, var.shape[0])
    return grad


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
