"""Fashion-MNIST from scratch, for two CPU cores: a WideNet in 15 or in 40 minutes, and what it is compared with.

Command: python -m official.train --config=vision/configs/fashion_mnist.py:15 --workdir=runs/fashion_mnist_15
Arguments: 15 or 40, the minutes; after a comma a variant, as in 15,shared_norms: shared_norms, no_moe, no_sharing (the rows of
    the paper's ablation) or vit (a vision transformer of the same width and depth).
Data: python -m vision.prepare fashion_mnist, in TensorFlow Datasets' folder or in --config.data.dir=DIR.
Cost and accuracy: docs/results.md has those of finished runs.
"""

from vision.recipes import scratch_recipe

SIZES = {
    "15": dict(patch_size=7, depth=4, width=96, heads=4, hidden=192, epochs=12),
    "40": dict(patch_size=7, depth=4, width=96, heads=4, hidden=192, epochs=36),
}


def get_config(argument="15"):
    """The recipe; `argument` is "15" or "40", and a variant after a comma."""
    return scratch_recipe("fashion_mnist", argument, SIZES, image_size=28, channels=1, examples=54_000, pad=1)
