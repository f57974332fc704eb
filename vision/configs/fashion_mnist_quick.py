"""A short run on Fashion-MNIST, to check that a change of the code trains as well as before; harder than digits.

Command: python -m official.train --config=vision/configs/fashion_mnist_quick.py --workdir=runs/fashion_mnist_quick
Data: python -m vision.prepare fashion_mnist, in TensorFlow Datasets' folder or in --config.data.dir=DIR.
Cost and accuracy: see docs/performance.md, six runs on two cores.
"""

from vision.recipes import small_classifier


def get_config(model="widenet_ti16"):
    """The recipe; `model` is a name of vision.list_models()."""
    return small_classifier(
        model,
        data=dict(name="fashion_mnist", rotate=0.0, scale=0.05, shift=1.0),
        image_size=28,
        patch_size=7,
        steps=1688,  # two epochs of 54,000 images
        warmup_steps=170,
        eval_every=422,
    )
