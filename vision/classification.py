"""Image classification as a task of the driver."""

import functools

import tensorflow as tf

from vision.augmentation import random_affine
from vision.data import evaluation_batches, load_dataset, train_batches
from vision.models import build_model
from vision.transfer import transfer_weights


class ImageClassification:
    """An official.task.Task; reads `model`, `data` and `train` of the config.

    `model` holds every setting of vision.model_settings; `data.name` is a key of vision.data.DATASETS, `data.dir` the directory
    that has it, and `data.rotate`, `data.scale` and `data.shift` are those of vision.augmentation.random_affine.

    Raises:
      ValueError: at construction, for a setting that is not allowed or does not fit the data set.
    """

    unit = "images"

    def __init__(self, config):
        self._config = config
        self._data = load_dataset(config.data.name, config.data.dir)
        shape = self._data.train.images.shape[1:]
        wanted = {"image_size": shape[0], "channels": shape[-1], "classes": self._data.classes}
        for setting, value in wanted.items():
            if config.model[setting] != value:
                raise ValueError(
                    f"model.{setting}={config.model[setting]!r} is not allowed: data.name={config.data.name!r} needs {value}"
                )

    def create_model(self):
        return build_model(name=self._config.name, **{key: self._config.model[key] for key in self._config.model})

    def initialize(self, model, weights):
        return transfer_weights(model, weights)

    def loss(self):
        return tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def metrics(self):
        return [tf.keras.metrics.SparseCategoricalAccuracy(name="accuracy")]

    def train_dataset(self, start_step):
        data, train = self._config.data, self._config.train
        augment = functools.partial(random_affine, rotate=data.rotate, scale=data.scale, shift=data.shift)
        return train_batches(self._data.train, train.batch_size, train.seed, start_step, augment)

    def validation_dataset(self):
        return evaluation_batches(self._data.validation, self._config.train.batch_size)
