"""Trained models on disk, a run's checkpoint or a SavedModel: their recipe and task, and the model as a function."""

import ast
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf
from ml_collections import ConfigDict

from official.checkpoints.files import readable
from official.checkpoints.manager import restore_model
from official.checkpoints.weights import locate, plain_name, read_weights
from official.config import PRECISIONS, read_config, to_config_dict
from official.files.checked_json import read_json
from official.files.layout import CONFIG_FILE, CONFIG_JSON, EVALUATION, PRECISION_TXT, SUMMARY_JSON, locate_assets
from official.task import create_task


class TrainedModel(NamedTuple):
    """Where a model is, and the recipe that it was trained by.

    Attributes:
      path: a pathlib.Path, the checkpoint's prefix or the SavedModel's folder.
      is_saved_model: which of the two.
      config: the ConfigDict of its run; `config.train.precision` is the run's own and not "auto".
      evaluations: a pathlib.Path, the folder for its evaluations unless another is named; None for a fetched model, which lies in
        a cache.
    """

    path: pathlib.Path
    is_saved_model: bool
    config: ConfigDict
    evaluations: pathlib.Path | None


def find_model(path, setting="model"):
    """The TrainedModel that a path or handle leads to.

    Args:
      path: a run's workdir (its best checkpoint or else the newest), a checkpoint in a workdir, a SavedModel, the handle of a
        published one, or an official.checkpoints.weights.Located.
      setting: what the user calls the path, for messages.

    Raises:
      ValueError: no model there, or one without the config of its run.
      OSError: a repository of handles that cannot be read.
    """
    found = locate(path, setting)
    if found.is_saved_model:
        if not found.config_file.exists():
            raise ValueError(
                f"{found.path} is a SavedModel without {CONFIG_FILE}, which official.train writes: its data is not known"
            )
        config = to_config_dict(locate_assets(read_config(found.config_file), found.path), found.config_file)
        beside = None if found.is_fetched else found.path.with_name(found.path.name + "_evaluation")
        return TrainedModel(found.path, True, config, beside)
    prefix = pathlib.Path(found.prefix)
    workdir = found.config_file.parent
    if not found.config_file.exists():
        raise ValueError(f"{workdir} holds no config.json, without which the model of {prefix} is not known")
    config = to_config_dict(read_config(found.config_file), found.config_file)
    if config.train.precision == "auto":
        config.train.precision = (workdir / PRECISION_TXT).read_text(errors="replace").strip()
        if config.train.precision not in PRECISIONS:
            raise ValueError(f"{workdir / PRECISION_TXT} is not allowed: it must hold one of {', '.join(PRECISIONS)}")
    return TrainedModel(prefix, False, config, workdir / EVALUATION)


def initial_config(init):
    """The config of a trained model, for a recipe that starts from it.

    Args:
      init: a run's workdir, also one without checkpoints, or what `find_model` takes.

    Returns:
      A ConfigDict; None for a path without a model or with weights alone, which is refused when weights are read.

    Raises:
      OSError: as `find_model`.
    """
    file = pathlib.Path(init) / CONFIG_JSON
    try:
        return to_config_dict(read_config(file), file) if file.is_file() else find_model(init).config
    except ValueError:  # none, or a config.json of something else
        return None


def initial_size(init, models, known, taken):
    """The name and the size of a trained model, for a recipe that starts from it.

    Args:
      init: as of `initial_config`.
      models: names of the models of a zoo.
      known: names of all settings that these models have.
      taken: names of those settings that make up a size.

    Returns:
      (the longest name in `models` that its name begins with, or else its own, {setting: value}). (None, {}) where there is no
      config, or that of another kind of model: what is wrong is said when its weights are read.

    Raises:
      OSError: as `find_model`.
    """
    config = initial_config(init) or {}
    settings = config.get("model", {})
    if not settings or "name" not in config or not set(settings) <= set(known):
        return None, {}
    name = max((model for model in models if f"{config.name}_".startswith(f"{model}_")), key=len, default=config.name)
    return name, {key: settings[key] for key in taken if key in settings}


def open_recipe(model, data_dir=None, batch_size=None, data=None, setting="--model", task_modules=()):
    """A model on disk and the task of its recipe, with the recipe's data changed; sets Keras's precision policy.

    Args:
      model: as of `find_model`.
      data_dir, data: as of `change_data`.
      batch_size: in place of the recipe's train.batch_size.
      setting: what the user calls the model's path, for messages.
      task_modules: as of official.task.create_task.

    Returns:
      (TrainedModel, official.task.Task).

    Raises:
      ValueError: no model there, or a setting that is not allowed.
      OSError: as `find_model`.
    """
    found = find_model(model, setting=setting)
    config = found.config
    change_data(config, model, data_dir, data or {})
    if batch_size is not None:
        if batch_size < 1:
            raise ValueError(f"--batch_size={batch_size} is not allowed: it must be at least 1")
        config.train.batch_size = batch_size
    tf.keras.mixed_precision.set_global_policy(config.train.precision)
    return found, create_task(config, task_modules)


def change_data(config, model, data_dir, data):
    """Changes the `data` of a run's config.

    Args:
      config: the ConfigDict.
      model: the run's path, for messages.
      data_dir: in place of data.dir; None keeps it.
      data: {setting: text}, in place of the recipe's values; parsed as a Python literal where the recipe's value is not text.

    Raises:
      ValueError: an unknown setting, or text that is not a literal.
    """
    if data_dir is not None:
        if "dir" not in config.get("data", {}):
            raise ValueError(f"--data_dir={data_dir} is not allowed: the recipe of {model} has no data.dir")
        config.data.dir = str(data_dir)
    for setting, text in data.items():
        _change(config.get("data", {}), setting, text)


def _change(data, setting, text):
    refused = f"--config.data.{setting}={text} is not allowed"
    if setting not in data:
        raise ValueError(f"{refused}: the recipe's data settings are {', '.join(sorted(data)) or 'none'}")
    if isinstance(data[setting], str):
        data[setting] = text
        return
    try:
        data[setting] = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError) as error:
        raise ValueError(f"{refused}: the recipe has {data[setting]!r}") from error


def fill_in(config, workdir):
    """Fills in the settings of `data` and `model` that the recipe left open and the task found when the run began.

    Args:
      config: of find_model.
      workdir: a pathlib.Path, of the run; nothing is filled in unless it is finished.
    """
    summary = workdir / SUMMARY_JSON
    shape = {"config.data?": dict, "config.model?": dict}
    ran = read_json(summary, keys={"config": dict, **shape})["config"] if summary.exists() else {}
    for section in ("data", "model"):
        for setting, value in (to_config_dict(ran.get(section) or {}, summary) if config.get(section) else {}).items():
            if config[section].get(setting) in (None, ""):
                config[section][setting] = value


def recipe_data(model):
    """The `data` settings of the recipe of a trained model (find_model), a ConfigDict; {} where it is saved without them."""
    try:
        found = find_model(model)
    except (ValueError, OSError):
        return {}
    if not found.is_saved_model:
        fill_in(found.config, found.evaluations.parent)
    return found.config.get("data") or {}


class Forward(NamedTuple):
    """A trained model, ready to be called.

    Attributes:
      call: function of a batch's inputs, TensorFlow operations, to the model's outputs and int32 [batch, blocks, E], the (token,
        choice) that each example's router gave to each expert, or None.
      name: the model's.
      step: of the checkpoint; None for a SavedModel.
      parameters: number of the parameters of the config's model.
      no_experts: a sentence on why the assignments of a model with experts are unknown; "" elsewhere.
    """

    call: Callable
    name: str
    step: int | None
    parameters: int
    no_experts: str


def load_forward(found, task, averaged=True):
    """The Forward of a TrainedModel. Assignments are counted where the model has `call_with_assignments`, as widenet.Model has.

    Args:
      found: a TrainedModel.
      task: the official.task.Task of its config.
      averaged: whether a checkpoint's averages are used where its run kept them (`train.ema_decay`), as the run itself does.

    Raises:
      ValueError: a checkpoint that does not fit the config's model, or a SavedModel without the task's endpoint.
    """
    model = task.create_model()
    if not found.is_saved_model:
        step = restore_weights(model, found, averaged)
        return Forward(_call_with_assignments(model), model.name, step, model.count_params(), "")
    served = tf.saved_model.load(readable(str(found.path)))
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
    return Forward(call, model.name, None, model.count_params(), no_experts)


def restore_weights(model, found, averaged=True):
    """Gives a model the weights of a TrainedModel; arguments and errors as of load_forward.

    Returns:
      The step of a checkpoint; None for a SavedModel.
    """
    if found.is_saved_model:
        _take_weights(model, read_weights(found.path), found.path)
        return None
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


def _take_weights(model, weights, path):
    """Gives a model all its weights of {full name: array}. Raises ValueError if one is missing or has another shape."""
    for weight in model.weights:
        name = plain_name(weight.name)
        if name not in weights or weights[name].shape != tuple(weight.shape):
            has = f"has it as {list(weights[name].shape)}" if name in weights else "lacks it"
            raise ValueError(f"{path} does not fit this config's model: of {name} {list(weight.shape)} it {has}")
    for weight in model.weights:
        weight.assign(weights[plain_name(weight.name)])


def _take_variables(model, variables):
    """Gives a model's weights the values of the variables of the same names and shapes, or changes nothing if one is missing.

    Returns:
      The name and shape of the first weight without a variable, or "".
    """
    found = {(variable.name, tuple(variable.shape)): variable for variable in variables}
    for weight in model.weights:
        if (weight.name, tuple(weight.shape)) not in found:
            return f"{weight.name} {list(weight.shape)}"
    for weight in model.weights:
        weight.assign(found[weight.name, tuple(weight.shape)])
    return ""
