"""Learning rates over a run: linear warm-up from 0, then decay to 0 at its last step."""

import tensorflow as tf

from official.config import SCHEDULES


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
