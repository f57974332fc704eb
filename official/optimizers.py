"""Optimizers and learning-rate schedules. The only file that touches TensorFlow Addons."""

import tensorflow as tf

from official import quiet

with quiet.addons_import():
    import tensorflow_addons as tfa

# LAMB's paper (arXiv:1904.00962) leaves biases and norm parameters out of decay and layer adaptation. A weight's name is the
# path to it, so these match its last part only, wherever it stands; the copies of a mirrored weight have names of their own.
EXCLUDED = [r"(^|/)(bias|bias_in|bias_out|gamma|beta)(/replica_\d+)?(:\d+)?$"]


def create_schedule(lr, steps, warmup_steps):
    """Linear warm-up from 0 to `lr` over `warmup_steps`, then cosine decay to 0 at `steps` (arXiv:1608.03983)."""
    if not warmup_steps:
        return tf.keras.optimizers.schedules.CosineDecay(lr, decay_steps=steps)
    return tf.keras.optimizers.schedules.CosineDecay(
        0.0, decay_steps=max(steps - warmup_steps, 1), warmup_target=lr, warmup_steps=warmup_steps
    )


def create_optimizer(train):
    """The optimizer of a recipe.

    Args:
      train: the recipe's `train` settings (official.config.train_settings).

    Returns:
      tfa.optimizers.LAMB, clipped to a global gradient norm of `train.clip_norm` and without decay and layer adaptation for
      biases and norm parameters. Its decay stands inside the trust ratio.
    """
    return tfa.optimizers.LAMB(
        create_schedule(train.lr, train.steps, train.warmup_steps),
        beta_1=train.beta_1,
        beta_2=train.beta_2,
        epsilon=train.epsilon,
        weight_decay=train.weight_decay,
        exclude_from_weight_decay=EXCLUDED,
        exclude_from_layer_adaptation=EXCLUDED,
        global_clipnorm=train.clip_norm,
    )


def create_state(optimizer, weights):
    """Makes the optimizer's moments now, in the strategy's scope, and not at the first step.

    Restoring a checkpoint can then check that all of it has found its place.
    """
    optimizer._create_all_weights(weights)
