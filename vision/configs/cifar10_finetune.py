"""The paper's fine-tuning on CIFAR-10 of a model that was pretrained on ImageNet-1K.

Command: python -m official.train --config=vision/configs/cifar10_finetune.py --workdir=runs/cifar10_finetune \
    --config.init=PRETRAINED
    where PRETRAINED is a workdir, checkpoint or SavedModel of vision/configs/imagenet.py, whose size is used.
Another size or deployment: --config=vision/configs/cifar10_finetune.py:vit_b16
Data: python -m vision.prepare cifar10, in TensorFlow Datasets' folder or in --config.data.dir=DIR.
Cost: 100 epochs of 49,000 images at 224 pixels. Not run here.
Accuracy: the paper's top-1 is 98.3 (vit_b16), 98.2 (vit_l16), 98.5 (vit_moe_b16, vit_moe_l16), 98.4 (widenet_b16),
    98.8 (widenet_l16).
"""

from vision.recipes import image_recipe


def get_config(model="", init=""):
    """The recipe; `model` is a name of vision.list_models(), by default that of the size of `init`, or widenet_b16."""
    steps_per_epoch = 49_000 / 512
    return image_recipe(
        model,
        dict(classes=10, representation=False, dropout=0.1),
        data=dict(name="cifar10", train_split="train[:98%]", validation_split="train[98%:]", flip=True, mixup=0.5),
        train=dict(
            steps=round(100 * steps_per_epoch),
            batch_size=512,
            optimizer="sgd",
            momentum=0.9,
            lr=0.03,
            weight_decay=0.0,
            eval_every=round(2 * steps_per_epoch),
        ),
        init=init,
        default="widenet_b16",
    )
