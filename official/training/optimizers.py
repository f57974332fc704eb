"""Optimizers and learning-rate schedules by the settings of a recipe."""

import functools
import re

import tensorflow as tf

from official.config import OPTIMIZERS, SCHEDULES
from official.training.lamb import CompiledLAMB, tfa
from official.training.weight_updates import ScaledAveragedUpdates

# LAMB's paper (arXiv:1904.00962) leaves biases and norm parameters out of decay and layer adaptation. A weight's name is the
# path to it, so these match its last part only, wherever it stands; the copies of a mirrored weight have names of their own.
EXCLUDED = [r"(^|/)(bias|bias_in|bias_out|gamma|beta)(/replica_\d+)?(:\d+)?$"]

register = tf.keras.saving.register_keras_serializable(package="widenet")


class DecayByName:
    """Put before a decoupled optimizer of TensorFlow Addons among the bases: asks a weight's name whether it decays.

    Addons keeps the decaying weights themselves, among which it does not find the copies of a mirrored one.
    """

    def _do_use_weight_decay(self, var):
        return not any(re.search(pattern, var.name) for pattern in self.exclude_from_weight_decay or ())


@register
class LAMB(ScaledAveragedUpdates, CompiledLAMB):
    """LAMB (arXiv:1904.00962), with decay inside the trust ratio."""


@register
class AdamW(ScaledAveragedUpdates, DecayByName, tfa.optimizers.AdamW):
    """Adam (arXiv:1412.6980) with decoupled decay (arXiv:1711.05101); epsilon is the "epsilon hat" of its section 2."""


@register
class SGD(ScaledAveragedUpdates, DecayByName, tfa.optimizers.SGDW):
    """Gradient descent with momentum and decoupled decay (arXiv:1711.05101).

    The velocity sums steps, u = momentum * u - lr * gradient, so each keeps the learning rate of its time.
    """


def create_optimizer(train, scales=None):
    """The optimizer of a recipe.

    Args:
      train: the recipe's `train` settings (official.config.train_settings).
      scales: what official.training.fine_tuning.update_scales gives for `train.layer_decay`; needed where that is below 1.

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
    # Addons multiplies by the weight decay alone, which therefore follows the learning rate as a schedule of its own.
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
    """Makes the optimizer's moments and averages now, in the strategy's scope, and not at the first step.

    Restoring a checkpoint can then check that all of it has found its place.
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
        # Before the peak the second line is above the first one, and after it below.
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
