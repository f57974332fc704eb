"""The task of classification and regression of texts and of pairs of texts."""

import pathlib
import tempfile

import numpy as np
import tensorflow as tf

from bert.serving import of_any_batch, text_inputs, text_specs
from bert.task import TextTask
from bert.texts.datasets import open_dataset
from bert.texts.evaluation import TextClassificationEvaluation, TextRegressionEvaluation
from bert.texts.examples import SCORE_NAME
from bert.texts.metrics import keras_metrics
from bert.texts.pipeline import TextPipeline
from bert.texts.settings import DATA, check_data_settings
from official.evaluation.classification import pictures_of
from official.task import Split, evaluation_title

CLASSES_FILE = "classes.txt"


class TextClassification(TextTask):
    """A bert.task.TextTask; if the labels are scores it is a regression, with one output and the mean squared error.

    `data` has the settings of bert.texts.settings.DATA. model.classes, data.classes and data.pairs are filled in if None.

    Raises:
      ValueError: at construction, for a setting that is not allowed or does not fit the data set, a missing data set, or an
        unusable example.
    """

    kind = "text classification"
    model_task = "classification"
    data_table = DATA

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
            # Now, so that an unknown split or an unusable example is reported before anything is built. The config of an exported
            # model has passed this already.
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

    def describe_data(self):
        labels = {role: self._loaded(role).labels for role in ("train", "validation")}
        if self.is_regression:
            return {role: Split(len(labels[role])) for role in labels}
        classes = len(self.class_names)
        counts = {role: tuple(np.bincount(labels[role], minlength=classes).tolist()) for role in labels}
        return {role: Split(len(labels[role]), self.class_names, counts[role]) for role in labels}

    def evaluation_dataset(self, split):
        """All usable examples of a split once, in batches of (tokens, {"place", "label"}), without "label" if it has no labels.

        Args:
          split: "train", "validation" or "test" for the splits of `data`, or any split in TensorFlow Datasets' syntax; for
            glue/mnli also "ax", and for data.name="file" the path of another file.

        Raises:
          ValueError: an unknown split.
        """
        return self._pipeline(split).evaluation_batches(self.config.train.batch_size, self.needs_static, places=True)

    def evaluation(self, split):
        submission = self._data.submission(self._split(split))
        examples = self._loaded(split)
        title = evaluation_title(self.config.name, split)
        if self.is_regression:
            return TextRegressionEvaluation(self._data.metrics, examples, submission, title)
        return TextClassificationEvaluation(self.class_names, self._data.metrics, examples, submission, title)

    def pictures(self, part):
        return {} if self.is_regression else pictures_of(self, part)

    def part(self, name):
        part = super().part(name)
        return part._replace(kind="text regression", class_names=()) if self.is_regression and name == "model" else part

    def endpoints(self, model):
        """Adds "serve": raw strings to classes, logits and probabilities, or to a score."""

        def serve(*texts):
            outputs = model(text_inputs(self.tokenizer, texts, self.config.data.max_length), training=False)
            if self.is_regression:
                return {"score": outputs[:, 0]}
            ids = tf.argmax(outputs, axis=-1, output_type=tf.int32)
            labels = tf.gather(tf.constant(self.class_names), ids)
            return {"class_ids": ids, "labels": labels, "logits": outputs, "probabilities": tf.nn.softmax(outputs)}

        return {"serve": (of_any_batch(serve), text_specs(self.config.data.pairs)), **super().endpoints(model)}

    def assets(self):
        """The vocabulary, and a file with the names of the classes, one per line, in the order of the logits."""
        self._folder = tempfile.TemporaryDirectory()  # removed with the task
        path = pathlib.Path(self._folder.name) / CLASSES_FILE
        path.write_text("".join(f"{name}\n" for name in self.class_names), encoding="utf-8")
        return {**super().assets(), CLASSES_FILE: str(path)}

    def _split(self, role):
        """The split of a role, or any other split unchanged, in TensorFlow Datasets' syntax."""
        return self.config.data.get(f"{role}_split") or self._data.splits.get(role, role)

    def _loaded(self, role):
        """The Examples of a role or of any other split."""
        if role not in self._examples:
            setting = self.config.data.get(f"{role}_split")
            try:
                self._examples[role] = self._data.load(self._split(role), self.bad_examples)
            except ValueError as error:
                raise ValueError(f"data.{role}_split={setting!r} is not allowed: {error}" if setting else str(error)) from error
            if role in ("train", "validation") and self._examples[role].labels is None:
                raise ValueError(f"data.{role}_split={setting!r} is not allowed: {self._split(role)!r} has no labels")
        return self._examples[role]

    def _pipeline(self, role):
        if role not in self._pipelines:
            data = self.config.data
            self._pipelines[role] = TextPipeline(self._loaded(role), self.tokenizer, data.max_length, data.cache_mib)
        return self._pipelines[role]
