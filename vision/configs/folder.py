"""A small WideNet on your own images, in folders FOLDER/SPLIT/CLASS/ such as photos/train/cat/1.jpg (see docs/images.md).

Command: python -m official.train --config=vision/configs/folder.py:FOLDER --workdir=runs/photos
    Size, resolution and length of the run are chosen by the number of images. They are those of a small folder with
    --config=vision/configs/folder.py --config.data.dir=FOLDER
Data: without a folder val, valid, validation or dev, the last tenth of train is for validation.
Cost: 30 to 60 epochs, see SIZES.
Accuracy: depends on your data. The checkpoint with the best validation accuracy is exported. With few images it is better to
    start from a model that was trained on others: --config.init=RUN, with that run's settings of the model (config.json), such as
    --config.model.width=128
"""

from vision.data import open_dataset
from vision.recipes import image_recipe

BATCH_SIZE = 32
# By the largest number of training images: epochs, and settings of the model.
SIZES = {
    2_000: (60, dict(image_size=64, patch_size=8, depth=4, width=96, heads=4, ffn_dim=384, expert_dim=192)),
    20_000: (40, dict(image_size=96, patch_size=8, depth=6, width=128, heads=4, ffn_dim=512, expert_dim=256)),
    float("inf"): (30, dict(image_size=160, patch_size=16)),
}


def get_config(folder=""):
    """The recipe for the images in `folder`; "" is for 1,000 images in a folder that --config.data.dir names."""
    images = 1000
    if folder:
        dataset = open_dataset("folder", folder)
        images = dataset.source(dataset.splits.get("train", "train"), 1).examples
    epochs, settings = next(row for limit, row in SIZES.items() if images <= limit)
    steps_per_epoch = max(images // BATCH_SIZE, 1)
    steps = epochs * steps_per_epoch
    return image_recipe(
        "widenet_ti16",
        dict(classes=None, representation=False, dropout=0.1, **settings),
        data=dict(name="folder", dir=folder, crop="inception", min_area=0.25, flip=True, label_smoothing=0.1),
        train=dict(
            steps=steps,
            warmup_steps=steps // 20,
            batch_size=BATCH_SIZE,
            optimizer="adamw",
            lr=0.001,
            eval_every=max(steps // 30, 1),
            best="accuracy",
        ),
    )
