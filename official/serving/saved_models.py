"""Writes trained models as SavedModels, with their config and facts about them."""

import contextlib
import json
import shutil

import tensorflow as tf

from official.exportable import ExportSpec, TracedModel, keras_module, model_endpoint
from official.files.atomic import atomic_dir
from official.files.layout import CONFIG_FILE, EXTRA, FACTS_FILE, map_strings
from official.files.summary import write_summary


def write_saved_model(spec, directory, config=None, facts=None):
    """Writes a SavedModel that TensorFlow loads without this project (with tensorflow_text, if an endpoint tokenizes).

    Its endpoints are signatures, and functions of the loaded object by the same names. The loaded object is a reusable module: it
    can be called, and has `variables`, `trainable_variables` and `regularization_losses`. The folder is replaced atomically.

    Args:
      spec: an official.exportable.ExportSpec that has its weights. Its first endpoint is also the signature "serving_default".
      directory: a pathlib.Path; replaced if it exists.
      config: a plain dict for CONFIG_FILE: how to build the model and find its data again; None to leave the file out. A setting
        that is the path of an asset becomes the path of the copy inside (official.files.layout.locate_assets).
      facts: a dict of more facts for FACTS_FILE.

    Returns:
      The content of FACTS_FILE.

    Raises:
      OSError: the folder cannot be written.
    """
    with atomic_dir(directory) as folder:
        with getattr(spec.model, "export_scope", contextlib.nullcontext)():
            root, functions = _traced(spec)
            first = next(iter(functions.values()))
            try:
                tf.saved_model.save(root, str(folder), {"serving_default": first, **functions})
            except tf.errors.OpError as error:
                raise OSError(f"{directory} could not be written: {error.message}") from error
        (folder / EXTRA).mkdir()
        inside = {}
        for name, path in spec.assets.items():
            shutil.copyfile(path, folder / EXTRA / name)
            inside[str(path)] = f"{EXTRA}/{name}"
        if config is not None:
            config = map_strings(config, lambda value: inside.get(value, value))
            if spec.settings:
                config = {**config, "model": {**config["model"], **spec.settings}}
            (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
        return write_summary(
            folder / FACTS_FILE,
            kind=spec.kind,
            parameters=sum(variable.shape.num_elements() for variable in spec.module.variables),
            class_names=list(spec.class_names),
            signatures={name: describe(function) for name, function in functions.items()},
            licence=None,
            **(facts or {}),
        )


def keep_weights(spec, weights):
    """An ExportSpec whose SavedModel also holds weights that its model has no place for, {full name: array}.

    A training that starts from it takes them, such as the pooler beside a model that has none.
    """
    kept = [tf.Variable(value, name=name) for name, value in weights.items()]
    return spec._replace(module=spec.module._replace(variables=[*spec.module.variables, *kept]))


def export_saved_model(model, directory):
    """Writes a Keras model as a SavedModel without config; its call is the endpoint "serve".

    Args:
      model: a built Keras model.
      directory: a pathlib.Path; replaced if it exists.
    """
    traced = TracedModel(model)
    return write_saved_model(ExportSpec("", model, {"serve": model_endpoint(traced)}, keras_module(traced)), directory)


def _traced(spec):
    """(the object to save, {name: ConcreteFunction} of its endpoints)."""
    module = spec.module
    root = tf.__internal__.tracking.AutoTrackable()
    root.variables = module.variables
    root.trainable_variables = [variable for variable in module.variables if variable.trainable]
    root.regularization_losses = []  # losses depend on the inputs here, and are an output (balance_loss)
    root.resources = list(spec.resources)
    root.__call__ = tf.function(module.call)
    for inputs in module.inputs:
        for training in ({"training": False}, {"training": True}) if module.trains else ({},):
            root.__call__.get_concrete_function(inputs, **training)
    functions = {}
    for name, (function, signature) in spec.endpoints.items():
        endpoint = tf.function(function, input_signature=signature)
        functions[name] = endpoint.get_concrete_function()
        setattr(root, name, endpoint)
    return root, functions


def describe(function):
    """The inputs and outputs of an endpoint's ConcreteFunction: {"inputs": {name: "float32 [?, 8, 8, 1]"}, "outputs": {...}}."""

    def kind(tensor):
        sizes = ["..."] if tensor.shape.rank is None else ["?" if size is None else str(size) for size in tensor.shape]
        return f"{tensor.dtype.name} [{', '.join(sizes)}]"

    outputs = function.structured_outputs
    outputs = outputs if isinstance(outputs, dict) else {"output_0": outputs}
    inputs = tf.nest.flatten(function.structured_input_signature)
    return {
        "inputs": {spec.name: kind(spec) for spec in inputs},
        "outputs": {name: kind(tensor) for name, tensor in sorted(outputs.items())},
    }
