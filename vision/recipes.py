"""What recipes in vision/configs share."""

from ml_collections import ConfigDict

import vision
from official.config import literal_settings, train_settings


def small_classifier(model, data, image_size, patch_size, **train):
    """The recipe of a model of the zoo at a size that two CPU cores train in a minute or two: grey images, ten classes.

    Args:
      model: a name of vision.list_models().
      data: the `data` settings (vision.classification.ImageClassification), but for `dir`.
      image_size, patch_size: of the model, in pixels.
      **train: settings of official.config.train_settings other than its and this recipe's defaults.

    Raises:
      ValueError: a model or a train setting that there is not.
    """
    settings = vision.model_settings(
        model,
        classes=10,
        image_size=image_size,
        patch_size=patch_size,
        channels=1,
        depth=4,
        width=96,
        heads=4,
        ffn_dim=192,
        expert_dim=192,
        representation=False,
    )
    return ConfigDict(
        dict(
            name=f"{model}_{data['name']}",
            task="vision.classification:ImageClassification",
            model=literal_settings(settings),
            data=dict(data, dir=""),
            init="",
            train=train_settings(batch_size=64, lr=0.005, weight_decay=0.1, **train),
        )
    )
