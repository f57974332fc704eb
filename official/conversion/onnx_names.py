"""The names that the weights in an ONNX graph have in the PyTorch module that it was exported from.

An export keeps the names of most parameters. It renames what it has changed, such as kernels that it has transposed for MatMul
("onnx::MatMul_470"), and keeps one of several equal tensors. But nodes are named after the modules that they come from,
"/encoder/layer.0/attention/self/query/MatMul", and the input of a node tells which parameter of the module it is.
"""

import itertools
import re
from typing import NamedTuple

# Inputs that are parameters, by the kind of node: {kind: {position: name of the parameter}}.
KERNEL, KERNEL_AND_BIAS = {1: "weight"}, {1: "weight", 2: "bias"}
PARAMETERS = {
    "MatMul": KERNEL,
    "FusedMatMul": KERNEL,
    "MatMulInteger": KERNEL,
    "MatMulIntegerToFloat": {1: "weight", 6: "bias"},
    "DynamicQuantizeMatMul": {1: "weight", 4: "bias"},
    "Gemm": KERNEL_AND_BIAS,
    "Conv": KERNEL_AND_BIAS,
    "ConvTranspose": KERNEL_AND_BIAS,
    "ConvInteger": KERNEL,
    "LayerNormalization": KERNEL_AND_BIAS,
    "BatchNormalization": {1: "weight", 2: "bias", 3: "running_mean", 4: "running_var"},
    "Gather": {0: "weight"},
}
# Kinds whose kernel is [in, out] unless they have transB; PyTorch's is [out, in].
PRODUCTS = ("MatMul", "FusedMatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "Gemm")
# Positions of the scale and the zero point of a kernel of integers, by the kind of node.
SCALES = {"MatMulIntegerToFloat": (3, 5), "DynamicQuantizeMatMul": (2, 3)}
ZERO_POINT = 3  # its position in MatMulInteger and ConvInteger
# Kinds of a graph that ONNX Runtime has changed, which put several weights into one tensor or pack them.
FUSED = ("Attention", "QAttention", "MatMulNBits", "MatMulBnb4")
MAX_DEPTH = 100  # of modules inside each other; a deeper path is taken for none
PARAMETER = re.compile(r"(?!val_\d+$|\w*Constant_\d+)[A-Za-z_]\w*(\.\w+)*")  # how PyTorch names parameters


class Node(NamedTuple):
    """A node of a graph.

    Attributes:
      kind: "MatMul", ...
      name: a string, with the path of its module if it begins with "/".
      module: dotted path of its module where the exporter has written that down, else None.
      inputs, outputs: lists of names of values.
      attributes: {name: int, or a list of ints for "perm"}.
    """

    kind: str
    name: str
    module: str | None
    inputs: list
    outputs: list
    attributes: dict


class Weight(NamedTuple):
    """How a parameter is made of the tensors in the file.

    Attributes:
      tensor: name of the tensor.
      axes: permutation of its axes; None for none.
      scale, zero_point: names of the tensors to dequantize it with; None for none.
      axis: of the tensor that scale and zero point lie along if they have more than one value.
    """

    tensor: str
    axes: tuple | None = None
    scale: str | None = None
    zero_point: str | None = None
    axis: int = 0

    def transposed(self, axes):
        axes = tuple(self.axes[axis] for axis in axes) if self.axes else tuple(axes)
        return self._replace(axes=None if axes == tuple(range(len(axes))) else axes)


class Use(NamedTuple):
    """One use of a tensor: the Weight as its module has it, and names for it, best first."""

    weight: Weight
    names: list


class Graph:
    """Finds the names of weights.

    Args:
      nodes: Nodes, each after those that it needs.
      shapes: {name of a tensor: tuple}.
      kinds: {name of a tensor: "f" for floats, "q" for integers of 8 bits, "i" for others}.
    """

    def __init__(self, nodes, shapes, kinds):
        self._nodes, self._shapes, self._kinds = nodes, shapes, kinds
        self._producers = {output: node for node in nodes for output in node.outputs}
        self._consumers = {}
        for node in nodes:
            for value in node.inputs:
                self._consumers.setdefault(value, []).append(node)
        paths = [_path(node) for node in nodes]
        self._scopes = {path[:length] for path in paths for length in range(1, len(path) + 1)}
        self._kinds_in = {}
        for node, path in zip(nodes, paths, strict=True):
            self._kinds_in.setdefault(path, set()).add(node.kind)

    def weights(self):
        """Names every tensor that may be a parameter.

        Left out are scalars, shapes and other integers that no module names, and what integers are dequantized with. Tensors
        whose role is not known have the path of the module that uses them and what is left of their own name.

        Returns:
          ({name of a parameter: Weight}, {name: name of the parameter that it is a copy of if their values are equal}). A module
          that is called several times may have its weights in the graph as often, as "query" and "query_1".
        """
        values = self._constants()
        uses = self._uses(values)
        used_to_scale = {name for each in uses.values() for use in each for name in use.weight[2:4] if name}
        used_to_scale |= {name for weight in values.values() for name in weight[2:4] if name}
        found, unnamed = {}, {}
        for value, weight in values.items():
            if weight.tensor in used_to_scale or (value != weight.tensor and not self._is_parameter(value)):
                continue
            if self._is_parameter(value):
                name = _unquantized(value)
                found[name] = uses[value][0].weight if value in uses else weight
                # An optimized graph has one tensor in place of several equal ones.
                others = {use.names[0]: use.weight for use in uses.get(value, ()) if use.names}
                found |= others if name in others else {}
            elif self._is_weight(weight.tensor):
                unnamed[value] = uses.get(value, [])
        return found, self._add_unnamed(found, unnamed)

    def _add_unnamed(self, found, unnamed):
        """Adds tensors without a name of their own, under the names that the modules that use them give to no other tensor.

        Returns:
          {name: name of the first call's}.
        """
        taken, copies = set(found), {}
        claims, exact = {}, {}  # {name: tensors that may have it}, {name: tensors whose node has this very path}
        for value, uses in unnamed.items():
            for use in uses:
                for name in use.names:
                    claims.setdefault(name, set()).add(value)
                for name in use.names[-1:]:
                    exact.setdefault(name, set()).add(value)
        for value, uses in unnamed.items():
            named = {}
            for use in uses:
                free = [name for name in use.names if name not in taken and {value} in (claims[name], exact.get(name))]
                named |= {free[0]: use.weight} if free else {}
                copies |= {free[0]: use.names[0]} if free and free[0] != use.names[0] else {}
            if not named:
                module = next((self._module(node) for node in self._consumers.get(value, ()) if self._module(node)), "")
                named = {".".join(filter(None, [module, _last(value)])): uses[0].weight if uses else Weight(value)}
            found |= named
        return copies

    def _is_parameter(self, value):
        """Whether a value has a name that PyTorch gives to parameters, and is not an index or a shape."""
        if not PARAMETER.fullmatch(value):
            return False
        return "." in value or self._kinds.get(value) == "f"

    def _is_weight(self, tensor):
        size = 1
        for length in self._shapes[tensor]:
            size *= length
        return size > 1 and (self._kinds[tensor] == "f" or (self._kinds[tensor] == "q" and len(self._shapes[tensor]) > 1))

    def _constants(self):
        """{value: Weight} of all tensors, and of what is the same but for its form."""
        values = {name: Weight(name) for name in self._shapes}
        for node in self._nodes:
            weight = values.get(node.inputs[0]) if node.inputs else None
            if weight is None or not node.outputs:
                continue
            (output, *_) = node.outputs
            if node.kind == "Identity" or (node.kind == "Cast" and self._kinds[weight.tensor] == "f"):
                values[output] = weight
            elif node.kind == "Transpose" and sorted(node.attributes.get("perm", ())) == list(range(len(self._shape(weight)))):
                values[output] = weight.transposed(node.attributes["perm"])
            elif node.kind == "DequantizeLinear" and weight.axes is None and self._are_tensors(node.inputs[1:3]):
                values[output] = weight._replace(**_scaled(node.inputs[1:3], node.attributes.get("axis", 1)))
        return values

    def _uses(self, values):
        """{value: list of Uses}, of all values of `_constants`."""
        uses = {}
        for node in self._nodes:
            if node.kind in ("Identity", "Cast", "Transpose", "DequantizeLinear"):
                continue
            for position, value in enumerate(node.inputs):
                weight = values.get(value)
                if weight is None:
                    continue
                # Behind a Transpose or Cast a value has lost the name that the tensor has.
                named = value if self._is_parameter(value) else weight.tensor
                role = self._role(node, position, weight)
                weight = self._dequantized(node, weight) if role == "weight" else weight
                own = _unquantized(named) if self._is_parameter(named) else ""
                is_kernel = role == "weight" and node.kind in PRODUCTS and own[-6:] in ("", "weight")
                if is_kernel and len(self._shape(weight)) == 2 and not node.attributes.get("transB"):
                    weight = weight.transposed((1, 0))
                last = role or own.rpartition(".")[2]
                modules = dict.fromkeys([self._module(node), self._module(node, repeated=False)]) if last else ()
                uses.setdefault(named, []).append(Use(weight, [f"{module}.{last}" for module in modules if module]))
        return uses

    def _role(self, node, position, weight):
        """The name of the parameter that an input of a node is, or ""."""
        rank = len(self._shapes[weight.tensor])
        if node.kind in PARAMETERS:
            role = PARAMETERS[node.kind].get(position, "")
            least = 2 if role == "weight" and node.kind in (*PRODUCTS, "Gather") else 1
            return role if self._kinds[weight.tensor] != "i" and rank >= least else ""
        around = self._kinds_in[_path(node)]
        if rank == 1 and node.kind == "Mul" and "ReduceMean" in around:
            return "weight"
        return "bias" if rank == 1 and node.kind == "Add" and around & {"ReduceMean", "ConvInteger", *PRODUCTS} else ""

    def _dequantized(self, node, weight):
        """The Weight with what the nodes behind an operation on integers scale it by."""
        if self._kinds[weight.tensor] != "q" or weight.scale:
            return weight
        if node.kind in SCALES:
            names = [node.inputs[place] if place < len(node.inputs) else "" for place in SCALES[node.kind]]
            return weight._replace(**_scaled(names, -1)) if self._are_tensors(names) else weight
        for after in self._consumers.get(node.outputs[0], ()):
            if node.kind == "Gather" and after.kind == "DequantizeLinear" and self._are_tensors(after.inputs[1:3]):
                return weight._replace(**_scaled(after.inputs[1:3], 0))
            if node.kind in ("MatMulInteger", "ConvInteger") and after.kind == "Cast" and len(after.inputs) == 1:
                names = [self._scale(after), *node.inputs[ZERO_POINT:]]
                if names[0] and self._are_tensors(names):
                    return weight._replace(**_scaled(names, -1 if node.kind == "MatMulInteger" else 0))
        return weight

    def _scale(self, cast):
        """The scale of a kernel: the product of integers is multiplied by (scale of the other factor * scale of the kernel)."""
        for product in self._consumers.get(cast.outputs[0], ()):
            for value in product.inputs[:2] if product.kind == "Mul" else ():
                candidates = [value, *(self._producers[value].inputs[:2] if value in self._producers else ())]
                for name in candidates:
                    if name in self._shapes:
                        return name
        return ""

    def _are_tensors(self, names):
        return all(not name or name in self._shapes for name in names)

    def _shape(self, weight):
        shape = self._shapes[weight.tensor]
        return tuple(shape[axis] for axis in weight.axes) if weight.axes else shape

    def _module(self, node, repeated=True):
        """The dotted path of the module that a node comes from, "" if it is not known.

        Args:
          node: a Node.
          repeated: whether "query_1" is taken for another call of "query" where there is one.
        """
        if node.module is not None:
            return node.module
        parts = []
        for part in _path(node):
            base = re.fullmatch(r"(.+)_\d+", part)
            parts.append(base[1] if repeated and base and (*parts, base[1]) in self._scopes else part)
        # The children of a Sequential follow it with its own name: /blocks/blocks.0 is blocks.0.
        return ".".join(part for part, child in itertools.pairwise([*parts, ""]) if not child.startswith(f"{part}."))


def _path(node):
    path = node.name.strip("/").split("/")[:-1] if node.name.startswith("/") else ()
    return tuple(path) if len(path) <= MAX_DEPTH else ()


def _scaled(names, axis):
    return {"scale": names[0], "zero_point": (names[1] or None) if len(names) > 1 else None, "axis": axis}


def _unquantized(name):
    return name.removesuffix("_quantized")


def _last(value):
    """What is left of the name of a tensor without the path and the exporter's mark: "Concat_12" of "onnx::Concat_12"."""
    return value.rpartition("/")[2].rpartition("::")[2].replace(":", "_")
