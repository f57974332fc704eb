"""A small WideNet on handwritten digits.

Purpose: see everything work, from data to exported model. `make demo` runs this recipe.
Command: python -m official.train --config=vision/configs/digits.py --workdir=runs/digits
Another model of the zoo, at this size: --config=vision/configs/digits.py:vit_ti16
Cost and accuracy: docs/results/digits/summary.json has those of a finished run on two cores.
"""

from ml_collections import ConfigDict

import vision
from official.config import literal_settings, train_settings


def get_config(model="widenet_ti16"):
    """The recipe; `model` is a name of vision.list_models()."""
    settings = vision.model_settings(
        model,
        classes=10,
        image_size=8,
        patch_size=2,
        channels=1,
        depth=4,
        width=96,
        heads=4,
        ffn_dim=192,
        expert_dim=192,
        representation=False,
    )
    steps_per_epoch = 23  # 1,438 images in batches of 64
    return ConfigDict(
        dict(
            name=f"{model}_digits",
            task="vision.classification:ImageClassification",
            model=literal_settings(settings),
            data=dict(name="digits", dir="", rotate=8.0, scale=0.1, shift=0.5),
            train=train_settings(
                steps=70 * steps_per_epoch,
                warmup_steps=5 * steps_per_epoch,
                eval_every=5 * steps_per_epoch,
                batch_size=64,
                lr=0.005,
                weight_decay=0.1,
            ),
        )
    )
