"""Optimizers and learning-rate schedules by the settings of a recipe. The only file that imports TensorFlow Addons."""

import functools
import re

import tensorflow as tf
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

from official.checkpoints.weights import plain_name
from official.cli import quiet
from official.config import OPTIMIZERS, SCHEDULES

# TensorFlow Addons are used where they are installed. They end at TensorFlow 2.15: beyond it the same optimizers are our own.
try:
    with quiet.addons_import():
        from tensorflow_addons import optimizers as bases
except ImportError:
    from official.training import weight_decay as bases

# LAMB's paper (arXiv:1904.00962) excludes biases and norm parameters from decay and layer adaptation. A weight's name is a path,
# of which this matches the last part; the copies of a mirrored weight have a suffix.
EXCLUDED = [r"(^|/)(bias|bias_in|bias_out|gamma|beta)(/replica_\d+)?(:\d+)?$"]

# Smaller weights are not worth the compilation of a function.
COMPILED_ELEMENTS = 2**16

register = tf.keras.saving.register_keras_serializable(package="widenet")


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
      averages_in_use: whether the weights hold the averages at present (official.training.averaging).
      norms: an official.training.measuring.LogNorms that measures every step; None for no measurement.
    """

    norms = None

    def __init__(self, *args, update_scales=None, ema_decay=0.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.update_scales = dict(update_scales or {})
        self.ema_decay = ema_decay
        self.averages_in_use = False

    def get_config(self):
        return {**super().get_config(), "update_scales": self.update_scales, "ema_decay": self.ema_decay}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """In a SavedModel Keras looks for a schedule by the name of its class alone."""
        return super().from_config(config, {"LinearDecay": LinearDecay, **(custom_objects or {})})

    def _set_hyper(self, name, value):
        """A number in place of a schedule becomes a variable even where Keras has created the others, for callbacks to set."""
        super()._set_hyper(name, value)
        if self._hypers_created:
            self._hypers_created = False
            self._create_hypers()

    def _create_slots(self, var_list):
        super()._create_slots(var_list)
        if self.ema_decay:
            for var in var_list:
                self.add_slot(var, "average", initializer=var.read_value())

    def apply_gradients(self, grads_and_vars, *args, **kwargs):
        if self.norms is None:
            return super().apply_gradients(grads_and_vars, *args, **kwargs)
        grads_and_vars = list(grads_and_vars)
        step = functools.partial(super().apply_gradients, grads_and_vars, *args, **kwargs)
        return self.norms.measure_step([var for grad, var in grads_and_vars if grad is not None], step)

    def _transform_gradients(self, grads_and_vars):
        grads_and_vars = [(_dense(grad, var), var) for grad, var in grads_and_vars]
        if self.norms is not None:
            self.norms.measure_gradients([grad for grad, _ in grads_and_vars])
        return super()._transform_gradients(grads_and_vars)

    def _resource_apply_dense(self, grad, var, apply_state=None):
        scale = self.update_scales.get(plain_name(var.name)) if self.update_scales else None
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


class DecayByName:
    """Mixin, to stand before a decoupled optimizer among the bases: decides by a weight's name about decay.

    Addons keeps a set of the decaying weights instead, which lacks the copies of a mirrored weight.
    """

    def _do_use_weight_decay(self, var):
        return not any(re.search(pattern, var.name) for pattern in self.exclude_from_weight_decay or ())


class CompiledUpdate:
    """Mixin, to stand before a LAMB among the bases: XLA compiles its elementwise part as two loops around the norms.

    LAMB itself runs some twenty operations a weight, each of which reads and writes all of it. That is kept for small weights,
    and for all weights where XLA compiles the whole step anyway.
    """

    def _resource_apply_dense(self, grad, var, apply_state=None):
        if var.shape.num_elements() < COMPILED_ELEMENTS or GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()):
            return super()._resource_apply_dense(grad, var, apply_state)
        device_and_dtype = var.device, var.dtype.base_dtype
        coefficients = (apply_state or {}).get(device_and_dtype) or self._fallback_apply_state(*device_and_dtype)
        m, v = self.get_slot(var, "m"), self.get_slot(var, "v")
        decay = coefficients["weight_decay"] if self._do_use_weight_decay(var) else tf.zeros([], var.dtype)
        names = ("beta_1_t", "beta_2_t", "beta_1_power", "beta_2_power", "epsilon")
        # Values and not variables: a traced function would keep those alive after their optimizer is gone.
        weight, *moments = (tf.convert_to_tensor(variable) for variable in (var, m, v))
        m_t, v_t, update = _moments_and_update(grad, weight, *moments, decay, *(coefficients[name] for name in names))
        ratio = tf.ones([], var.dtype)
        if self._do_layer_adaptation(var):
            # The squared norm is twice l2_loss, which needs no memory for the squares of all elements.
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


@register
class LAMB(ScaledAveragedUpdates, CompiledUpdate, bases.LAMB):
    """LAMB (arXiv:1904.00962), with decay inside the trust ratio."""


@register
class AdamW(ScaledAveragedUpdates, DecayByName, bases.AdamW):
    """Adam (arXiv:1412.6980) with decoupled decay (arXiv:1711.05101); epsilon is the "epsilon hat" of its section 2."""


@register
class SGD(ScaledAveragedUpdates, DecayByName, bases.SGDW):
    """Gradient descent with momentum and decoupled decay (arXiv:1711.05101).

    The velocity sums steps, u = momentum * u - lr * gradient, so each keeps the learning rate of its time.
    """


def create_optimizer(train, scales=None):
    """The optimizer of a recipe.

    Args:
      train: the recipe's `train` settings (official.config.train_settings).
      scales: of official.training.fine_tuning.update_scales, for `train.layer_decay`; needed where that is below 1.

    Returns:
      LAMB, AdamW or SGD, clipped to a global gradient norm of `train.clip_norm` and without decay (and layer adaptation) for
      biases and norm parameters. LAMB's decay stands inside its trust ratio; the others take lr(step) * weight_decay * weight
      off a weight before each step, which is PyTorch's convention.

    Raises:
      ValueError: an unknown optimizer, or a layer decay without `scales`.
    """
    if train.layer_decay != 1 and scales is None:
        raise ValueError(f"train.layer_decay={train.layer_decay!r} is not allowed: it must be 1 where no scales are given")
    schedule = functools.partial(create_schedule, steps=train.steps, warmup_steps=train.warmup_steps, schedule=train.schedule)
    common = dict(
        learning_rate=schedule(train.lr),
        global_clipnorm=train.clip_norm,
        update_scales=scales,
        ema_decay=train.ema_decay,
    )
    moments = dict(beta_1=train.beta_1, beta_2=train.beta_2, epsilon=train.epsilon)
    # The bases do not multiply the decay by the learning rate, so it gets a schedule of its own.
    decoupled = dict(
        weight_decay=schedule(train.lr * train.weight_decay),
        exclude_from_weight_decay=EXCLUDED if train.weight_decay else [""],  # matches every name: no operation for no decay
    )
    inside = dict(weight_decay=train.weight_decay, exclude_from_weight_decay=EXCLUDED, exclude_from_layer_adaptation=EXCLUDED)
    if train.optimizer == "lamb":
        return LAMB(**inside, **moments, **common)
    if train.optimizer == "adamw":
        return AdamW(**decoupled, **moments, **common)
    if train.optimizer == "sgd":
        return SGD(**decoupled, momentum=train.momentum, **common)
    raise ValueError(f"train.optimizer={train.optimizer!r} is not allowed: it must be one of {', '.join(OPTIMIZERS)}")


def create_state(optimizer, weights):
    """Creates the optimizer's moments and averages now, in the strategy's scope, and not at the first step.

    Then restoring a checkpoint can check that all of them are restored.
    """
    optimizer._create_all_weights(weights)


@tf.keras.saving.register_keras_serializable(package="widenet")
class LinearDecay(tf.keras.optimizers.schedules.LearningRateSchedule):
    """`lr` * step / warmup_steps until `warmup_steps`, then `lr` * (steps - step) / (steps - warmup_steps) until `steps`."""

    def __init__(self, lr, steps, warmup_steps):
        self.lr = lr
        self.steps = steps
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        left = tf.maximum(self.steps - step, 0) / max(self.steps - self.warmup_steps, 1)
        # The lower of the two lines: before the peak the first one, after it the second one.
        return self.lr * (tf.minimum(step / self.warmup_steps, left) if self.warmup_steps else left)

    def get_config(self):
        return dict(lr=self.lr, steps=self.steps, warmup_steps=self.warmup_steps)


def create_schedule(lr, steps, warmup_steps, schedule="cosine"):
    """Linear warm-up from 0 to `lr` over `warmup_steps`, then decay to 0 at `steps`.

    Args:
      schedule: how it decays: "cosine" (half a cosine, arXiv:1608.03983) or "linear".

    Raises:
      ValueError: another schedule.
    """
    if schedule == "linear":
        return LinearDecay(lr, steps, warmup_steps)
    if schedule != "cosine":
        raise ValueError(f"train.schedule={schedule!r} is not allowed: it must be one of {', '.join(SCHEDULES)}")
    if not warmup_steps:
        return tf.keras.optimizers.schedules.CosineDecay(lr, decay_steps=steps)
    return tf.keras.optimizers.schedules.CosineDecay(
        0.0, decay_steps=max(steps - warmup_steps, 1), warmup_target=lr, warmup_steps=warmup_steps
    )
