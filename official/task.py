"""The contract between the driver and a task: images or text, classification or pretraining."""

import abc
import importlib
import inspect
import pathlib
import re
from typing import Any, NamedTuple

import tensorflow as tf
from ml_collections import ConfigDict

from official.data.bad_examples import BadExamples
from official.exportable import ExportSpec, TracedModel, keras_module, model_endpoint

LISTED_CLASSES = 4  # classes of a split whose examples are listed one by one
PROJECT = ("official", "vision", "bert")  # packages whose tasks any config may name


class Evaluation(abc.ABC):
    """Accumulates a model's outputs over one split, and at the end writes metrics and files.

    A batch's inputs and labels are those of the task's `evaluation_dataset`.

    Attributes:
      files: {name: what it is}, of all files that `write` may write.
      examples: number of examples so far, in the task's unit.
    """

    files: dict[str, str]
    examples: int

    def reduce(self, inputs, labels, outputs) -> Any:
        """What is kept of a batch's outputs, computed by TensorFlow operations on the model's device.

        By default all of them. Override it where they are large, such as logits of a whole vocabulary.
        """
        return outputs

    @abc.abstractmethod
    def add(self, inputs, labels, outputs, assignments) -> None:
        """Takes a batch.

        Args:
          inputs, labels: NumPy arrays, in nests as the dataset has them.
          outputs: NumPy arrays, in a nest as `reduce` makes it.
          assignments: int32 [batch, blocks, E], the number of (token, choice) pairs of each example that the router sent to each
            expert; None for a model without experts, or where they are unknown.

        Raises:
          ValueError: outputs or labels that do not fit the task.
        """

    @abc.abstractmethod
    def write(self, folder: pathlib.Path) -> dict[str, float]:
        """Writes its files into a folder that has none of them, and returns the metrics by name."""


def evaluation_title(model, split):
    """The first line of a picture's title: the name of the model, and the split or the file that is evaluated as one."""
    return f"{model}, {pathlib.Path(split).name} split"


class Split(NamedTuple):
    """What is known about a split of a task's data before training.

    Attributes:
      examples: number of examples, without those that are known to be bad.
      classes: names of the classes, () where there are none.
      counts: number of examples of each class; () where they are not counted.
    """

    examples: int
    classes: tuple = ()
    counts: tuple = ()


def data_text(splits, unit, train):
    """The splits, a line each, and how the steps of the run relate to them; "" where nothing is known.

    Args:
      splits: {name: Split}; without "train" nothing is said about epochs.
      unit: what an example is called, in the plural.
      train: the `train` settings, with the run's length in steps.
    """
    lines = [f"  {name}: {_split_text(split, unit)}" for name, split in splits.items()]
    if "train" in splits:
        steps = splits["train"].examples / train.batch_size
        epochs = train.steps / steps
        lines.append(f"An epoch, one pass over the training data, is {steps:,.1f} steps; the run is {epochs:,.2f} epochs.")
    return "\n".join(lines)


def _split_text(split, unit):
    text = f"{split.examples:,} {unit}"
    if not split.classes:
        return text
    if not split.counts:
        return f"{text} of {len(split.classes):,} classes"
    named = sorted(zip(split.counts, split.classes, strict=True), key=lambda pair: pair[0])
    if len(named) <= LISTED_CLASSES:
        counts = dict(zip(split.classes, split.counts, strict=True))
        return f"{text}: " + ", ".join(f"{count:,} of class {name}" for name, count in counts.items())
    (least, rarest), (most, commonest) = named[0], named[-1]
    return f"{text} of {len(named):,} classes, from {least:,} (class {rarest}) to {most:,} (class {commonest})"


class Task(abc.ABC):
    """What a recipe trains: model, loss, metrics, data, evaluation and exports.

    A recipe names a subclass as "module:Class" in `config.task`. Its constructor gets a copy of the whole config, in which it may
    fill in settings that the recipe leaves open as None, such as a size that follows from the data. Models and data sets may use
    any nest of tensors.

    Attributes:
      unit: what an example is called in reports, in the plural ("images").
      kind: what its models do, for those who find an exported one: "image classification".
      parts: names of what can be exported of a trained model (`part`); the first is the whole model.
      bad_examples: what the data sets did with examples that cannot be trained on.
      tokens_per_example: mean number of tokens of a training example, for the rate of tokens that is reported; None where
        examples have no tokens.
      evaluated_endpoint: which of the `endpoints` takes the inputs of `evaluation_dataset` and gives the model's outputs.
      wraps: for a class that stands before that of another task among the bases (official.distillation): the section of the
        config whose `task` names the other one; "" elsewhere.

    Raises:
      ValueError: from the constructor, for a setting that is not allowed.
    """

    unit: str
    kind: str = ""
    parts: tuple = ("model",)
    bad_examples: BadExamples
    tokens_per_example: float | None = None
    evaluated_endpoint: str = "serve"
    wraps: str = ""

    @classmethod
    def setting_meanings(cls) -> dict[str, dict[str, str]]:
        """{section of the recipe: {setting: one line}}: what its settings mean, for --help; `train` is known without the task."""
        return {}

    @abc.abstractmethod
    def create_model(self) -> tf.keras.Model:
        """A fresh uncompiled model; called in the strategy's scope.

        If it has a method `seed_steps(seed)`, as widenet.Model has, the driver calls it with the run's seed before training: the
        random draws of a step must then not depend on earlier ones. A stopped run of another model draws other numbers when it
        goes on.
        """

    def initial_model(self) -> tf.keras.Model:
        """The model that a run begins with; override it where the data give better initial weights than random ones."""
        return self.create_model()

    def layer_depths(self, model: tf.keras.Model) -> tuple[dict, int]:
        """The depth of each weight of the model, for `train.layer_decay`.

        Returns:
          ({name of a weight: depth}, depth of the last layer). A depth is an int, 0 for the embedding, or an int array that
          broadcasts to a weight whose parts have several depths.

        Raises:
          ValueError: by default: the task has no depths.
        """
        raise ValueError(f"train.layer_decay is not allowed: it must be 1, since {type(self).__name__} has no layer_depths")

    def forward_flops(self, model: tf.keras.Model, kept: float) -> float | None:
        """Operations in the matrix products of an example's forward pass, for `train.log_norms`; None where they are not known.

        Args:
          model: from create_model.
          kept: the share of assignments that experts compute; the others are dropped.
        """
        return None

    def initialize(self, model, weights) -> list:
        """Gives a fresh model what it can take of other weights; called in the strategy's scope, before the optimizer is made.

        Args:
          model: from create_model.
          weights: {full name: NumPy array} (official.checkpoints.weights.read_weights), of a model of any kind.

        Returns:
          Rows of a table of what became of each weight: NamedTuples of strings.

        Raises:
          ValueError: no weight fits, in words that complete "init=... is not allowed: "; by default always.
        """
        raise ValueError(f"it must be '', since {type(self).__name__} has no initialize")

    def trained_model(self, path, setting) -> tf.keras.Model:
        """A trained model that takes the batches of this task, with the weights and settings of its own.

        Args:
          path: of a run, a checkpoint or an exported model, or the handle of a published one.
          setting: what the user calls the path, for messages.

        Raises:
          ValueError: no model there, or one that cannot take these batches; by default always.
          OSError: a repository of handles that cannot be read.
        """
        raise ValueError(f"{setting}={path!r} is not allowed: {type(self).__name__} has no trained_model")

    def output_masks(self, inputs) -> dict[str, tf.Tensor]:
        """{name of an output: bool, the shape of the output without its last axis}: False for padding in a batch's outputs.

        Args:
          inputs: of a batch, as the model takes them. Outputs that are not named have no padding.
        """
        return {}

    def grow(self, model, parent, **options):
        """Gives a fresh model with experts the weights of a dense one, as official.grow does; by default refused.

        Args:
          model: from create_model.
          parent: the dense model, of a task of the same class, with its weights.
          **options: `experts` and `attention`, lists of ints or None, of that command; and `inputs`, an iterable of batches of
            inputs, which is read only if it is needed.

        Returns:
          A NamedTuple with `rows`, of a table of what became of each weight, as of `initialize`; `notes`, a list of sentences for
          the user; and `own_share` and `unexplained`, lists of floats or None, as of widenet.weight_transfer.Growth.

        Raises:
          ValueError: the one cannot be grown out of the other, naming the setting.
        """
        raise ValueError(f"--model is not allowed: it must be of a task that grows models, and {type(self).__name__} has no grow")

    @abc.abstractmethod
    def loss(self):
        """The main loss, without what layers add: a tf.keras.losses.Loss, or a dict of them by the names of the outputs.

        Outputs without a loss must be tensors: Keras compiles no lists or dicts inside a dict of outputs.
        """

    @abc.abstractmethod
    def metrics(self):
        """Metrics of training and evaluation; called in the strategy's scope.

        A list of tf.keras.metrics.Metric, or a dict of such lists by the names of the outputs.
        """

    def describe_data(self) -> dict[str, Split]:
        """{"train": Split, "validation": Split}: what a run prints first, and what `train.epochs` needs; by default unknown."""
        return {}

    @abc.abstractmethod
    def train_dataset(self, start_step: int) -> tf.data.Dataset:
        """Endless global batches of static shape from `start_step` on; the same batches whether or not the run was stopped there.

        Elements are what Keras takes: (inputs, labels), or (inputs, labels, weights).
        """

    @abc.abstractmethod
    def validation_dataset(self) -> tf.data.Dataset:
        """All examples of the validation split once, in global batches such as `train_dataset` has."""

    @abc.abstractmethod
    def evaluation_dataset(self, split: str) -> tf.data.Dataset:
        """All examples of any split that can be evaluated once, in batches of (inputs, labels), which `evaluation` understands.

        Raises:
          ValueError: an unknown split, naming the known ones.
        """

    @abc.abstractmethod
    def evaluation(self, split: str) -> Evaluation:
        """A fresh Evaluation for the batches of `evaluation_dataset(split)`."""

    def pictures(self, part: ExportSpec) -> dict[str, bytes]:
        """Pictures of an exported model on the validation split, {tag in TensorBoard: content of a PNG file}; by default none."""
        return {}

    def part(self, name: str) -> ExportSpec:
        """What is exported of a trained model under a name of `parts`, with a fresh model; called outside the strategy's scope.

        Raises:
          ValueError: an unknown name.
        """
        self.check_part(name)
        model = self.create_model()
        traced = TracedModel(model)
        return ExportSpec(self.kind, model, self.endpoints(traced), keras_module(traced), self.resources(), self.assets())

    def check_part(self, name: str) -> None:
        """Raises ValueError for a name that is not in `parts`."""
        if name not in self.parts:
            raise ValueError(f"--part={name} is not allowed: it must be one of {', '.join(self.parts)}")

    def endpoints(self, model: tf.keras.Model) -> dict[str, tuple]:
        """The functions of an exported model: {name: (function, list of its arguments' tf.TensorSpecs)}.

        An argument is a tensor, or a dict of tensors. Specs have dynamic batch sizes and lengths, and names, in a dict its keys,
        which become those of the SavedModel's signatures. A function returns a tensor, or a flat dict of tensors. The first is
        also the signature "serving_default".

        Args:
          model: a tf.keras.Model or an official.exportable.TracedModel; to be called with training=False.
        """
        return {"serve": model_endpoint(model)}

    def resources(self) -> list:
        """tf.Modules with the lookup tables and variables that endpoints use besides the model, to be saved with it."""
        return []

    def assets(self) -> dict[str, str]:
        """Files that an export includes, such as a vocabulary: {file name there: path, as a setting of the config gives it}.

        In the config of the exported model that setting is the path of the included file.
        """
        return {}


def create_task(config, task_modules=(), is_recipe=False):
    """The task that `config.task` names.

    A config.json beside a model may come from anyone, so a task's module is only imported if it is a module of this project, or
    one that the user names.

    Args:
      config: a ConfigDict.
      task_modules: names of further modules that may define the task.
      is_recipe: whether the config is of a recipe, which is code that the user runs: it may name a task of any module.

    Raises:
      ValueError: as `task_class`, and as the task's constructor.
    """
    kind = task_class(config, task_modules, is_recipe)
    for section, meanings in kind.setting_meanings().items():
        if not isinstance(config.get(section), ConfigDict):
            given = config.get(section)
            raise ValueError(f"{section}={given!r} is not allowed: it must have the settings {', '.join(meanings)}")
    return kind(config)


def task_class(config, task_modules=(), is_recipe=False):
    """The class of `create_task`, with the same arguments. One that `wraps` another is made a subclass of both.

    Raises:
      ValueError: a name that is not "module:Class" of a Task, a module that is not allowed, or a Task that lacks methods.
    """
    refused = f"task={config.task!r} is not allowed: it must be 'module:Class' of an official.task.Task"
    if not isinstance(config.task, str) or not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", config.task):
        raise ValueError(refused)
    module, _, name = config.task.partition(":")
    if not (is_recipe or module in task_modules or module.partition(".")[0] in PROJECT):
        raise ValueError(f"{refused}, of this project or of a module that --task_module names")
    try:
        kind = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise ValueError(f"{refused}; {error}") from error
    if not (inspect.isclass(kind) and issubclass(kind, Task)):
        raise ValueError(f"{refused}, and it is something else")
    if kind.wraps:
        section = config.get(kind.wraps)
        if not section or section.get("task") in (None, config.task):
            raise ValueError(f"{kind.wraps}.task is needed with task={config.task!r}: it must be the name of another task")
        kind = type(kind.__name__, (kind, task_class(section, task_modules, is_recipe)), {"__module__": module})
    if inspect.isabstract(kind):
        raise ValueError(f"{refused}; it lacks the methods {', '.join(sorted(kind.__abstractmethods__))}")
    return kind
