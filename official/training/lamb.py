"""LAMB and the other optimizers of TensorFlow Addons, the one place that imports them, and LAMB's compiled update."""

import tensorflow as tf
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext  # the one place here that asks it

from official.cli import quiet

with quiet.addons_import():
    import tensorflow_addons as tfa

# Below so many elements a compiled function saves less than its compilation takes.
COMPILED_ELEMENTS = 2**16


class CompiledLAMB(tfa.optimizers.LAMB):
    """tfa.optimizers.LAMB with the same update, whose elementwise part XLA compiles as two loops around the norms.

    TensorFlow Addons runs some twenty operations a weight, each of which reads and writes all of it. Small weights are left
    to it, and all of them where XLA compiles the whole step anyway.
    """

    def _resource_apply_dense(self, grad, var, apply_state=None):
        if var.shape.num_elements() < COMPILED_ELEMENTS or GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()):
            return super()._resource_apply_dense(grad, var, apply_state)
        device_and_dtype = var.device, var.dtype.base_dtype
        coefficients = (apply_state or {}).get(device_and_dtype) or self._fallback_apply_state(*device_and_dtype)
        m, v = self.get_slot(var, "m"), self.get_slot(var, "v")
        decay = coefficients["weight_decay"] if self._do_use_weight_decay(var) else tf.zeros([], var.dtype)
        names = ("beta_1_t", "beta_2_t", "beta_1_power", "beta_2_power", "epsilon")
        # Values and not variables, which a traced function would remember beyond the life of their optimizer.
        weight, *moments = (tf.convert_to_tensor(variable) for variable in (var, m, v))
        m_t, v_t, update = _moments_and_update(grad, weight, *moments, decay, *(coefficients[name] for name in names))
        ratio = tf.ones([], var.dtype)
        if self._do_layer_adaptation(var):
            # Twice l2_loss is the square of the norm, without a square of every element in memory.
            weight_norm, update_norm = (tf.sqrt(2 * tf.nn.l2_loss(x)) for x in (weight, update))
            ratio = tf.where((weight_norm > 0) & (update_norm > 0), weight_norm / update_norm, ratio)
        stepped = _step_along(weight, update, ratio * coefficients["lr_t"])
        locking = self._use_locking
        return tf.group(m.assign(m_t, locking), v.assign(v_t, locking), var.assign(stepped, locking))


@tf.function(jit_compile=True)
def _moments_and_update(gradient, weight, m, v, decay, beta_1, beta_2, beta_1_power, beta_2_power, epsilon):
    """Adam's moments and its direction with decay, lines 6 to 10 of LAMB's algorithm (arXiv:1904.00962)."""
    m = beta_1 * m + (1 - beta_1) * gradient
    v = beta_2 * v + (1 - beta_2) * gradient * gradient
    direction = (m / (1 - beta_1_power)) / (tf.sqrt(v / (1 - beta_2_power)) + epsilon)
    return m, v, direction + decay * weight


@tf.function(jit_compile=True)
def _step_along(weight, update, rate):
    return weight - rate * update
