"""A short run on Fashion-MNIST: whether a change trains as well as before, on pictures that are harder than digits.

Command: python -m official.train --config=vision/configs/fashion_mnist.py --workdir=runs/fashion_mnist
Data: python -m vision.prepare fashion_mnist, in TensorFlow Datasets' folder or in --config.data.dir=DIR.
Cost and accuracy: docs/performance.md has those of six finished runs on two cores.
"""

from ml_collections import ConfigDict

import vision
from official.config import literal_settings, train_settings


def get_config(model="widenet_ti16"):
    """The recipe; `model` is a name of vision.list_models()."""
    settings = vision.model_settings(
        model,
        classes=10,
        image_size=28,
        patch_size=7,
        channels=1,
        depth=4,
        width=96,
        heads=4,
        ffn_dim=192,
        expert_dim=192,
        representation=False,
    )
    return ConfigDict(
        dict(
            name=f"{model}_fashion_mnist",
            task="vision.classification:ImageClassification",
            model=literal_settings(settings),
            data=dict(name="fashion_mnist", dir="", rotate=0.0, scale=0.05, shift=1.0),
            train=train_settings(
                steps=1688,  # two epochs of 54,000 images
                warmup_steps=170,
                eval_every=422,
                batch_size=64,
                lr=0.005,
                weight_decay=0.1,
            ),
        )
    )
