"""What one layer takes from a layer of another model. All weights of a layer are taken or none: every shape must agree."""

from typing import NamedTuple


class Row(NamedTuple):
    """A line of the table of what became of the weights: one layer, or several instances of a component with the same result.

    Attributes:
      weight: name of the layer, followed by "<- " and that of the source if it differs.
      shape: the different shapes of its weights.
      result: "loaded", "resampled", "fresh" (keeps its initial value) or "dropped" (only the source has it).
      reason: why, if that is not obvious.
    """

    weight: str
    shape: str
    result: str
    reason: str = ""


def split_names(named):
    """{"a/b/c": x, "d": y} to {"a": {"b/c": x}, "d": {"": y}}: by the first part of the names."""
    layers = {}
    for name, value in named.items():
        first, _, rest = name.partition("/")
        layers.setdefault(first, {})[rest] = value
    return layers


def full_names(prefix, layer):
    """{"b/c": x, "": y} to {"prefix/b/c": x, "prefix": y}."""
    return {f"{prefix}/{part}" if part else prefix: value for part, value in layer.items()}


def weights_by_name(layer):
    """{full name: variable} of a layer or model."""
    return {weight.name.removesuffix(":0"): weight for weight in layer.weights}


def shapes(layer):
    """The different shapes of a layer's weights, in one string."""
    return ", ".join(dict.fromkeys(str(list(weight.shape)) for weight in layer.values()))


def mismatch(target, source):
    """Why the weights of a layer cannot be taken from another, or "" if they can.

    Args:
      target: {name within the layer: anything with a shape}.
      source: the same of the other layer, or None if there is none.
    """
    if source is None:
        return "not in the source"
    for name, weight in target.items():
        if name not in source:
            return f"{name} is not in the source"
        if list(weight.shape) != list(source[name].shape):
            return f"{name} {list(weight.shape)}, in the source {list(source[name].shape)}".lstrip()
    return ""


def transfer_layer(name, target, source):
    """Takes a layer unchanged if both models have it and all shapes agree.

    Args:
      name: of the layer.
      target, source: {name within the layer: variable or array}, or None if there is no such layer.

    Returns:
      ({full name: array}, list of Rows).
    """
    if target is None:
        return {}, [] if source is None else [Row(name, shapes(source), "dropped", "the model has none")]
    reason = mismatch(target, source)
    if reason:
        return {}, [Row(name, shapes(target), "fresh", reason)]
    return full_names(name, {part: source[part] for part in target}), [Row(name, shapes(target), "loaded")]


def transfer_parts(name, target, source, special):
    """Takes a layer part by part: each part unchanged or not at all, or as a function of its own decides.

    Args:
      name: of the layer; "" for a whole model.
      target: {name within the layer: variable}.
      source: {name within the layer: array}, or None if there is no such layer.
      special: {name of a part: function}. Each function has the arguments and results of `transfer_layer`.

    Returns:
      ({full name: array}, list of Rows).
    """
    targets, sources = split_names(target), split_names(source or {})
    prefix = f"{name}/" if name else ""
    values, rows = {}, []
    for part in dict.fromkeys([*targets, *sources]):
        transfer = special.get(part, transfer_layer)
        part_values, part_rows = transfer(part, targets.get(part), sources.get(part))
        values |= {prefix + inner: array for inner, array in part_values.items()}
        rows += [row._replace(weight=prefix + row.weight) for row in part_rows]
    return values, rows


def counted(weight, what):
    """A function for `special`: `transfer_layer`, whose reason names the two numbers if a number of things differs.

    Args:
      weight: name within the layer of a weight whose first axis has that number.
      what: the things that are counted, such as "classes".
    """

    def transfer(name, target, source):
        values, rows = transfer_layer(name, target, source)
        if target and source and target.keys() == source.keys():
            number, before = (layer[weight].shape[0] for layer in (target, source))
            if number != before:
                rows = [row._replace(reason=f"{number} {what}, {before} in the source") for row in rows]
        return values, rows

    return transfer
