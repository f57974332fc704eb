"""What the driver and the evaluation need to know of a task: images or text, classification or pretraining."""

import importlib.util
import pathlib
from typing import Any, Protocol

import tensorflow as tf

from official.data.bad_examples import BadExamples
from official.exportable import ExportSpec, TracedModel, keras_module, model_endpoint


class Evaluation(Protocol):
    """What a model's outputs on one split are worth: a task makes one, it gets every batch, and writes its files at the end.

    Classes of this shape derive from it. A batch's inputs and labels are what the task's `evaluation_dataset` has.

    Attributes:
      files: {name: what it is}, of all files that `write` may write.
      examples: how many examples there were so far, in the task's unit.
    """

    files: dict[str, str]
    examples: int

    def reduce(self, inputs, labels, outputs) -> Any:
        """What is kept of a batch's outputs, made by TensorFlow operations where they were computed.

        As it stands all of them. Worth a method of its own where they are large, as are logits of a whole vocabulary.
        """
        return outputs

    def add(self, inputs, labels, outputs, assignments) -> None:
        """Takes a batch.

        Args:
          inputs, labels: NumPy arrays, in nests as the dataset has them.
          outputs: NumPy arrays, in a nest as `reduce` makes it.
          assignments: int32 [batch, blocks, E], the (token, choice) that each example's router gave to each expert; None where
            there are no experts, or nothing is known of them.

        Raises:
          ValueError: outputs or labels that do not fit the task.
        """

    def write(self, folder: pathlib.Path) -> dict[str, float]:
        """Writes its files into a folder that has none of them, and returns the metrics by name."""


class Task(Protocol):
    """A recipe names a class of this shape, which derives from it, in `config.task`, as "module:Class".

    It is made from the whole config, a copy of its own in which it may fill in what the recipe leaves open as None, such as a
    size that the data says. Models may take and give any nest of tensors; so may data sets hold any.

    Attributes:
      unit: what one example is called in reports, in the plural ("images").
      kind: what its models do, in words, for those who find an exported one: "image classification".
      parts: names of what can be exported of a trained model (`part`); the first is all of it.
      bad_examples: what the data sets did with examples that cannot be trained on.
      tokens_per_example: how many tokens a training example has, in the mean; None where there is no such thing. With it, tokens
        a second are told.
      evaluated_endpoint: which of the `endpoints` takes the inputs of `evaluation_dataset` and gives what the model gives.

    Raises:
      ValueError: from the constructor, for a setting that is not allowed.
    """

    unit: str
    kind: str = ""
    parts: tuple = ("model",)
    bad_examples: BadExamples
    tokens_per_example: float | None = None
    evaluated_endpoint: str = "serve"

    def create_model(self) -> tf.keras.Model:
        """A fresh uncompiled model; called in the strategy's scope."""

    def initial_model(self) -> tf.keras.Model:
        """The model of `create_model` as a run begins with it, where its data tell more than random weights."""
        return self.create_model()

    def layer_depths(self, model: tf.keras.Model) -> tuple[dict, int]:
        """How deep each weight of the model is, for `train.layer_decay`.

        {name of a weight: depth}, an int, or an int array that broadcasts to a weight whose parts lie at several depths; and the
        depth of the last layer. 0 is the embedding.
        """

    def initialize(self, model, weights) -> list:
        """Gives a fresh model what it can take from other weights; called in the strategy's scope, before the optimizer is made.

        Args:
          model: from create_model.
          weights: {full name: NumPy array} (official.checkpoints.weights.read_weights), of a model of any kind.

        Returns:
          Rows of a table that says what became of them: NamedTuples of strings.

        Raises:
          ValueError: where none fits, in words that go on after "init=... is not allowed: ".
        """

    def loss(self):
        """The main loss, without what layers add: a tf.keras.losses.Loss, or a dict of them by the names of the outputs.

        Outputs without a loss must be tensors: Keras compiles no lists or dicts inside a dict of outputs.
        """

    def metrics(self):
        """Metrics of training and evaluation; called in the strategy's scope.

        A list of tf.keras.metrics.Metric, or a dict of such lists by the names of the outputs.
        """

    def train_dataset(self, start_step: int) -> tf.data.Dataset:
        """Endless global batches of static shape from `start_step` on: the same ones whether or not the run was stopped there.

        Elements are what Keras takes: (inputs, labels), or (inputs, labels, weights).
        """

    def validation_dataset(self) -> tf.data.Dataset:
        """All examples of the validation split once, in global batches such as `train_dataset` has."""

    def evaluation_dataset(self, split: str) -> tf.data.Dataset:
        """All examples of any split that can be evaluated once, in batches of (inputs, labels), which `evaluation` understands.

        Raises:
          ValueError: a split that there is not, naming those that there are.
        """

    def evaluation(self, split: str) -> Evaluation:
        """A fresh Evaluation for the batches of `evaluation_dataset(split)`."""

    def part(self, name: str) -> ExportSpec:
        """What is exported of a trained model under a name of `parts`, with a fresh model; called outside the strategy's scope.

        Raises:
          ValueError: another name.
        """
        self.check_part(name)
        model = self.create_model()
        traced = TracedModel(model)
        return ExportSpec(self.kind, model, self.endpoints(traced), keras_module(traced), self.resources(), self.assets())

    def check_part(self, name: str) -> None:
        """Raises ValueError where `parts` does not have that name."""
        if name not in self.parts:
            raise ValueError(f"--part={name} is not allowed: it must be one of {', '.join(self.parts)}")

    def endpoints(self, model: tf.keras.Model) -> dict[str, tuple]:
        """What an exported model can be asked: {name: (function, list of its arguments' tf.TensorSpecs)}.

        An argument is a tensor, or a dict of tensors. Specs have dynamic batch sizes and lengths, and names, in a dict its keys,
        which become those of the SavedModel's signatures. A function gives a tensor, or a flat dict of tensors. The first is
        also the signature "serving_default".

        Args:
          model: a tf.keras.Model, or in its place an official.exportable.TracedModel: to be called with training=False.
        """
        return {"serve": model_endpoint(model)}

    def resources(self) -> list:
        """What endpoints use besides the model and its file must hold: tf.Modules with their lookup tables and variables."""
        return []

    def assets(self) -> dict[str, str]:
        """Files that an export carries along, such as a vocabulary: {file name there: path, as a setting of the config says it}.

        Of the exported model that setting is the file that was carried along, wherever it was moved.
        """
        return {}


def create_task(config):
    """The task that `config.task` names.

    Raises:
      ValueError: a name that is not "module:Class" of something that can be imported.
    """
    module, _, name = config.task.partition(":")
    if not name or importlib.util.find_spec(module) is None or not hasattr(importlib.import_module(module), name):
        raise ValueError(f"task={config.task!r} is not allowed: it must be 'module:Class' of an official.task.Task")
    return getattr(importlib.import_module(module), name)(config)
