"""CIFAR-10 from scratch on two CPU cores: a WideNet in 15 or 40 minutes.

Command: python -m official.train --config=vision/configs/cifar10.py:40 --workdir=runs/cifar10_40
Arguments: as of vision/configs/fashion_mnist.py.
Data: python -m vision.prepare cifar10, in TensorFlow Datasets' folder or in --config.data.dir=DIR.
Cost and accuracy: see docs/results.md.
"""

from vision.recipes import scratch_recipe

COMMON = dict(depth=4, width=96, heads=4, hidden=192, num_experts=8, vit_width=100)
SIZES = {
    "15": dict(**COMMON, patch_size=8, pad=2, epochs=12),
    "40": dict(**COMMON, patch_size=4, pad=4, epochs=13),
}


def get_config(argument="15"):
    """The recipe; `argument` is "15" or "40", optionally with a comma and a variant."""
    return scratch_recipe("cifar10", argument, SIZES, image_size=32, channels=3, examples=45_000)
