"""Extractive question answering as a task of the driver: where in a text the answer to a question stands."""

import tensorflow as tf

from bert.models import build_model, layer_depths
from bert.squad_data import QuestionWindows
from bert.squad_evaluation import SquadEvaluation
from bert.squad_serving import answer_endpoint
from bert.squad_sets import open_questions
from bert.squad_settings import check_data_settings
from bert.tokenizer import open_tokenizer
from bert.transfer import transfer_weights
from official.bad_examples import BadExamples
from official.export import model_endpoint
from official.sources import IndexedSource, with_data_sharding
from official.task import Task


class QuestionAnswering(Task):
    """An official.task.Task; reads `name`, `model`, `data` and `train` of the config.

    `model` holds every setting of bert.model_settings, `data` those of bert.squad_settings.data_settings. An example is a window:
    a question and as much of its context as a model takes.

    Raises:
      ValueError: at construction, for a setting that is not allowed or does not fit the vocabulary, a data set not there, or a
        bad example, where these are refused.
    """

    unit = "examples"
    evaluated_endpoint = "tokens"

    def __init__(self, config):
        self._config = config
        data, model = config.data, config.model
        check_data_settings(data)
        self.bad_examples = BadExamples(data.bad_examples)
        self._tokenizer = open_tokenizer(data.vocabulary, data.lower_case)
        if data.max_length > model.max_length:
            raise ValueError(f"data.max_length={data.max_length} is not allowed: model.max_length={model.max_length} is the most")
        self._questions = open_questions(data)
        # Now, so that a split that there is not, or a bad example, is told before anything is built.
        self._windows = {}
        for role in ("train", "validation"):
            self.windows(role)
        self.tokens_per_example = self.windows("train").tokens_per_window

    def windows(self, split):
        """The QuestionWindows of a split.

        Args:
          split: "train", "validation", of data.name="file" also "test"; else any split in TensorFlow Datasets' syntax.

        Raises:
          ValueError: a split that there is not, or a bad example, where these are refused.
        """
        if split not in self._windows:
            data = self._config.data
            questions = self._questions.load(split)
            self._windows[split] = QuestionWindows(questions, self._tokenizer, data, self.bad_examples, f"{data.name}, {split}")
        return self._windows[split]

    def create_model(self):
        settings = {key: self._config.model[key] for key in self._config.model}
        return build_model(self._config.name, "span", **settings)

    def layer_depths(self, model):
        return layer_depths(model)

    def initialize(self, model, weights):
        return transfer_weights(model, weights)

    def loss(self):
        return SpanLoss()

    def metrics(self):
        return [SpanAccuracy(name) for name in SpanAccuracy.PARTS]

    def train_dataset(self, start_step):
        train, windows = self._config.train, self.windows("train")
        source = IndexedSource(len(windows.labels), get=lambda index: (), name_of=str)
        numbers = source.shuffled(train.seed, start_step * train.batch_size).map(lambda epoch, index: index)
        numbers = numbers.batch(train.batch_size, drop_remainder=True)
        pad = self._config.data.padding == "static"
        batches = numbers.map(lambda index: windows.batch(index, pad), num_parallel_calls=tf.data.AUTOTUNE)
        return with_data_sharding(batches.prefetch(tf.data.AUTOTUNE))

    def validation_dataset(self):
        return self.evaluation_dataset("validation")

    def evaluation_dataset(self, split):
        """All windows of a split in their order.

        Args:
          split: as of `windows`.

        Raises:
          ValueError: as `windows`.
        """
        windows = self.windows(split)
        numbers = tf.data.Dataset.range(len(windows.labels)).batch(self._config.train.batch_size)
        return with_data_sharding(numbers.map(windows.batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE))

    def evaluation(self, split):
        return SquadEvaluation(self.windows(split), self._config.data)

    def endpoints(self, model):
        return {"serve": answer_endpoint(model, self._tokenizer, self._config.data), "tokens": model_endpoint(model)}

    def resources(self):
        return [self._tokenizer]

    def assets(self):
        path = self._config.data.vocabulary
        return {"vocabulary.model" if path.endswith(".model") else "vocab.txt": path}


class SpanLoss(tf.keras.losses.Loss):
    """The mean of the cross-entropies of start and end: labels int32 [batch, 2], logits [batch, length, 2]."""

    def call(self, labels, logits):
        return tf.keras.losses.sparse_categorical_crossentropy(labels, tf.transpose(logits, [0, 2, 1]), from_logits=True)


class SpanAccuracy(tf.keras.metrics.Mean):
    """The share of windows whose start, end or both are right.

    Args:
      name: of PARTS.
    """

    PARTS = {"accuracy": (0, 1), "start_accuracy": (0,), "end_accuracy": (1,)}

    def __init__(self, name="accuracy", **kwargs):
        super().__init__(name, **kwargs)

    def update_state(self, labels, logits, sample_weight=None):
        right = tf.argmax(logits, axis=1, output_type=tf.int32) == tf.cast(labels, tf.int32)
        right = tf.reduce_all(tf.gather(right, self.PARTS[self.name], axis=1), axis=1)
        return super().update_state(tf.cast(right, self.dtype), sample_weight)
