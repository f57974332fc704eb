"""LAMB, AdamW and SGDW on Keras's legacy optimizers, for where TensorFlow Addons are not installed.

Settings, slots, configs and arithmetic are those of TensorFlow Addons 0.23, so that each resumes from checkpoints and saved
models of the other. There is no `decay_var_list`: the names of the weights alone decide what decays.

`exclude_...` are lists of regular expressions: a weight is excluded if one of them is found in its name. In place of a number a
function without arguments may return it. A schedule is a tf.keras.optimizers.schedules.LearningRateSchedule.
"""

import re

import tensorflow as tf

legacy = tf.keras.optimizers.legacy


def _checked(setting, patterns):
    """The patterns themselves; a string would be taken for a list of its letters."""
    if isinstance(patterns, str):
        raise ValueError(f"{setting}={patterns!r} is not allowed: it must be a list of regular expressions")
    return patterns


def _is_excluded(var, patterns):
    return any(re.search(pattern, var.name) for pattern in patterns or ())


def _coefficients(optimizer, var, apply_state):
    """{name: scalar of the weight's dtype}, which the optimizer's `_prepare_local` has computed for this step."""
    device_and_dtype = var.device, var.dtype.base_dtype
    return (apply_state or {}).get(device_and_dtype) or optimizer._fallback_apply_state(*device_and_dtype)


class LAMB(legacy.Optimizer):
    """LAMB (arXiv:1904.00962, algorithm 2), with decay inside the trust ratio.

    Args:
      learning_rate: a number or a schedule.
      beta_1, beta_2: numbers, the decay rates of the moments.
      epsilon: is added to the root of the second moment.
      weight_decay: a number; so much of the weight is added to Adam's direction.
      exclude_from_layer_adaptation: its trust ratio is 1; None stands for `exclude_from_weight_decay`.
      **kwargs: of tf.keras.optimizers.legacy.Optimizer, such as global_clipnorm.

    Raises:
      ValueError: a string in place of a list of exclusions.
    """

    def __init__(
        self,
        learning_rate=0.001,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-6,
        weight_decay=0.0,
        exclude_from_weight_decay=None,
        exclude_from_layer_adaptation=None,
        name="LAMB",
        **kwargs,
    ):
        super().__init__(name, **kwargs)
        self._set_hyper("learning_rate", kwargs.get("lr", learning_rate))
        self._set_hyper("decay", self._initial_decay)
        self._set_hyper("beta_1", beta_1)
        self._set_hyper("beta_2", beta_2)
        self._set_hyper("weight_decay", weight_decay)
        self.epsilon = epsilon
        self.exclude_from_weight_decay = _checked("exclude_from_weight_decay", exclude_from_weight_decay)
        adaptation = _checked("exclude_from_layer_adaptation", exclude_from_layer_adaptation)
        self.exclude_from_layer_adaptation = adaptation or exclude_from_weight_decay

    def get_config(self):
        hypers = ("learning_rate", "weight_decay", "decay", "beta_1", "beta_2")
        return {
            **super().get_config(),
            **{name: self._serialize_hyperparameter(name) for name in hypers},
            "epsilon": self.epsilon,
            "exclude_from_weight_decay": self.exclude_from_weight_decay,
            "exclude_from_layer_adaptation": self.exclude_from_layer_adaptation,
        }

    def _create_slots(self, var_list):
        for name in ("m", "v"):  # all of m come first in a file
            for var in var_list:
                self.add_slot(var, name)

    def _prepare_local(self, var_device, var_dtype, apply_state):
        super()._prepare_local(var_device, var_dtype, apply_state)
        step = tf.cast(self.iterations + 1, var_dtype)
        beta_1, beta_2, decay = (tf.identity(self._get_hyper(name, var_dtype)) for name in ("beta_1", "beta_2", "weight_decay"))
        apply_state[var_device, var_dtype].update(
            beta_1_t=beta_1,
            beta_2_t=beta_2,
            beta_1_power=tf.pow(beta_1, step),
            beta_2_power=tf.pow(beta_2, step),
            one_minus_beta_1_t=1 - beta_1,
            one_minus_beta_2_t=1 - beta_2,
            epsilon=tf.convert_to_tensor(self.epsilon, var_dtype),
            weight_decay=decay,
        )

    def _resource_apply_dense(self, grad, var, apply_state=None):
        given = _coefficients(self, var, apply_state)
        m, v = self.get_slot(var, "m"), self.get_slot(var, "v")
        m_t = m * given["beta_1_t"] + grad * given["one_minus_beta_1_t"]
        v_t = v * given["beta_2_t"] + grad * grad * given["one_minus_beta_2_t"]
        update = (m_t / (1 - given["beta_1_power"])) / (tf.sqrt(v_t / (1 - given["beta_2_power"])) + given["epsilon"])
        if self._do_use_weight_decay(var):
            update += given["weight_decay"] * var
        rate = given["lr_t"]
        if self._do_layer_adaptation(var):
            weight_norm, update_norm = tf.norm(var), tf.norm(update)
            rate *= tf.where((weight_norm > 0) & (update_norm > 0), weight_norm / update_norm, 1.0)
        stepped = var - rate * update
        locking = self._use_locking
        return tf.group(m.assign(m_t, locking), v.assign(v_t, locking), var.assign(stepped, locking))

    def _resource_apply_sparse(self, grad, var, indices, apply_state=None):
        """Moments and decay change the rows without a gradient, too. Keras has summed the gradients of equal indices."""
        return self._resource_apply_dense(tf.scatter_nd(indices[:, tf.newaxis], grad, var.shape), var, apply_state)

    def _do_use_weight_decay(self, var):
        return not _is_excluded(var, self.exclude_from_weight_decay)

    def _do_layer_adaptation(self, var):
        return not _is_excluded(var, self.exclude_from_layer_adaptation)


class DecoupledDecay:
    """Mixin, to stand before a Keras legacy optimizer among the bases: decay apart from the gradient (arXiv:1711.05101).

    Before each step weight_decay * weight is taken off the weight; the learning rate is not a factor. With a sparse gradient only
    the rows that have one decay, and under SGD without momentum none.

    Args:
      weight_decay: a number or a schedule.
      *args, **kwargs: of the optimizer.

    Raises:
      ValueError: a string in place of a list of exclusions.
    """

    def __init__(self, weight_decay, *args, exclude_from_weight_decay=None, **kwargs):
        super().__init__(*args, **kwargs)
        self._set_hyper("weight_decay", weight_decay)
        self.exclude_from_weight_decay = _checked("exclude_from_weight_decay", exclude_from_weight_decay)

    def get_config(self):
        return {
            **super().get_config(),
            "weight_decay": self._serialize_hyperparameter("weight_decay"),
            "exclude_from_weight_decay": self.exclude_from_weight_decay,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        if isinstance(config.get("weight_decay"), dict):
            schedule = tf.keras.optimizers.schedules.deserialize(config["weight_decay"], custom_objects)
            config = {**config, "weight_decay": schedule}
        return super().from_config(config, custom_objects)

    def _prepare_local(self, var_device, var_dtype, apply_state):
        super()._prepare_local(var_device, var_dtype, apply_state)
        decay = self._get_hyper("weight_decay", var_dtype)
        if isinstance(decay, tf.keras.optimizers.schedules.LearningRateSchedule):
            decay = tf.cast(decay(self.iterations), var_dtype)
        apply_state[var_device, var_dtype]["wd_t"] = tf.identity(decay)

    def _resource_apply_dense(self, grad, var, apply_state=None):
        with tf.control_dependencies(self._decay(var, apply_state)):
            return super()._resource_apply_dense(grad, var, apply_state)

    def _resource_apply_sparse(self, grad, var, indices, apply_state=None):
        with tf.control_dependencies(self._decay(var, apply_state, indices)):
            return super()._resource_apply_sparse(grad, var, indices, apply_state)

    def _decay(self, var, apply_state, rows=None):
        """A list of the operation that decays a weight, or some of its rows; an empty one for none."""
        if not self._do_use_weight_decay(var):
            return []
        decay = _coefficients(self, var, apply_state)["wd_t"]
        if rows is None:
            return [var.assign_sub(decay * var, self._use_locking)]
        return [self._resource_scatter_add(var, rows, -decay * tf.gather(var, rows))]

    def _do_use_weight_decay(self, var):
        return not _is_excluded(var, self.exclude_from_weight_decay)


class AdamW(DecoupledDecay, legacy.Adam):
    """Adam (arXiv:1412.6980) with decoupled decay; after `weight_decay` come the arguments of tf.keras.optimizers.legacy.Adam."""

    def __init__(self, weight_decay, *args, name="AdamW", **kwargs):
        super().__init__(weight_decay, *args, name=name, **kwargs)


class SGDW(DecoupledDecay, legacy.SGD):
    """Gradient descent with decoupled decay; after `weight_decay` come the arguments of tf.keras.optimizers.legacy.SGD."""

    def __init__(self, weight_decay, learning_rate=0.001, *args, name="SGDW", **kwargs):
        super().__init__(weight_decay, learning_rate, *args, name=name, **kwargs)
