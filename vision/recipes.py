"""What recipes in vision/configs share."""

from ml_collections import ConfigDict

import vision
from official.config import literal_settings, train_settings
from vision.preprocessing import data_settings

# The rows of the paper's ablation, as overrides of a WideNet; a ViT-MoE has as many blocks of experts at the end.
ABLATIONS = {
    "shared_norms": dict(norm_groups=1),
    "no_moe": dict(moe_blocks=0),
    "no_sharing": dict(attention_groups=None, ffn_groups=None, moe_blocks=2),
}


def image_recipe(model, overrides, data, train):
    """The config of a recipe for image classification.

    Args:
      model: a name of vision.list_models().
      overrides: of the model's settings.
      data: of vision.preprocessing.data_settings.
      train: of official.config.train_settings.

    Raises:
      ValueError: a model or a setting that there is not.
    """
    data = data_settings(**data)
    return ConfigDict(
        dict(
            name=f"{model}_{data['name']}",
            init="",
            task="vision.classification:ImageClassification",
            model=literal_settings(vision.model_settings(model, **overrides)),
            data=data,
            train=train_settings(**train),
        )
    )


def small_classifier(model, data, image_size, patch_size, **train):
    """The recipe of a model of the zoo at a size that two CPU cores train in a minute or two: grey images, ten classes.

    Args:
      model, data: as of `image_recipe`.
      image_size, patch_size: of the model, in pixels.
      **train: settings of official.config.train_settings other than its and this recipe's defaults.

    Raises:
      ValueError: a model or a setting that there is not.
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
    """choices[argument].

    Raises:
      ValueError: naming the argument and what is allowed.
    """
    if argument not in choices:
        raise ValueError(f"{what} {argument!r} is not allowed: it must be one of {', '.join(filter(None, choices))}")
    return choices[argument]


def imagenet_recipe(model, **overrides):
    """The paper's pretraining on ImageNet-1K (its appendix's table of hyper-parameters) of any model.

    Args:
      model: a name of vision.list_models().
      **overrides: of the model's settings.
    """
    steps_per_epoch = 1_268_355 / 4096  # 99 % of the training split; the rest is for validation
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


def scratch_recipe(data, argument, sizes, image_size, channels, examples, pad):
    """A small model trained from scratch on ten classes, on two CPU cores.

    Args:
      data: name of the data set.
      argument: a key of `sizes`, and after a comma the name of a variant: a key of ABLATIONS, or "vit".
      sizes: {name: settings of the WideNet and `epochs`}; `hidden` is the hidden width of each expert.
      image_size, channels: of the images.
      examples: of the training split.
      pad: as of vision.preprocessing.data_settings.

    Raises:
      ValueError: an argument that is not allowed.
    """
    size, _, variant = argument.partition(",")
    settings = dict(choose(size, sizes, "size"))
    hidden, epochs = settings.pop("hidden"), settings.pop("epochs")
    # The experts that a token goes to are together as wide as the dense layers of the models without experts.
    settings |= dict(expert_dim=hidden, ffn_dim=2 * hidden, drop_path=0.05, representation=False)
    variants = {"": ("widenet_ti16", {}), "vit": ("vit_ti16", {})}
    variants |= {name: ("widenet_ti16", overrides) for name, overrides in ABLATIONS.items()}
    model, overrides = choose(variant, variants, "variant")
    batch_size = 64
    steps_per_epoch = examples // batch_size
    steps = epochs * steps_per_epoch
    return image_recipe(
        model,
        dict(classes=10, image_size=image_size, channels=channels, **settings, **overrides),
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
