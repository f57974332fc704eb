"""The task of extractive question answering: finding the answer to a question in a text."""

import tensorflow as tf

from bert.serving import of_any_batch
from bert.squad.datasets import open_questions
from bert.squad.evaluation import SquadEvaluation
from bert.squad.pipeline import QuestionPipeline
from bert.squad.serving import answer_endpoint
from bert.squad.settings import DATA, check_data_settings
from bert.task import TextTask
from official.task import Split


class QuestionAnswering(TextTask):
    """A bert.task.TextTask whose examples are windows: a question and the part of its context that fits into the model.

    `data` has the settings of bert.squad.settings.DATA; `questions` is filled in if it is None.

    Raises:
      ValueError: at construction, for a setting that is not allowed, a missing data set, or an unusable question.
    """

    kind = "question answering"
    model_task = "span"
    data_table = DATA

    def __init__(self, config):
        data = config.data
        check_data_settings(data)
        super().__init__(config)
        self._sets = open_questions(data)
        self._windows = {}
        if data.questions is None:
            # Now, so that an unknown split or an unusable question is reported before anything is built. The config of a resumed
            # run has passed this already.
            data.questions = len(self.windows("train").questions)
            self.windows("validation")

    @property
    def tokens_per_example(self):
        return self.windows("train").tokens_per_window

    def windows(self, split):
        """The bert.squad.pipeline.QuestionPipeline of a split.

        Args:
          split: "train" or "validation"; for data.name="file" also "test", otherwise any split in TensorFlow Datasets' syntax.

        Raises:
          ValueError: an unknown split, or an unusable question.
        """
        if split not in self._windows:
            data = self.config.data
            questions = self._sets.load(split)
            self._windows[split] = QuestionPipeline(questions, self.tokenizer, data, self.bad_examples, f"{data.name}, {split}")
        return self._windows[split]

    _pipeline = windows

    def output_masks(self, inputs):
        return {"span": inputs["input_mask"] > 0}

    def loss(self):
        return SpanLoss()

    def metrics(self):
        return [SpanAccuracy(name) for name in SPAN_PARTS]

    def describe_data(self):
        return {split: Split(len(self.windows(split).labels)) for split in ("train", "validation")}

    def evaluation_dataset(self, split):
        """All windows of a split once, in batches of (tokens, {"place", "label"}).

        Args:
          split: as of `windows`.

        Raises:
          ValueError: as `windows`.
        """
        return self.windows(split).evaluation_batches(self.config.train.batch_size, self.needs_static, places=True)

    def evaluation(self, split):
        return SquadEvaluation(self.windows(split), self.config.data)

    def endpoints(self, model):
        """Adds "serve": raw strings to answers, with as many windows as a context needs."""
        answer, specs = answer_endpoint(model, self.tokenizer, self.config.data)

        def serve(question, context):
            return of_any_batch(answer)(question, context)

        return {"serve": (serve, specs), **super().endpoints(model)}


class SpanLoss(tf.keras.losses.Loss):
    """Mean of the cross-entropies, in nats, of start and end; labels int [batch, 2], logits float [batch, length, 2]."""

    def call(self, labels, logits):
        return tf.keras.losses.sparse_categorical_crossentropy(labels, tf.transpose(logits, [0, 2, 1]), from_logits=True)


SPAN_PARTS = {"accuracy": (0, 1), "start_accuracy": (0,), "end_accuracy": (1,)}


class SpanAccuracy(tf.keras.metrics.Mean):
    """Share of windows with correct start, end, or both.

    Args:
      name: of SPAN_PARTS.
    """

    def __init__(self, name="accuracy", **kwargs):
        super().__init__(name, **kwargs)

    def update_state(self, labels, logits, sample_weight=None):
        right = tf.argmax(logits, axis=1, output_type=tf.int32) == tf.cast(labels, tf.int32)
        right = tf.reduce_all(tf.gather(right, SPAN_PARTS[self.name], axis=1), axis=1)
        return super().update_state(tf.cast(right, self.dtype), sample_weight)
