"""SavedModels of trained models: written whole, with all that tells what they are."""

import contextlib
import json
import shutil

import tensorflow as tf

from official.exportable import ExportSpec, TracedModel, keras_module, model_endpoint
from official.files.atomic import atomic_replace_dir
from official.files.saved_model_layout import CONFIG_FILE, EXTRA, FACTS_FILE, map_strings
from official.files.summary import write_summary


def write_saved_model(part, directory, config=None, facts=None):
    """Writes a SavedModel, which TensorFlow loads alone (with tensorflow_text, where an endpoint tokenizes).

    It has the part's endpoints as signatures and as functions of those names, and is a reusable module: it can be called, and
    has `variables`, `trainable_variables` and `regularization_losses`. It appears whole or not at all, and takes the place of an
    earlier one in one step.

    Args:
      part: an official.exportable.ExportSpec that has its weights. Its first endpoint is also the signature "serving_default".
      directory: a pathlib.Path; replaced if it exists.
      config: a plain dict, kept in CONFIG_FILE: how to build the model and find its data again; None for nothing. A setting that
        is the path of one of the part's assets is kept as the file inside (official.files.saved_model_layout.locate_assets).
      facts: a dict that FACTS_FILE has beside what the part tells.

    Returns:
      What FACTS_FILE holds.

    Raises:
      OSError: where it cannot be written.
    """
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with getattr(part.model, "export_scope", contextlib.nullcontext)():
        root, functions = _traced(part)
        first = next(iter(functions.values()))
        tf.saved_model.save(root, str(partial), {"serving_default": first, **functions})
    (partial / EXTRA).mkdir()
    inside = {}
    for name, path in part.assets.items():
        shutil.copyfile(path, partial / EXTRA / name)
        inside[str(path)] = f"{EXTRA}/{name}"
    if config is not None:
        config = map_strings(config, lambda value: inside.get(value, value))
        if part.settings:
            config = {**config, "model": {**config["model"], **part.settings}}
        (partial / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
    told = write_summary(
        partial / FACTS_FILE,
        kind=part.kind,
        parameters=sum(variable.shape.num_elements() for variable in part.module.variables),
        class_names=list(part.class_names),
        signatures={name: describe(function) for name, function in functions.items()},
        licence=None,
        **(facts or {}),
    )
    atomic_replace_dir(partial, directory)
    return told


def export_saved_model(model, directory):
    """The same of a Keras model alone, whose call is the endpoint "serve".

    Args:
      model: a built Keras model.
      directory: a pathlib.Path; replaced if it exists.
    """
    traced = TracedModel(model)
    return write_saved_model(ExportSpec("", model, {"serve": model_endpoint(traced)}, keras_module(traced)), directory)


def _traced(part):
    """The object to save, and {name: ConcreteFunction} of its endpoints."""
    module = part.module
    root = tf.__internal__.tracking.AutoTrackable()
    root.variables = module.variables
    root.trainable_variables = [variable for variable in module.variables if variable.trainable]
    root.regularization_losses = []  # they depend on the inputs, and are an output
    root.resources = list(part.resources)
    root.__call__ = tf.function(module.call)
    for inputs in module.inputs:
        for training in ({"training": False}, {"training": True}) if module.trains else ({},):
            root.__call__.get_concrete_function(inputs, **training)
    functions = {}
    for name, (function, signature) in part.endpoints.items():
        endpoint = tf.function(function, input_signature=signature)
        functions[name] = endpoint.get_concrete_function()
        setattr(root, name, endpoint)
    return root, functions


def describe(function):
    """{"inputs": {name: "float32 [?, 8, 8, 1]"}, "outputs": {...}} of an endpoint's ConcreteFunction."""

    def told(tensor):
        sizes = ["..."] if tensor.shape.rank is None else ["?" if size is None else str(size) for size in tensor.shape]
        return f"{tensor.dtype.name} [{', '.join(sizes)}]"

    outputs = function.structured_outputs
    outputs = outputs if isinstance(outputs, dict) else {"output_0": outputs}
    inputs = tf.nest.flatten(function.structured_input_signature)
    return {
        "inputs": {spec.name: told(spec) for spec in inputs},
        "outputs": {name: told(tensor) for name, tensor in sorted(outputs.items())},
    }
