"""A small WideNet on handwritten digits.

Purpose: try everything, from data to exported model. `make demo` runs this recipe.
Command: python -m official.train --config=vision/configs/digits.py --workdir=runs/digits
Another model, at this size: --config=vision/configs/digits.py:vit_ti16
Cost and accuracy: see docs/results/digits/summary.json, a run on two cores.
"""

from vision.recipes import small_classifier


def get_config(model="widenet_ti16"):
    """The recipe; `model` is a name of vision.list_models()."""
    steps_per_epoch = 23  # 1,438 images in batches of 64
    return small_classifier(
        model,
        data=dict(name="digits", rotate=8.0, scale=0.1, shift=0.5),
        image_size=8,
        patch_size=2,
        steps=70 * steps_per_epoch,
        warmup_steps=5 * steps_per_epoch,
        eval_every=5 * steps_per_epoch,
    )
