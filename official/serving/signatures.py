"""Signatures of exported models: read, described, and called."""

from typing import Any, NamedTuple

import tensorflow as tf

from official.checkpoints.weights import local_path
from official.cli import quiet


class NumericSignature(NamedTuple):
    """One signature of a SavedModel, none of whose inputs or outputs are strings.

    Attributes:
      name: its key among the signatures.
      function: its tf.ConcreteFunction, which takes its inputs by name and gives a dict.
      inputs: {name: tf.TensorSpec}.
      outputs: {name: tf.TensorSpec}.
      path: of the SavedModel's folder, a string.
      served: the loaded SavedModel, whose variables live as long as it is kept.
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
        """The dtypes in which the signature computes, a set of tf.DType."""
        graph = self.function.graph.as_graph_def()
        nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
        return {tf.as_dtype(node.attr["T"].type) for node in nodes if node.op in ("MatMul", "BatchMatMulV2")}


def check_float32(signature, runtime):
    """Refuses a NumericSignature that a runtime, by its name, cannot compute as it is.

    Raises:
      ValueError: one in another precision.
    """
    other = sorted(dtype.name for dtype in signature.compute_dtypes - {tf.float32})
    if other:
        raise ValueError(f"{signature.name!r} computes in {', '.join(other)}, and {runtime} needs a model in float32")


def numeric_signature(saved_model, name=None):
    """Loads the signature of numbers of a SavedModel, such as "serve" of images and "tokens" of texts.

    Args:
      saved_model: path of its folder.
      name: which one; None for the only one of numbers, its alias "serving_default" aside.

    Raises:
      ValueError: no SavedModel, no such signature, one with strings, or several where none is named.
    """
    if not tf.saved_model.contains_saved_model(str(saved_model)):
        raise ValueError(f"{saved_model} is not a SavedModel")
    served = load_exported(str(saved_model))
    signatures = {key: _described(key, function, str(saved_model), served) for key, function in served.signatures.items()}
    numeric = {key: found for key, found in signatures.items() if _is_numeric(found)}
    if name is None:
        names = [key for key in numeric if key != tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY] or list(numeric)
        if len(names) != 1:
            has = f"several of numbers ({', '.join(names)}): name one" if names else f"only {', '.join(signatures) or 'none'}"
            raise ValueError(f"{saved_model} must have one signature that takes and gives numbers, and has {has}")
        (name,) = names
    if name not in numeric:
        why = "takes or gives strings" if name in signatures else "is not there"
        raise ValueError(f"signature={name!r} of {saved_model} {why}: it must be one of {', '.join(numeric) or 'none'}")
    return numeric[name]


def _described(name, function, path, served):
    inputs, outputs = dict(function.structured_input_signature[1]), dict(function.structured_outputs)
    return NumericSignature(name, function, inputs, outputs, path, served)


def _is_numeric(signature):
    return tf.string not in {spec.dtype for spec in (*signature.inputs.values(), *signature.outputs.values())}


def load_exported(handle):
    """The SavedModel of a path or handle; with TensorFlow Text's operations where it needs them.

    Raises:
      ValueError: a handle that leads to no model.
      OSError: no model there.
    """
    folder = str(local_path(handle, "--handle"))
    try:
        return tf.saved_model.load(folder)
    except (tf.errors.NotFoundError, FileNotFoundError, RuntimeError) as error:
        if "not registered" not in str(error):
            raise
    with quiet.hub_import():
        import tensorflow_text  # noqa: F401  (it takes seconds, and only models of text need it)
    return tf.saved_model.load(folder)
