"""Image classification as a task of the driver."""

import functools

import tensorflow as tf

from official.data.bad_examples import BadExamples
from official.exportable import ExportSpec, TracedModel, keras_module, model_endpoint
from official.task import Task
from vision.caching import cached
from vision.data import open_dataset
from vision.models import build_model, features_of
from vision.pipeline import ImagePipeline
from vision.preprocessing import check_data_settings, complete_data_settings
from vision.serving import classify_endpoint, features_endpoints
from widenet import Model
from widenet.depths import layer_depths
from widenet.moe import DROPS_NOTHING


class ImageClassification(Task):
    """Reads `name`, `model`, `data` and `train` of the config.

    `model` holds every setting of vision.model_settings, `data` those of vision.preprocessing.data_settings, of which `classes`
    is filled in where it is None. Where it is not, as in an exported model's config, the data set is looked for when its examples
    are asked for.

    Raises:
      ValueError: at construction, for a setting that is not allowed or does not fit the data set, or a data set not there.
    """

    unit = "images"
    kind = "image classification"
    parts = ("model", "encoder")

    def __init__(self, config):
        self._config = config
        data = config.data
        complete_data_settings(data)
        check_data_settings(data)
        self.bad_examples = BadExamples(data.bad_examples)
        if data.mixup and config.train.batch_size % 2:
            size = config.train.batch_size
            raise ValueError(f"train.batch_size={size} is not allowed: it must be even, for data.mixup mixes two by two")
        self._pipelines = {}
        if data.classes is None:
            data.classes = tuple(self._data.class_names)
            # Now, so that a split that there is not, or a bad example among those in memory, is told before anything is built.
            for role in ("train", "validation"):
                self._pipeline(role)

    @property
    def class_names(self):
        return list(self._config.data.classes)

    @functools.cached_property
    def _data(self):
        """The data set, which must fit the model."""
        data, model = self._config.data, self._config.model
        found = open_dataset(data.name, data.dir)
        names = list(found.class_names)
        if data.classes is not None and list(data.classes) != names:
            raise ValueError(f"data.classes={data.classes!r} is not allowed: data.name={data.name!r} has {names!r}")
        for setting, allowed in {"classes": (len(names),), "channels": found.channels}.items():
            if model[setting] not in allowed:
                needed = " or ".join(map(str, allowed))
                raise ValueError(f"model.{setting}={model[setting]!r} is not allowed: data.name={data.name!r} needs {needed}")
        return found

    def create_model(self):
        return self._build_model()

    def _build_model(self, **others):
        settings = {key: self._config.model[key] for key in self._config.model}
        return build_model(name=self._config.name, **{**settings, **others})

    def part(self, name):
        """ "model" gives classes, and as a module "logits" and "features"; "encoder" has no head and gives "features"."""
        self.check_part(name)
        model = self._build_model(**DROPS_NOTHING)
        images, features = model.input, features_of(model)
        if name == "encoder":
            traced = TracedModel(Model(images, {"features": features}, name=model.name))
            endpoints = features_endpoints(traced.select_output("features"), self._config)
            return ExportSpec("image features", model, endpoints, keras_module(traced), settings=DROPS_NOTHING)
        traced = TracedModel(Model(images, {"logits": model.output, "features": features}, name=model.name))
        endpoints, module = self.endpoints(traced.select_output("logits")), keras_module(traced)
        return ExportSpec(self.kind, model, endpoints, module, class_names=self.class_names, settings=DROPS_NOTHING)

    def endpoints(self, model):
        """Encoded images to classes: the endpoint "classify"; and float images to logits: "serve"."""
        return {"classify": classify_endpoint(model, self.class_names, self._config), "serve": model_endpoint(model)}

    def layer_depths(self, model):
        return layer_depths(model)

    def initialize(self, model, weights):
        from vision.transfer import transfer_weights  # only runs that start from other weights need it

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
        from official.evaluation.classification import ClassificationEvaluation  # training alone does not need it

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
