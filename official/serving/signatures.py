"""Loads exported models and calls their signatures."""

from typing import Any, NamedTuple

import tensorflow as tf

from official.checkpoints.files import readable
from official.checkpoints.weights import has_checkpoint, local_path
from official.cli.text_ops import load_with_text_ops
from official.files.layout import SAVED_MODEL


class NumericSignature(NamedTuple):
    """A signature of a loaded SavedModel that takes and gives numbers, no strings.

    Attributes:
      name: its key among the signatures.
      function: its tf.ConcreteFunction, which takes its inputs by name and returns a dict.
      inputs: {name: tf.TensorSpec}.
      outputs: {name: tf.TensorSpec}.
      path: of the SavedModel's folder, a string.
      served: the loaded SavedModel; its variables are deleted with it.
    """

    name: str
    function: Any
    inputs: dict[str, tf.TensorSpec]
    outputs: dict[str, tf.TensorSpec]
    path: str
    served: Any

    def __call__(self, inputs):
        """{name: array} of the inputs to {name: NumPy array} of the outputs."""
        feeds = {name: tf.constant(inputs[name], spec.dtype) for name, spec in self.inputs.items()}
        return {name: tensor.numpy() for name, tensor in self.function(**feeds).items()}

    @property
    def compute_dtypes(self):
        """The dtypes of its matrix products, a set of tf.DType."""
        graph = self.function.graph.as_graph_def()
        nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
        return {tf.as_dtype(node.attr["T"].type) for node in nodes if node.op in ("MatMul", "BatchMatMulV2")}


def check_float32(signature, runtime):
    """Raises ValueError for a NumericSignature in another precision than float32; `runtime` is named in the message."""
    other = sorted(dtype.name for dtype in signature.compute_dtypes - {tf.float32})
    if other:
        raise ValueError(f"{signature.name!r} computes in {', '.join(other)}, and {runtime} needs a model in float32")


def numeric_signature(saved_model, name=None):
    """Loads the NumericSignature of a SavedModel, such as "serve" of images and "tokens" of texts.

    Args:
      saved_model: path of its folder.
      name: of the signature; None for the only one without strings, its alias "serving_default" aside.

    Raises:
      ValueError: not a SavedModel, an unknown signature, one with strings, or several candidates without a name.
    """
    if not tf.saved_model.contains_saved_model(str(saved_model)):
        raise ValueError(f"{saved_model} is not a SavedModel")
    served = load_exported(str(saved_model))
    signatures = {key: _numeric_signature(key, function, str(saved_model), served) for key, function in served.signatures.items()}
    numeric = {key: signature for key, signature in signatures.items() if _is_numeric(signature)}
    if name is None:
        names = [key for key in numeric if key != tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY] or list(numeric)
        if len(names) != 1:
            has = f"several ({', '.join(names)}): name one" if names else f"only {', '.join(signatures) or 'none'}"
            raise ValueError(f"{saved_model} must have one signature that takes and gives numbers, and has {has}")
        (name,) = names
    if name not in numeric:
        reason = "it takes or gives strings" if name in signatures else f"{saved_model} has no such signature"
        raise ValueError(f"signature={name!r} is not allowed: it must be one of {', '.join(numeric) or 'none'}; {reason}")
    return numeric[name]


def _numeric_signature(name, function, path, served):
    inputs, outputs = dict(function.structured_input_signature[1]), dict(function.structured_outputs)
    return NumericSignature(name, function, inputs, outputs, path, served)


def _is_numeric(signature):
    return tf.string not in {spec.dtype for spec in (*signature.inputs.values(), *signature.outputs.values())}


def exported_folder(model, setting="--model"):
    """The folder of an exported model, a pathlib.Path.

    Args:
      model: path of a SavedModel or of a run's workdir, for the SavedModel in it; or handle of a published one.
      setting: what the user calls the path, for messages.

    Raises:
      ValueError: an unknown handle, or a checkpoint or workdir without an exported model.
      OSError: as official.checkpoints.weights.local_path.
    """
    folder = local_path(model, setting)
    if not tf.saved_model.contains_saved_model(str(folder)):
        if tf.saved_model.contains_saved_model(str(folder / SAVED_MODEL)):
            return folder / SAVED_MODEL
        if has_checkpoint(folder):
            raise ValueError(
                f"{setting}={str(model)!r} is not allowed: it must be an exported model, and this is a checkpoint; "
                f"export it by python -m official.export --model={model}"
            )
    return folder


def load_exported(model):
    """Loads a SavedModel, with TensorFlow Text's operations if it needs them.

    Args:
      model: as of `exported_folder`.

    Raises:
      ValueError: as `exported_folder`; or a text model without the package tensorflow-text.
      OSError: no SavedModel at the path.
    """
    folder = readable(str(exported_folder(model)))
    return load_with_text_ops(lambda: tf.saved_model.load(folder))
