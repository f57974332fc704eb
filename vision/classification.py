"""The image classification task (official.task.Task)."""

import functools

import tensorflow as tf

from official.config import meanings_of
from official.data.bad_examples import BadExamples
from official.exportable import ExportSpec, TracedModel, keras_module, model_endpoint
from official.task import Task, evaluation_title
from vision.data import open_dataset
from vision.models import build_model, features_of, forward_flops
from vision.pipeline import ImagePipeline
from vision.preprocessing import DATA, check_data_settings, complete_data_settings
from vision.serving import classify_endpoint, features_endpoints
from vision.zoo import MEANINGS
from widenet import Model
from widenet import zoo as encoder_zoo
from widenet.moe import DROPS_NOTHING


class ImageClassification(Task):
    """Trains a model of the zoo on a data set of vision.data.

    The config's `model` has all settings of vision.model_settings, its `data` those of vision.preprocessing.DATA. data.classes
    and model.classes are filled in if they are None. If data.classes is set, as in the config of an exported model, the data set
    is only opened when its examples are needed.

    Raises:
      ValueError: from the constructor, for a setting that is not allowed or does not fit the data set, or a missing data set.
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
            raise ValueError(f"train.batch_size={size} is not allowed: it must be even, since data.mixup makes pairs")
        self._pipelines = {}
        if data.classes is None:
            data.classes = tuple(self._data.class_names)
            # Now, so that an unknown split or a bad example in memory is refused before the model is built.
            for role in ("train", "validation"):
                self._pipeline(role)
        if config.model.classes is None:
            config.model.classes = len(data.classes)

    @property
    def class_names(self):
        return list(self._config.data.classes)

    @functools.cached_property
    def _data(self):
        """The data set; raises ValueError if it does not fit the model."""
        data, model = self._config.data, self._config.model
        dataset = open_dataset(data.name, data.dir)
        if data.name == "folder":
            dataset.warn_of_skipped()
        names = list(dataset.class_names)
        if data.classes is not None and list(data.classes) != names:
            raise ValueError(f"data.classes={data.classes!r} is not allowed: data.name={data.name!r} has {names!r}")
        for setting, allowed in {"classes": (len(names),), "channels": dataset.channels}.items():
            if model[setting] not in (None, *allowed):
                needed = " or ".join(map(str, allowed))
                raise ValueError(f"model.{setting}={model[setting]!r} is not allowed: data.name={data.name!r} needs {needed}")
        return dataset

    @classmethod
    def setting_meanings(cls):
        return {"data": meanings_of(DATA), "model": {**encoder_zoo.MEANINGS, **MEANINGS}}

    def create_model(self):
        return self._build_model()

    def _build_model(self, **others):
        settings = {key: self._config.model[key] for key in self._config.model}
        return build_model(name=self._config.name, **{**settings, **others})

    def part(self, name):
        """The "model", whose signatures return classes and whose module returns "logits" and "features"; or the "encoder", which
        has no head and returns "features". Of a model without a head they are the same.
        """
        self.check_part(name)
        model = self._build_model(**DROPS_NOTHING)
        images, features = model.input, features_of(model)
        if name == "encoder" or not self._config.model.classes:
            traced = TracedModel(Model(images, {"features": features}, name=model.name))
            endpoints = features_endpoints(traced.select_output("features"), self._config)
            return ExportSpec("image features", model, endpoints, keras_module(traced), settings=DROPS_NOTHING)
        traced = TracedModel(Model(images, {"logits": model.output, "features": features}, name=model.name))
        endpoints, module = self.endpoints(traced.select_output("logits")), keras_module(traced)
        return ExportSpec(self.kind, model, endpoints, module, class_names=self.class_names, settings=DROPS_NOTHING)

    def endpoints(self, model):
        """ "classify": encoded images to classes; "serve": float images to logits."""
        return {"classify": classify_endpoint(model, self.class_names, self._config), "serve": model_endpoint(model)}

    def layer_depths(self, model):
        from widenet.depths import layer_depths  # which only layer-wise learning-rate decay needs

        return layer_depths(model)

    def forward_flops(self, model, kept):
        return forward_flops(model, kept)

    def trained_model(self, path, setting):
        """Of images and patches of this task's size."""
        # Only a run that learns from another model needs these.
        from vision.models import settings_of
        from vision.sizes import plain_size
        from vision.zoo import load_model

        try:
            model = load_model(path, name="teacher")
        except ValueError as error:
            raise ValueError(f"{setting}: {error}") from error
        theirs, ours = settings_of(model), self._config.model
        for name in ("image_size", "patch_size", "channels", "pool"):
            its, own = theirs[name], plain_size(ours[name]) if name.endswith("size") else ours[name]
            if its != own:
                raise ValueError(f"{setting}={path!r} is not allowed: its {name} is {its}, and model.{name} {own}")
        return model

    def initialize(self, model, weights):
        # Only runs that start from other weights need these.
        from official.checkpoints.pretrained import saved_settings
        from vision.transfer import transfer_weights

        return transfer_weights(model, weights, saved_settings(self._config.init, "init"))

    def grow(self, model, parent, **options):
        from vision.transfer import grow_model  # which only official.grow needs

        return grow_model(model, parent, **options)

    def loss(self):
        return tf.keras.losses.CategoricalCrossentropy(from_logits=True)

    def metrics(self):
        return [tf.keras.metrics.CategoricalAccuracy(name="accuracy")]

    def describe_data(self):
        return {role: self._pipeline(role).describe(tuple(self.class_names)) for role in ("train", "validation")}

    def train_dataset(self, start_step):
        train = self._config.train
        return self._pipeline("train").train_batches(train.batch_size, train.seed, start_step)

    def validation_dataset(self):
        return self.evaluation_dataset("validation")

    def evaluation_dataset(self, split):
        """All good examples of a split once, in global batches.

        Args:
          split: "train", "validation" or "test" as set in `data`, or any split in TensorFlow Datasets' syntax.

        Raises:
          ValueError: an unknown split.
        """
        return self._pipeline(split).evaluation_batches(self._config.train.batch_size)

    def evaluation(self, split):
        from official.evaluation.classification import ClassificationEvaluation  # training alone does not need it

        return ClassificationEvaluation(self.class_names, evaluation_title(self._config.name, split))

    def pictures(self, part):
        from official.evaluation.classification import pictures_of

        return pictures_of(self, part)

    def augmented(self, examples, epochs):
        """The first training examples, for inspection.

        Returns:
          (images, labels) without augmentation, and a list of (images, labels) with that of each epoch: float32 arrays
          [examples, height, width, channels] in [-1, 1] and [examples, classes].
        """
        pipeline = self._pipeline("train")
        batches = [next(iter(pipeline.evaluation_batches(examples)))]
        batches += [pipeline.first_examples(examples, self._config.train.seed, epoch) for epoch in range(epochs)]
        batches = [(images.numpy(), labels.numpy()) for images, labels in batches]
        return batches[0], batches[1:]

    def _source(self, role):
        """The source of a role, "train", "validation" or "test", or of a split by its name."""
        split = self._config.data.get(f"{role}_split")
        try:
            return self._data.source(split or self._data.splits.get(role, role), self._config.data.shuffle_buffer)
        except ValueError as error:
            raise ValueError(f"data.{role}_split={split!r} is not allowed: {error}" if split else str(error)) from error

    def _pipeline(self, role):
        if role not in self._pipelines:
            data, model, classes = self._config.data, self._config.model, len(self.class_names)
            source = self._source(role)
            if data.cache_mib and not source.decoded:
                from vision.caching import cached

                source = cached(source, model.channels, data.cache_mib, classes, self.bad_examples)
            self._pipelines[role] = ImagePipeline(source, model.image_size, model.channels, classes, data, self.bad_examples)
        return self._pipelines[role]
