"""What the driver needs to know of a task: images or text, classification or pretraining."""

import importlib.util
from typing import Protocol

import tensorflow as tf

from official.bad_examples import BadExamples


class Task(Protocol):
    """A recipe names a class of this shape in `config.task`, as "module:Class"; it is made from the whole config.

    Attributes:
      unit: what one example is called in reports, in the plural ("images").
      class_names: what the classes are called, in the order of the model's outputs.
      bad_examples: what the data sets did with examples that cannot be trained on.

    Raises:
      ValueError: from the constructor, for a setting that is not allowed.
    """

    unit: str
    class_names: list[str]
    bad_examples: BadExamples

    def create_model(self) -> tf.keras.Model:
        """A fresh uncompiled model; called in the strategy's scope."""

    def layer_depths(self, model: tf.keras.Model) -> tuple[dict, int]:
        """How deep each weight of the model is, for `train.layer_decay`.

        {name of a weight: depth}, an int, or an int array that broadcasts to a weight whose parts lie at several depths; and the
        depth of the last layer. 0 is the embedding.
        """

    def initialize(self, model, weights) -> list:
        """Gives a fresh model what it can take from other weights; called in the strategy's scope, before the optimizer is made.

        Args:
          model: from create_model.
          weights: {full name: NumPy array} (official.weights.read_weights), of a model of any kind.

        Returns:
          Rows of a table that says what became of them: NamedTuples of strings.

        Raises:
          ValueError: where none fits, in words that go on after "init=... is not allowed: ".
        """

    def loss(self) -> tf.keras.losses.Loss:
        """The main loss, without what layers add."""

    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """Metrics of training and evaluation; called in the strategy's scope."""

    def train_dataset(self, start_step: int) -> tf.data.Dataset:
        """Endless global batches of static shape from `start_step` on: the same ones whether or not the run was stopped there."""

    def validation_dataset(self) -> tf.data.Dataset:
        """All examples of the validation split once, in global batches."""

    def evaluation_dataset(self, split: str) -> tf.data.Dataset:
        """All examples of any labelled split once, in global batches of (inputs, labels).

        The model's output for the inputs is float [batch, classes], logits. Labels are int [batch] or float distributions
        [batch, classes].

        Raises:
          ValueError: a split that there is not, naming those that there are.
        """


def create_task(config):
    """The task that `config.task` names.

    Raises:
      ValueError: a name that is not "module:Class" of something that can be imported.
    """
    module, _, name = config.task.partition(":")
    if not name or importlib.util.find_spec(module) is None or not hasattr(importlib.import_module(module), name):
        raise ValueError(f"task={config.task!r} is not allowed: it must be 'module:Class' of an official.task.Task")
    return getattr(importlib.import_module(module), name)(config)
