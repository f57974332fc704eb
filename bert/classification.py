"""Classification and regression of texts and of pairs of texts as a task of the driver."""

import pathlib
import tempfile

import tensorflow as tf

from bert.serving import text_inputs, text_specs
from bert.task import TextTask
from bert.texts.datasets import open_dataset
from bert.texts.evaluation import TextClassificationEvaluation, TextRegressionEvaluation
from bert.texts.examples import SCORE_NAME
from bert.texts.metrics import keras_metrics
from bert.texts.pipeline import TextPipeline
from bert.texts.settings import check_data_settings

CLASSES_FILE = "classes.txt"


class TextClassification(TextTask):
    """A bert.task.TextTask; labels that are scores make it a regression: one output and the mean squared error.

    `data` holds the settings of bert.texts.settings.data_settings. Filled in where they are None: model.classes, data.classes and
    data.pairs.

    Raises:
      ValueError: at construction, for a setting that is not allowed or does not fit the data set, a data set that is not there,
        or a bad example.
    """

    kind = "text classification"
    model_task = "classification"

    def __init__(self, config):
        data, model = config.data, config.model
        check_data_settings(data)
        super().__init__(config)
        is_new = data.pairs is None
        self._data = open_dataset(data, self.bad_examples)
        self.class_names = tuple(self._data.class_names)
        self.is_regression = self.class_names == (SCORE_NAME,)
        if data.classes and tuple(data.classes) != self.class_names:
            raise ValueError(f"data.classes={data.classes!r} is not allowed: data.name={data.name!r} has {self.class_names!r}")
        data.classes, data.pairs = self.class_names, self._data.pairs
        if model.classes is None:
            model.classes = len(self.class_names)
        if model.classes != len(self.class_names):
            what = "scores, not classes" if self.is_regression else f"{len(self.class_names)} classes"
            needed = f"{len(self.class_names)}, for data.name={data.name!r} has {what}"
            raise ValueError(f"model.classes={model.classes!r} is not allowed: it must be {needed}")
        self._examples, self._pipelines = {}, {}
        if is_new:
            # Now, so that a split that there is not, or a bad example, is told before anything is built. An exported model's
            # config has been through this.
            for role in ("train", "validation"):
                self._pipeline(role)

    @property
    def tokens_per_example(self):
        return self._pipeline("train").tokens_per_example

    def loss(self):
        if self.is_regression:
            return tf.keras.losses.MeanSquaredError()
        return tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def metrics(self):
        return keras_metrics(self._data.metrics, self.config.model.classes)

    def train_dataset(self, start_step):
        train = self.config.train
        static = self.config.data.padding == "static"
        return self._pipeline("train").train_batches(train.batch_size, train.seed, start_step, static)

    def validation_dataset(self):
        return self._pipeline("validation").evaluation_batches(self.config.train.batch_size, self.needs_static)

    def evaluation_dataset(self, split):
        """All good examples of a split once, in batches of (tokens, {"place", "label"}); "label" only where there are labels.

        Args:
          split: "train", "validation" or "test" for what `data` says of them, any split in TensorFlow Datasets' syntax, of
            "glue/mnli" also "ax", or of "file" the path of another file.

        Raises:
          ValueError: a split that there is not.
        """
        return self._pipeline(split).evaluation_batches(self.config.train.batch_size, self.needs_static, places=True)

    def evaluation(self, split):
        submission = self._data.submission(self._split(split))
        examples = self._loaded(split)
        if self.is_regression:
            return TextRegressionEvaluation(self._data.metrics, examples, submission)
        return TextClassificationEvaluation(self.class_names, self._data.metrics, examples, submission)

    def part(self, name):
        part = super().part(name)
        return part._replace(kind="text regression", class_names=()) if self.is_regression and name == "model" else part

    def endpoints(self, model):
        """Raw strings to classes, logits and probabilities, or to a score: the endpoint "serve"; and that of TextTask."""

        def serve(*texts):
            outputs = model(text_inputs(self.tokenizer, texts, self.config.data.max_length), training=False)
            if self.is_regression:
                return {"score": outputs[:, 0]}
            ids = tf.argmax(outputs, axis=-1, output_type=tf.int32)
            labels = tf.gather(tf.constant(self.class_names), ids)
            return {"class_ids": ids, "labels": labels, "logits": outputs, "probabilities": tf.nn.softmax(outputs)}

        return {"serve": (serve, text_specs(self.config.data.pairs)), **super().endpoints(model)}

    def assets(self):
        """The vocabulary, and the names of the classes, one a line, in the order of the logits."""
        self._folder = tempfile.TemporaryDirectory()  # goes with the task
        path = pathlib.Path(self._folder.name) / CLASSES_FILE
        path.write_text("".join(f"{name}\n" for name in self.class_names), encoding="utf-8")
        return {**super().assets(), CLASSES_FILE: str(path)}

    def _split(self, role):
        """Of the split that plays a role, or of any other split, its name in TensorFlow Datasets' syntax."""
        return self.config.data.get(f"{role}_split") or self._data.splits.get(role, role)

    def _loaded(self, role):
        """The Examples of the split that plays a role, or of any other split as it is named."""
        if role not in self._examples:
            given = self.config.data.get(f"{role}_split")
            try:
                self._examples[role] = self._data.load(self._split(role), self.bad_examples)
            except ValueError as error:
                raise ValueError(f"data.{role}_split={given!r} is not allowed: {error}" if given else str(error)) from error
            if role in ("train", "validation") and self._examples[role].labels is None:
                raise ValueError(f"data.{role}_split={given!r} is not allowed: {self._split(role)!r} has no labels")
        return self._examples[role]

    def _pipeline(self, role):
        if role not in self._pipelines:
            data = self.config.data
            self._pipelines[role] = TextPipeline(self._loaded(role), self.tokenizer, data.max_length, data.cache_mib)
        return self._pipelines[role]
