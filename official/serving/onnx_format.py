"""Converts exported models to ONNX and runs them in ONNX Runtime. Needs the extra onnx of pyproject.toml."""

import collections
import logging

import tensorflow as tf

from official.files.atomic import atomic_write
from official.serving.signatures import NumericSignature, check_float32

OPSET = 17
DOMAINS = ("", "ai.onnx")  # of the standard operators, which every runtime supports


def convert(signature: NumericSignature, path):
    """Writes a signature as an ONNX file of standard operators, with its names, dynamic batch size and dynamic lengths.

    Args:
      signature: a signature that computes in float32.
      path: a pathlib.Path; written atomically.

    Raises:
      ValueError: a signature in another precision, or with operations that ONNX lacks.
      ModuleNotFoundError: tf2onnx is not installed.
    """
    check_float32(signature, "ONNX Runtime")
    model = _converted(signature)
    unknown = sorted({node.op_type for node in model.graph.node if not _is_standard(node)})
    if unknown:
        raise ValueError(f"ONNX has no {', '.join(unknown)}, which {signature.name!r} uses")
    for tensor in (*model.graph.input, *model.graph.output):
        if tensor.type.tensor_type.shape.dim and not tensor.type.tensor_type.shape.dim[0].HasField("dim_value"):
            tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
    atomic_write(path, model.SerializeToString())


def _converted(signature):
    """The onnx.ModelProto."""
    from tf2onnx import optimizer, tf_loader, tfonnx

    function = signature.function
    feeds = [tensor for tensor in function.inputs if tensor.dtype != tf.resource]
    # The function's outputs are in the order of tf.nest, that of sorted names.
    names = {
        **{tensor.name: tensor.op.name for tensor in feeds},
        **{tensor.name: name for name, tensor in zip(sorted(signature.outputs), function.outputs, strict=True)},
    }
    inputs, outputs = [tensor.name for tensor in feeds], [tensor.name for tensor in function.outputs]
    level = logging.getLogger("tf2onnx").level
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)  # the caller reports what cannot be converted
    try:
        frozen = tf_loader.from_function(function, inputs, outputs)
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(frozen, name="")
            converted = tfonnx.process_tf_graph(
                graph, opset=OPSET, input_names=inputs, output_names=outputs, tensors_to_rename=names, continue_on_error=True
            )
            # tf2onnx 1.17.0 writes 0, "copy this axis of the input", into the shape of a Reshape. The optimizer
            # remove_back_to_back then removes the Reshape before it, whose axes were meant. Without it the result is right.
            steps = collections.OrderedDict(optimizer._get_optimizers())
            del steps["remove_back_to_back"]
            return optimizer.optimize_graph(converted, catch_errors=False, optimizers=steps).make_model(signature.name)
    finally:
        logging.getLogger("tf2onnx").setLevel(level)


def _is_standard(node):
    import onnx

    return node.domain in DOMAINS and onnx.defs.has(node.op_type, max_inclusive_version=OPSET)


class OnnxModel:
    """An ONNX file in ONNX Runtime on the CPU: {name: array} to {name: array}.

    Args:
      path: of the file.
      threads: number of threads for one operator; None for all cores.
    """

    def __init__(self, path, threads=None):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3  # 3: errors only; it warns of every dynamic shape
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, inputs):
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(inputs)), strict=True))
