"""CIFAR-10 from scratch, for two CPU cores: a WideNet in 15 or in 40 minutes.

Command: python -m official.train --config=vision/configs/cifar10.py:40 --workdir=runs/cifar10_40
Arguments: those of vision/configs/fashion_mnist.py.
Data: python -m vision.prepare cifar10, in TensorFlow Datasets' folder or in --config.data.dir=DIR.
Cost and accuracy: docs/results.md has those of finished runs.
"""

from vision.recipes import scratch_recipe

SIZES = {
    "15": dict(patch_size=8, depth=4, width=96, heads=4, hidden=192, epochs=12),
    "40": dict(patch_size=4, depth=4, width=96, heads=4, hidden=192, epochs=13),
}


def get_config(argument="15"):
    """The recipe; `argument` is "15" or "40", and a variant after a comma."""
    return scratch_recipe("cifar10", argument, SIZES, image_size=32, channels=3, examples=45_000, pad=4)
