"""Distillation of an image model: a model learns every block's output of its teacher, without labels.

Command: python -m official.train --config=vision/configs/distil.py --workdir=runs/distilled --config.init=GROWN \
    --config.distillation.teacher=TEACHER, where GROWN is what official.grow made of TEACHER, a run or an exported model; or
    --config.init=TEACHER and settings of another deployment, such as --config.model.attention_groups=2
Another size or deployment than that of init: --config=vision/configs/distil.py:widenet_s16
Data: python -m vision.prepare cifar10, in TensorFlow Datasets' folder or in --config.data.dir=DIR; your own images by
    --config.data.name=folder. Logits are compared, too, where the teacher has those of the same classes.
Cost: 3,000 steps of 64 images.
Accuracy: not measured here.
"""

from official.distillation import distillation_recipe
from vision.recipes import image_recipe


def get_config(model="", init=""):
    """The recipe; `model` is a name of vision.list_models(), by default that of the size of `init`, or widenet_s16."""
    recipe = image_recipe(
        model,
        dict(classes=None, representation=False),
        data=dict(name="cifar10", train_split="train[:98%]", validation_split="train[98%:]", flip=True),
        train=dict(
            steps=3000,
            warmup_steps=100,
            batch_size=64,
            optimizer="adamw",
            lr=1e-3,
            weight_decay=0.0,
            schedule="linear",
            eval_every=300,
        ),
        init=init,
        default="widenet_s16",
    )
    return distillation_recipe(recipe)
