"""Builders of the recipes in vision/configs."""

from ml_collections import ConfigDict

import vision
from official.config import data_name, literal_settings, train_settings
from vision.preprocessing import data_settings

# Rows of the paper's ablation, as overrides of a WideNet. Without sharing, the last two blocks are MoE, as in a ViT-MoE.
ABLATIONS = {
    "shared_norms": dict(norm_groups=1),
    "no_moe": dict(moe_blocks=0),
    "no_sharing": dict(attention_groups=None, ffn_groups=None, moe_blocks=2),
}


def image_recipe(model, overrides, data, train, init="", default=None):
    """The config of a recipe for image classification.

    Args:
      model: a name of vision.list_models(); "" for a model of the size of `init`, or for `default` where that is not known.
      overrides: settings of the model to change.
      data: settings of vision.preprocessing.DATA to change.
      train: settings of official.config.TRAIN to change.
      init: a trained model, as a path or handle: the value of `init` on the command line.
      default: a name of vision.list_models().

    Raises:
      ValueError: an unknown model or setting.
    """
    data = data_settings(**data)
    name, size = (model, {}) if model else _size_of(init, default)
    return ConfigDict(
        dict(
            name=f"{name}_{data_name(data)}",
            init=init,
            task="vision.classification:ImageClassification",
            model=literal_settings(vision.model_settings(model or default, **{**overrides, **size})),
            data=data,
            train=train_settings(**train),
        )
    )


def _size_of(init, default):
    """The name and size of a trained model (official.checkpoints.trained_models.initial_size), or the default's name and {}."""
    if not init:
        return default, {}
    from official.checkpoints.trained_models import initial_size  # only recipes that start from a trained model need it
    from widenet.zoo import ARCHITECTURE

    taken = (*ARCHITECTURE, "image_size", "patch_size", "pool", "position_cubic")
    name, size = initial_size(init, vision.list_models(), vision.model_settings(default), taken)
    return name or default, size


def small_classifier(model, data, image_size, patch_size, **train):
    """The recipe of a small model that trains in a minute or two on two CPU cores: grey images, ten classes.

    Args:
      model, data: as of `image_recipe`.
      image_size, patch_size: of the model, in pixels.
      **train: settings of official.config.TRAIN to change.

    Raises:
      ValueError: an unknown model or setting.
    """
    overrides = dict(
        classes=10,
        image_size=image_size,
        patch_size=patch_size,
        channels=1,
        depth=4,
        width=96,
        heads=4,
        ffn_dim=192,
        expert_dim=192,
        representation=False,
    )
    return image_recipe(model, overrides, data, dict(batch_size=64, lr=0.005, weight_decay=0.1, **train))


def choose(argument, choices, what):
    """choices[argument]; `what` names the argument in messages.

    Raises:
      ValueError: an unknown argument; names the known ones.
    """
    if argument not in choices:
        raise ValueError(f"{what} {argument!r} is not allowed: it must be one of {', '.join(filter(None, choices))}")
    return choices[argument]


def imagenet_recipe(model, **overrides):
    """The paper's pretraining on ImageNet-1K, with the hyper-parameters of its appendix.

    Args:
      model: a name of vision.list_models().
      **overrides: settings of the model to change.
    """
    steps_per_epoch = 1_268_355 / 4096  # 99 % of the training split
    return image_recipe(
        model,
        dict(dropout=0.1, **overrides),
        data=dict(
            name="imagenet2012",
            crop="inception",
            flip=True,
            randaugment_layers=2,
            randaugment_magnitude=15,
            label_smoothing=0.1,
            mixup=0.5,
            eval_crop=0.875,
        ),
        train=dict(
            steps=round(300 * steps_per_epoch),
            warmup_steps=round(30 * steps_per_epoch),
            batch_size=4096,
            optimizer="lamb",
            lr=0.01,
            weight_decay=0.1,
            precision="mixed_bfloat16",
            eval_every=round(5 * steps_per_epoch),
        ),
    )


def scratch_recipe(data, argument, sizes, image_size, channels, examples):
    """A small model trained from scratch on ten classes, on two CPU cores.

    Args:
      data: name of the data set.
      argument: a key of `sizes`, optionally with a comma and a variant: a key of ABLATIONS, or "vit".
      sizes: {name: dict of settings of the WideNet and of
          epochs: length of the run,
          pad: of vision.preprocessing.DATA,
          hidden: hidden width of each expert,
          vit_width: width of the ViT with the same step time (measured by benchmarks/variant_steps.py)}.
      image_size, channels: of the images.
      examples: size of the training split.

    Raises:
      ValueError: an argument that is not allowed.
    """
    size, _, variant = argument.partition(",")
    settings = dict(choose(size, sizes, "size"))
    hidden, vit_width, epochs, pad = (settings.pop(name) for name in ("hidden", "vit_width", "epochs", "pad"))
    # A dense layer is as wide as the two experts of a token together.
    settings |= dict(expert_dim=hidden, ffn_dim=2 * hidden, representation=False)
    variants = {"": ("widenet_ti16", {}), "vit": ("vit_ti16", dict(width=vit_width, ffn_dim=4 * vit_width))}
    variants |= {name: ("widenet_ti16", overrides) for name, overrides in ABLATIONS.items()}
    model, overrides = choose(variant, variants, "variant")
    batch_size = 64
    steps_per_epoch = examples // batch_size
    steps = epochs * steps_per_epoch
    return image_recipe(
        model,
        {**dict(classes=10, image_size=image_size, channels=channels), **settings, **overrides},
        data=dict(name=data, flip=True, pad=pad, label_smoothing=0.1),
        train=dict(
            steps=steps,
            warmup_steps=steps // 20,
            batch_size=batch_size,
            optimizer="adamw",
            lr=0.002,
            precision="auto",
            weight_decay=0.1,
            eval_every=steps_per_epoch,
            checkpoint_every=200,
        ),
    )
