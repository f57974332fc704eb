"""The paper's pretraining on ImageNet-1K, for each model of its results table.

Command, on a TPU, with the data set in DIR:
    python -m official.train --config=vision/configs/imagenet.py:widenet_b16 --workdir=runs/imagenet --config.data.dir=DIR \
        --config.train.strategy=tpu --config.train.tpu=local
Models: vit_b16, vit_l16, vit_moe_b16, vit_moe_l16, widenet_b16, widenet_l16, widenet_h16 (or any other model).
Data: python -m vision.prepare imagenet2012 --data_dir=DIR --manual_dir=FOLDER, where FOLDER has the data set's two tar files.
Cost: 300 epochs of 1.27 million images; the paper used up to 256 TPU v3 cores. Not run here.
Accuracy on the test split (ImageNet's validation split): the paper's top-1 is 78.6 (vit_b16), 77.5 (vit_l16),
    77.9 (vit_moe_b16), 77.4 (vit_moe_l16), 77.5 (widenet_b16), 79.5 (widenet_l16), 80.1 (widenet_h16).
"""

from vision.recipes import imagenet_recipe


def get_config(model="widenet_b16"):
    """The recipe; `model` is a name of vision.list_models()."""
    return imagenet_recipe(model)
