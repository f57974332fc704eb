"""SavedModels of trained models."""

import contextlib
import io
import json
import shutil

import tensorflow as tf

from official.replace import replace_folder

EXTRA = "assets.extra"  # a folder inside a SavedModel that TensorFlow leaves to others
CONFIG_FILE = f"{EXTRA}/config.json"


def export_saved_model(model, directory, endpoints=None, resources=(), config=None, assets=None):
    """Writes an inference-only SavedModel, which TensorFlow loads alone (with tensorflow_text, where an endpoint tokenizes).

    It appears whole or not at all, and takes the place of an earlier one in one step.

    Args:
      model: a built Keras model.
      directory: a pathlib.Path; replaced if it exists.
      endpoints: {name: (function, list of tf.TensorSpec)} (official.task.Task); None for the model's call as "serve". The first
        is also the signature "serving_default".
      resources: tf.Modules that the functions use besides the model.
      config: a plain dict, kept in CONFIG_FILE: how to build the model and find its data again; None for nothing.
      assets: {file name: path} of files to carry along in EXTRA. A setting of `config` that is such a path is kept as the file
        inside (locate_assets).
    """
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    archive = tf.keras.export.ExportArchive()
    archive.track(model)
    archive.used_by_endpoints = list(resources)  # an attribute, since what is tracked by `track` is not saved
    for name, (function, signature) in (endpoints or {"serve": model_endpoint(model)}).items():
        archive.add_endpoint(name, function, signature)
    with contextlib.redirect_stdout(io.StringIO()):  # a page of captured resources
        archive.write_out(str(partial))
    (partial / EXTRA).mkdir()
    inside = {}
    for name, path in (assets or {}).items():
        shutil.copyfile(path, partial / EXTRA / name)
        inside[str(path)] = f"{EXTRA}/{name}"
    if config is not None:
        config = _map_strings(config, lambda value: inside.get(value, value))
        (partial / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
    replace_folder(partial, directory)


def model_endpoint(model):
    """(function, list of one spec) of a Keras model's call outside training, for an endpoint.

    Sizes are dynamic where the model's are. Of a model that takes a dict, the function takes one too.
    """

    def call(inputs):
        return model(inputs, training=False)

    def spec(name, tensor):
        return tf.TensorSpec(tensor.shape, tensor.dtype, name=name)

    if isinstance(model.input, dict):
        return call, [{name: spec(name, tensor) for name, tensor in model.input.items()}]
    return call, [spec(model.input_names[0], model.input)]


def locate_assets(config, directory):
    """The plain config in a SavedModel's CONFIG_FILE, with the paths that carried assets have now, the model being there."""
    return _map_strings(config, lambda value: str(directory / value) if value.startswith(f"{EXTRA}/") else value)


def _map_strings(value, function):
    """The function of every string in nested dicts and lists."""
    if isinstance(value, dict):
        return {key: _map_strings(item, function) for key, item in value.items()}
    if isinstance(value, list):
        return [_map_strings(item, function) for item in value]
    return function(value) if isinstance(value, str) else value
