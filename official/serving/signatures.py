"""Loads exported models and calls their signatures."""

from typing import Any, NamedTuple

import tensorflow as tf

from official.checkpoints.weights import local_path
from official.cli import quiet


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


def load_exported(model):
    """Loads a SavedModel, with TensorFlow Text's operations if it needs them.

    Args:
      model: path of its folder, or handle of a published one.

    Raises:
      ValueError: an unknown handle.
      OSError: no SavedModel at the path.
    """
    folder = str(local_path(model, "--model"))
    try:
        return tf.saved_model.load(folder)
    except (tf.errors.NotFoundError, FileNotFoundError, RuntimeError) as error:
        if "not registered" not in str(error):
            raise
    with quiet.hub_import():
        import tensorflow_text  # noqa: F401  (takes seconds, and only text models need it)
    return tf.saved_model.load(folder)
