"""Fashion-MNIST from scratch on two CPU cores: a WideNet in 15 or 40 minutes, and the models it is compared with.

Command: python -m official.train --config=vision/configs/fashion_mnist.py:15 --workdir=runs/fashion_mnist_15
Arguments: 15 or 40 (minutes), optionally with a variant, such as 15,shared_norms. Variants: shared_norms, no_moe and no_sharing
    (rows of the paper's ablation), and vit (a vision transformer with the same depth and step time).
Data: python -m vision.prepare fashion_mnist, in TensorFlow Datasets' folder or in --config.data.dir=DIR.
Cost and accuracy: see docs/results.md.
"""

from vision.recipes import scratch_recipe

COMMON = dict(patch_size=7, depth=4, heads=4, num_experts=8)
SIZES = {
    "15": dict(**COMMON, width=96, hidden=192, vit_width=100, pad=0, epochs=9),
    "40": dict(**COMMON, width=128, hidden=256, vit_width=132, pad=1, epochs=30),
}


def get_config(argument="15"):
    """The recipe; `argument` is "15" or "40", optionally with a comma and a variant."""
    return scratch_recipe("fashion_mnist", argument, SIZES, image_size=28, channels=1, examples=54_000)
