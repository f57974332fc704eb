"""What an Encoder takes from the weights of another: one of another deployment, depth or kind of feed-forward layer."""

from widenet.weight_transfer.layers import Row, full_names, mismatch, shapes, split_names, transfer_layer, weights_by_name
from widenet.weight_transfer.mapping import by_depth, describe_mapping, feed_forward_by_depth, format_ranges


def transfer_encoder(encoder, weights):
    """Finds what a built Encoder can take from the weights of another.

    Args:
      encoder: the target; nothing is assigned.
      weights: {full name: array}; only those of an encoder of the same name are used, such as "encoder/attention_0/query/kernel".

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
    """What the instances of one component take, with one row for all instances of the same result."""
    count = _count(kind, sources)
    values, by_reason = {}, {}  # by_reason: {why not, or "": {instance of the target: that of the source}}
    for i, j in choice.items():
        target, source = targets[f"{kind}_{i}"], sources.get(f"{kind}_{j}")
        reason = _absent(kind, sources) if j is None else mismatch(target, source)
        by_reason.setdefault(reason, {})[i] = j
        if not reason:
            values |= full_names(f"{kind}_{i}", {part: source[part] for part in target})
    rows = []
    for reason, alike in by_reason.items():
        name = f"{kind}_{format_ranges(alike)}"
        if not reason and any(i != j for i, j in alike.items()):
            name += f" <- {kind}_{format_ranges(alike.values())}"
        result, reason = ("fresh", reason) if reason else ("loaded", describe_mapping(alike, count, of=len(choice)))
        rows.append(Row(name, shapes(targets[f"{kind}_{min(alike)}"]), result, reason))
    unused = [j for j in range(count) if j not in choice.values()]
    if unused:
        reason = "no block of the model takes it" if choice else "the model has none"
        rows.append(Row(f"{kind}_{format_ranges(unused)}", shapes(sources[f"{kind}_{unused[0]}"]), "dropped", reason))
    return values, rows


def _transfer_bank(bank, blocks, targets, sources):
    """What a bank of norms takes, row by row: its rows are the instances."""
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
        row = row._replace(reason=describe_mapping(choice, count, of=len(choice)))
    return values, [row]


def _count(kind, layers):
    """Number of instances of a component; their names are numbered from 0."""
    return next(i for i in range(len(layers) + 1) if f"{kind}_{i}" not in layers)


def _bank_size(bank):
    """Number of norms in a bank."""
    return len(next(iter(bank.values()))) if bank else 0


def _absent(kind, sources):
    """Why the source has nothing for an instance."""
    if kind == "ffn" and _count("moe", sources):
        return "the source has experts there, and an FFN cannot start from them"
    if kind == "moe" and _count("ffn", sources):
        return "the source has an FFN there, and experts cannot start from it"
    return "not in the source"
