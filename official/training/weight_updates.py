"""What every optimizer of this package adds to an update: a scale for each layer, and an average of the weights."""

import re

import tensorflow as tf


def plain_name(name):
    """The name of a weight without what tells its copies and outputs apart: "a/b" of "a/b/replica_1:0"."""
    return re.sub(r"(/replica_\d+)?(:\d+)?$", "", name)


class ScaledAveragedUpdates:
    """Put before a Keras legacy optimizer among the bases: scales its updates and averages the weights.

    With the defaults the update is the optimizer's own, but that sparse gradients are made dense first: decay and moments move
    every row anyway, and the global norm is that of the summed rows.

    Args:
      update_scales: {name of a weight, as plain_name gives it: factor of its update, decay included}, a float or nested lists
        of floats that broadcast to the weight. Weights that are not named are updated as they are.
      ema_decay: d of the exponential moving average a = d * a + (1 - d) * w after each update; 0 for none. The slot "average"
        starts as the weight is when the state is made, without bias correction.

    Attributes:
      averages_in_use: whether the weights hold the averages just now (official.training.averaging).
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
            # Of the whole update and not of the gradient, whose size Adam and LAMB divide by. The fused operations write into
            # the weight, hence a look at it before and after.
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
