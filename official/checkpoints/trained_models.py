"""Trained models on disk, a run's checkpoint or a SavedModel, as functions that can be evaluated."""

import json
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf
from ml_collections import ConfigDict

from official.checkpoints.manager import restore_model
from official.checkpoints.weights import find_checkpoint, local_path, read_weights
from official.config import completed
from official.files.saved_model_layout import CONFIG_FILE
from official.serving.saved_models import locate_assets
from official.training.devices import PRECISION_FILE
from official.training.weight_updates import plain_name


class TrainedModel(NamedTuple):
    """Where a model is, and the recipe that it was trained by.

    Attributes:
      path: a pathlib.Path, the checkpoint's prefix or the SavedModel's folder.
      is_saved_model: which of the two.
      config: the ConfigDict of its run; `config.train.precision` is the run's own and not "auto".
      evaluations: a pathlib.Path, the folder for its evaluations unless another is named; None for one that was fetched by its
        handle, which lies in a cache.
    """

    path: pathlib.Path
    is_saved_model: bool
    config: ConfigDict
    evaluations: pathlib.Path | None


def find_model(path, setting="model"):
    """The TrainedModel that a path or handle leads to, as official.checkpoints.weights.find_checkpoint takes it.

    Args:
      path: a run's workdir (its best checkpoint or else the newest), a checkpoint in a workdir, a SavedModel, or the handle of a
        published one.
      setting: what the caller's user calls the path, for messages.

    Raises:
      ValueError: where there is none, or one without its run's config.
      OSError: a repository of handles that cannot be read.
    """
    given, path = path, local_path(path, setting)
    prefix = pathlib.Path(find_checkpoint(path, setting))
    if tf.saved_model.contains_saved_model(str(path)):
        if not (path / CONFIG_FILE).exists():
            raise ValueError(f"{path} is a SavedModel without {CONFIG_FILE}, which official.train writes: its data is not known")
        config = ConfigDict(locate_assets(_read_config(path / CONFIG_FILE), path))
        beside = path.with_name(path.name + "_evaluation") if path == pathlib.Path(given) else None
        return TrainedModel(path, True, config, beside)
    workdir = path if (path / "checkpoints").is_dir() else prefix.absolute().parent.parent
    if not (workdir / "config.json").exists():
        raise ValueError(f"{workdir} holds no config.json, without which the model of {prefix} is not known")
    config = ConfigDict(_read_config(workdir / "config.json"))
    if config.train.precision == "auto":
        config.train.precision = (workdir / PRECISION_FILE).read_text().strip()
    return TrainedModel(prefix, False, config, workdir / "evaluation")


def fill_in(config, workdir):
    """Fills in, of a finished run's `data` and `model`, what the recipe left open and the task had found when the run began.

    Args:
      config: of find_model.
      workdir: a pathlib.Path, of the run.
    """
    summary = workdir / "summary.json"
    ran = ConfigDict(json.loads(summary.read_text())["config"]) if summary.exists() else {}
    for section in ("data", "model"):
        for setting, value in (ran.get(section) or {}).items():
            if config[section].get(setting) in (None, ""):
                config[section][setting] = value


def _read_config(path):
    try:
        return completed(json.loads(path.read_text()))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


class Forward(NamedTuple):
    """A trained model, ready to be called.

    Attributes:
      call: function of a batch's inputs, TensorFlow operations, to the model's outputs and int32 [batch, blocks, E], the (token,
        choice) that each example's router gave to each expert, or None.
      name: the model's.
      step: of the checkpoint; None for a SavedModel.
      no_experts: a sentence on why nothing is known of the experts of a model that has some; "" elsewhere.
    """

    call: Callable
    name: str
    step: int | None
    no_experts: str


def load_forward(found, task, averaged=True):
    """The Forward of a TrainedModel. Experts are counted where the model has `call_with_assignments`, as widenet.Model has.

    Args:
      found: a TrainedModel.
      task: the official.task.Task of its config.
      averaged: whether a checkpoint's averages are taken where its run kept some (`train.ema_decay`), as the run itself does.

    Raises:
      ValueError: a checkpoint that does not fit the config's model, or a SavedModel without the task's endpoint.
    """
    model = task.create_model()
    if not found.is_saved_model:
        step = restore_weights(model, found, averaged)
        return Forward(_call_with_assignments(model), model.name, step, "")
    served = tf.saved_model.load(str(found.path))
    if task.evaluated_endpoint not in served.signatures:
        has = ", ".join(served.signatures)
        raise ValueError(f"{found.path} has no signature {task.evaluated_endpoint!r}, which is to be evaluated; it has {has}")
    missing = _take_variables(model, served.variables)

    def call(inputs):
        counts = None if missing else _call_with_assignments(model)(inputs)[1]
        signature = served.signatures[task.evaluated_endpoint]
        return call_by_names(signature, list(signature.structured_input_signature[1]), inputs), counts

    no_experts = ""
    if missing and getattr(model, "expert_load", None):
        no_experts = f"No files on experts: {found.path} has no variable {missing} of its config's model."
    return Forward(call, model.name, None, no_experts)


def restore_weights(model, found, averaged=True):
    """Gives a model the weights of a checkpoint of a run; arguments and errors as of load_forward. Returns the step."""
    step = restore_model(model, str(found.path))
    if averaged and found.config.train.get("ema_decay"):
        weights = read_weights(found.path)
        for weight in model.weights:
            weight.assign(weights[plain_name(weight.name)])
    return step


def _call_with_assignments(model):
    if hasattr(model, "call_with_assignments"):
        return model.call_with_assignments
    return lambda inputs: (model(inputs, training=False), None)


def call_by_names(function, names, inputs):
    """The outputs of a function such as a signature, which takes its inputs by their names and gives a dict.

    Args:
      function: of keywords.
      names: of its inputs.
      inputs: a dict by these names, or the only one.

    Returns:
      A dict, or the only output where it is a Keras model's, which has no name of its own.
    """
    outputs = function(**(inputs if isinstance(inputs, dict) else {names[0]: inputs}))
    return outputs["output_0"] if set(outputs) == {"output_0"} else outputs


def _take_variables(model, variables):
    """Gives a model's weights the values of the variables of the same names and shapes; if any has none, nothing is changed.

    Returns:
      The name and shape of the first weight that has none, or "".
    """
    found = {(variable.name, tuple(variable.shape)): variable for variable in variables}
    for weight in model.weights:
        if (weight.name, tuple(weight.shape)) not in found:
            return f"{weight.name} {list(weight.shape)}"
    for weight in model.weights:
        weight.assign(found[weight.name, tuple(weight.shape)])
    return ""
