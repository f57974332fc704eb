"""A small WideNet on handwritten digits.

Purpose: see everything work, from data to exported model, in a minute or two. `make demo` runs it.
Command: python -m official.train --config=vision/configs/digits.py --workdir=runs/digits
Another model of the zoo, at this size: --config=vision/configs/digits.py:vit_ti16
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
        depth=6,
        width=64,
        heads=4,
        ffn_dim=128,
        expert_dim=128,
        representation=False,
        dropout=0.1,
    )
    steps_per_epoch = 11  # 1,438 images
    return ConfigDict(
        dict(
            name=f"{model}_digits",
            task="vision.classification:ImageClassification",
            model=literal_settings(settings),
            data=dict(name="digits", rotate=10.0, scale=0.1, shift=1.0),
            train=train_settings(
                steps=60 * steps_per_epoch,
                warmup_steps=5 * steps_per_epoch,
                eval_every=2 * steps_per_epoch,
                batch_size=128,
                lr=0.02,
                weight_decay=0.01,
            ),
        )
    )
