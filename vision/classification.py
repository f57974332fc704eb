"""Image classification as a task of the driver."""

import tensorflow as tf

from official.bad_examples import BadExamples
from official.classification_evaluation import ClassificationEvaluation
from official.task import Task
from vision.caching import cached
from vision.data import open_dataset
from vision.models import build_model
from vision.pipeline import ImagePipeline
from vision.preprocessing import check_data_settings
from vision.transfer import transfer_weights
from widenet.depths import layer_depths


class ImageClassification(Task):
    """Reads `name`, `model`, `data` and `train` of the config.

    `model` holds every setting of vision.model_settings, `data` those of vision.preprocessing.data_settings.

    Raises:
      ValueError: at construction, for a setting that is not allowed or does not fit the data set, or a data set not there.
    """

    unit = "images"

    def __init__(self, config):
        self._config = config
        data, model = config.data, config.model
        check_data_settings(data)
        self.bad_examples = BadExamples(data.bad_examples)
        if data.mixup and config.train.batch_size % 2:
            size = config.train.batch_size
            raise ValueError(f"train.batch_size={size} is not allowed: it must be even, for data.mixup mixes two by two")
        self._data = open_dataset(data.name, data.dir)
        self.class_names = list(self._data.class_names)
        for setting, allowed in {"classes": (len(self.class_names),), "channels": self._data.channels}.items():
            if model[setting] not in allowed:
                needed = " or ".join(map(str, allowed))
                raise ValueError(f"model.{setting}={model[setting]!r} is not allowed: data.name={data.name!r} needs {needed}")
        # Now, so that a split that there is not, or a bad example among those in memory, is told before anything is built.
        self._pipelines = {}
        for role in ("train", "validation"):
            self._pipeline(role)

    def create_model(self):
        return build_model(name=self._config.name, **{key: self._config.model[key] for key in self._config.model})

    def layer_depths(self, model):
        return layer_depths(model)

    def initialize(self, model, weights):
        return transfer_weights(model, weights)

    def loss(self):
        return tf.keras.losses.CategoricalCrossentropy(from_logits=True)

    def metrics(self):
        return [tf.keras.metrics.CategoricalAccuracy(name="accuracy")]

    def train_dataset(self, start_step):
        train = self._config.train
        return self._pipeline("train").train_batches(train.batch_size, train.seed, start_step)

    def validation_dataset(self):
        return self.evaluation_dataset("validation")

    def evaluation_dataset(self, split):
        """All good examples of a split once, in global batches.

        Args:
          split: "train", "validation" or "test" for what `data` says of them, or any split in TensorFlow Datasets' syntax.

        Raises:
          ValueError: a split that there is not.
        """
        return self._pipeline(split).evaluation_batches(self._config.train.batch_size)

    def evaluation(self, split):
        return ClassificationEvaluation(self.class_names)

    def augmented(self, examples, epochs):
        """The first training examples, to look at.

        Returns:
          (images, labels) as evaluated, and a list of such pairs, one an epoch, as trained on: float32 arrays
          [examples, size, size, channels] in [-1, 1] and [examples, classes].
        """
        pipeline = self._pipeline("train")
        batches = [next(iter(pipeline.evaluation_batches(examples)))]
        batches += [pipeline.first_examples(examples, self._config.train.seed, epoch) for epoch in range(epochs)]
        batches = [(images.numpy(), labels.numpy()) for images, labels in batches]
        return batches[0], batches[1:]

    def _source(self, role):
        """Of the split that plays a role, or of any other split as it is named."""
        given = self._config.data.get(f"{role}_split")
        try:
            return self._data.source(given or self._data.splits.get(role, role), self._config.data.shuffle_buffer)
        except ValueError as error:
            raise ValueError(f"data.{role}_split={given!r} is not allowed: {error}" if given else str(error)) from error

    def _pipeline(self, role):
        if role not in self._pipelines:
            data, model, classes = self._config.data, self._config.model, len(self.class_names)
            source = cached(self._source(role), model.channels, data.cache_mib, classes, self.bad_examples)
            self._pipelines[role] = ImagePipeline(source, model.image_size, model.channels, classes, data, self.bad_examples)
        return self._pipelines[role]
