"""Files .onnx: the weights of the PyTorch module that was exported, by their names and in their layouts there."""

import ast

import numpy as np

from official.conversion.files import import_package, unreadable
from official.conversion.onnx_names import FUSED, Graph, Node

MODULE = "pkg.torch.onnx.name_scopes"  # where PyTorch's newer exporter writes the paths of the modules around a node


class OnnxFile:
    """Weights in a file .onnx. The graph is read once; of data in files beside it, one tensor at a time.

    Args:
      path: a pathlib.Path.

    Attributes:
      form: "pytorch".
      shapes: {parameter: tuple}.
      files: {parameter: pathlib.Path}.
      quantized: set of the parameters that are integers in the file, which `read` dequantizes.
      unneeded: empty.

    Raises:
      ValueError: a file that cannot be read, or with weights that cannot be told apart.
    """

    form = "pytorch"

    def __init__(self, path):
        self._onnx = import_package("onnx", "onnx", "files .onnx")
        self._path = path
        try:
            graph = self._onnx.load(path, load_external_data=False).graph
            self._tensors = {tensor.name: tensor for tensor in graph.initializer}
            nodes = [_node(node) for node in graph.node]
            for node in graph.node:
                if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
                    self._tensors[node.output[0]] = node.attribute[0].t
            shapes = {name: tuple(tensor.dims) for name, tensor in self._tensors.items()}
            kinds = {name: self._kind(tensor) for name, tensor in self._tensors.items()}
            is_sparse = bool(graph.sparse_initializer)
        except Exception as error:  # whatever a parser raises for bytes that are not of its format
            raise unreadable(path, error) from error
        if not nodes:
            raise unreadable(path, "it has no nodes")
        outputs = [output for node in nodes for output in node.outputs if output]
        if len(set(outputs)) < len(outputs):
            raise unreadable(path, "its graph is damaged: a value is the output of two nodes")
        fused = sorted({node.kind for node in nodes} & set(FUSED))
        if fused or is_sparse:
            packed = f"nodes {', '.join(fused)}" if fused else "sparse tensors"
            raise ValueError(f"{path} has {packed}, in which weights are packed; it must be the export before it was optimized")
        if any(length < 0 for shape in shapes.values() for length in shape):
            raise ValueError(f"{path} cannot be read: it has a tensor of negative size")
        try:
            self._weights, copies = Graph(nodes, shapes, kinds).weights()
        except (IndexError, TypeError, KeyError) as error:  # nodes that lack inputs, outputs or attributes
            raise unreadable(path, f"its graph is damaged ({error!r})") from error
        for name, original in copies.items():
            if original in self._weights and self._are_equal(self._weights[name], self._weights[original]):
                copy = self._weights.pop(name)
                if not copy.scale:  # one that was not quantized, as ONNX Runtime leaves all but the first call's
                    self._weights[original] = copy
        self.quantized = {name for name, weight in self._weights.items() if weight.scale}
        self.files, self.unneeded = dict.fromkeys(self._weights, path), {}
        self.shapes = {}
        for name, weight in self._weights.items():
            shape = shapes[weight.tensor]
            self.shapes[name] = tuple(shape[axis] for axis in weight.axes) if weight.axes else shape

    def read(self, name):
        """A parameter as float32; one of integers that has no scale as they are.

        Raises:
          ValueError: names the file and the tensor.
        """
        return self._value(self._weights[name])

    def _value(self, weight):
        value = self._read(weight.tensor)
        if weight.scale:
            value = self._dequantized(value, weight)
        if value.dtype.kind not in "iub":
            value = value.astype(np.float32, copy=False)
        return np.array(value if weight.axes is None else value.transpose(weight.axes), order="C")

    def _are_equal(self, first, second):
        """Whether two Weights have the same values, or one is the other quantized: then they differ by less than a step."""
        steps = [np.abs(self._read(weight.scale)).max() for weight in (first, second) if weight.scale]
        one, other = self._value(first), self._value(second)
        return one.shape == other.shape and bool(np.all(np.abs(one - other) <= max(steps, default=0)))

    def _dequantized(self, value, weight):
        """(tensor - zero point) * scale (ONNX operators, DequantizeLinear)."""
        scale = self._read(weight.scale)
        zero_point = self._read(weight.zero_point) if weight.zero_point else np.zeros((), np.int32)
        lengths = {part.size for part in (scale, zero_point)} - {1}
        if not -value.ndim <= weight.axis < value.ndim or lengths - {value.shape[weight.axis]}:
            shapes = f"the shape {list(value.shape)}, and its scales {weight.scale!r} have {list(scale.shape)}"
            raise ValueError(f"{self._path}: {weight.tensor!r} has {shapes}")
        along = [1] * value.ndim
        along[weight.axis] = -1
        scale, zero_point = scale.astype(np.float32).reshape(along), zero_point.astype(np.int32).reshape(along)
        return (value.astype(np.int32) - zero_point).astype(np.float32) * scale

    def _read(self, name):
        tensor = self._tensors[name]
        path = self._path
        try:
            if tensor.data_location == self._onnx.TensorProto.EXTERNAL:
                facts = {entry.key: entry.value for entry in tensor.external_data}
                path = self._beside(facts.get("location", ""))
                tensor = self._with_data(tensor, path, facts)
            return np.asarray(self._onnx.numpy_helper.to_array(tensor))
        except Exception as error:  # as in __init__
            raise unreadable(path, f"{name!r}: {error}") from error

    def _beside(self, location):
        """The path of a file of data, which must lie in the folder of the model."""
        path = self._path.parent / location
        if not location or not path.resolve().is_relative_to(self._path.parent.resolve()):
            raise ValueError(f"its data is in {location!r}, which is not beside the file")
        return path

    def _with_data(self, tensor, path, facts):
        """A copy of a tensor with the data that lies in another file."""
        copy = self._onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        offset, length = int(facts.get("offset", 0)), int(facts.get("length", -1))
        with path.open("rb") as file:
            file.seek(offset)
            copy.raw_data = file.read(length)
        if length >= 0 and len(copy.raw_data) != length:
            raise ValueError(f"there are {len(copy.raw_data)} bytes from {offset} on in place of {length}")
        return copy

    def _kind(self, tensor):
        types = self._onnx.TensorProto
        if tensor.data_type in (types.FLOAT, types.FLOAT16, types.BFLOAT16, types.DOUBLE):
            return "f"
        return "q" if tensor.data_type in (types.INT8, types.UINT8) else "i"


def _node(node):
    attributes = {item.name: item.i for item in node.attribute if item.type == item.INT}
    attributes |= {item.name: list(item.ints) for item in node.attribute if item.name == "perm"}
    module = None
    for entry in getattr(node, "metadata_props", ()):
        if entry.key == MODULE:
            module = ["", *ast.literal_eval(entry.value)][-2]
    return Node(node.op_type, node.name, module, list(node.input), list(node.output), attributes)
