"""Which weights of another encoder an encoder starts from: one of another deployment, depth or kind of feed-forward layer.

Instances correspond as widenet/correspondence.py says. Of a layer all weights are taken or none: only where every shape agrees.
"""

from typing import NamedTuple

from widenet.correspondence import by_depth, feed_forward_by_depth, relation, span


class Row(NamedTuple):
    """A line of the table of what became of weights: one layer, or the instances of a component that fared alike.

    Attributes:
      weight: name of the layer, and after "<-" that of the source where it is another.
      shape: the different shapes of its weights.
      result: "loaded", "resampled", "fresh" (keeps its initial value) or "dropped" (of the source, and without a place).
      reason: where it is not plain.
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
    """Why the weights of a layer cannot be taken from another, or "" where they can.

    Args:
      target: {name within the layer: what has a shape}.
      source: the same of the other, or None where there is none.
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
    """One layer as it is, where both have it and all shapes agree.

    Args:
      name: of the layer.
      target, source: {name within the layer: variable or array}, or None where there is no such layer.

    Returns:
      ({full name: array}, list of Rows).
    """
    if target is None:
        return {}, [] if source is None else [Row(name, shapes(source), "dropped", "the model has none")]
    reason = mismatch(target, source)
    if reason:
        return {}, [Row(name, shapes(target), "fresh", reason)]
    return full_names(name, {part: source[part] for part in target}), [Row(name, shapes(target), "loaded")]


def transfer_encoder(encoder, weights):
    """What a built Encoder takes from the weights of another.

    Args:
      encoder: the target; nothing is assigned.
      weights: {full name: array}; those of an encoder of the same name count, such as "encoder/attention_0/query/kernel".

    Returns:
      ({full name of a weight of the target: array}, list of Rows).
    """
    targets, sources = (split_names(split_names(named).get(encoder.name, {})) for named in (weights_by_name(encoder), weights))
    blocks = encoder.blocks
    counts = {kind: _count(kind, sources) for kind in ("attention", "ffn", "moe")}
    norms = max(_bank_size(sources.get(bank)) for bank in ("attention_norm", "ffn_norm"))
    choices = {"attention": by_depth([block.attention for block in blocks], counts["attention"])}
    feed_forwards = {kind: counts[kind] for kind in ("ffn", "moe")}
    choices |= feed_forward_by_depth(blocks, feed_forwards, depth=max(counts["attention"], norms))
    parts = [_transfer_instances(kind, choice, targets, sources) for kind, choice in choices.items()]
    parts += [_transfer_bank(bank, blocks, targets, sources) for bank in ("attention_norm", "ffn_norm")]
    done = {"attention_norm", "ffn_norm"}
    done |= {f"{kind}_{i}" for kind, choice in choices.items() for i in range(max(len(choice), counts[kind]))}
    for name in dict.fromkeys([*targets, *sources]):
        if name not in done:
            parts.append(transfer_layer(name, targets.get(name), sources.get(name)))
    values = {name: array for part, _ in parts for name, array in full_names(encoder.name, part).items()}
    return values, [row._replace(weight=f"{encoder.name}/{row.weight}") for _, rows in parts for row in rows]


def _transfer_instances(kind, choice, targets, sources):
    """What the instances of one component take, with a row for all that fare alike."""
    count = _count(kind, sources)
    values, fares = {}, {}  # fares: {reason against it, or "": {instance of the target: that of the source}}
    for i, j in choice.items():
        target, source = targets[f"{kind}_{i}"], sources.get(f"{kind}_{j}")
        reason = _absent(kind, sources) if j is None else mismatch(target, source)
        fares.setdefault(reason, {})[i] = j
        if not reason:
            values |= full_names(f"{kind}_{i}", {part: source[part] for part in target})
    rows = []
    for reason, alike in fares.items():
        name = f"{kind}_{span(alike)}"
        if not reason and any(i != j for i, j in alike.items()):
            name += f" <- {kind}_{span(alike.values())}"
        result, reason = ("fresh", reason) if reason else ("loaded", relation(alike, count, of=len(choice)))
        rows.append(Row(name, shapes(targets[f"{kind}_{min(alike)}"]), result, reason))
    unused = [j for j in range(count) if j not in choice.values()]
    if unused:
        reason = "no block of the model takes it" if choice else "the model has none"
        rows.append(Row(f"{kind}_{span(unused)}", shapes(sources[f"{kind}_{unused[0]}"]), "dropped", reason))
    return values, rows


def _transfer_bank(bank, blocks, targets, sources):
    """What a bank of norms takes, row by row: they are its instances."""
    target, source = targets[bank], sources.get(bank)
    if source is None:
        return transfer_layer(bank, target, source)
    is_pre, was_pre = ("final_norm" in layers for layers in (targets, sources))
    if is_pre != was_pre:
        reason = (
            "before attention and FFN, in the source after them" if is_pre else "after attention and FFN, in the source before"
        )
        return {}, [Row(bank, shapes(target), "fresh", reason)]
    count = _bank_size(source)
    choice = by_depth([block.norm for block in blocks], count)
    values, (row,) = transfer_layer(bank, target, {part: array[list(choice.values())] for part, array in source.items()})
    if row.result == "loaded":
        row = row._replace(reason=relation(choice, count, of=len(choice)))
    return values, [row]


def _count(kind, layers):
    """How many instances of a component there are; they are numbered from 0."""
    return next(i for i in range(len(layers) + 1) if f"{kind}_{i}" not in layers)


def _bank_size(bank):
    """How many norms a bank holds."""
    return len(next(iter(bank.values()))) if bank else 0


def _absent(kind, sources):
    """Why there is nothing for an instance."""
    if kind == "ffn" and _count("moe", sources):
        return "the source has experts there, of which no FFN is made"
    if kind == "moe" and _count("ffn", sources):
        return "the source has an FFN there, of which no experts are made"
    return "not in the source"
