"""Which instance of one deployment corresponds to which of another: rules on numbers alone.

A component with g groups uses instance b * g // L at block b of L. So a target's instance takes the one that the source, with
G groups, uses at the same relative depth as the first block b of the target that needs it: b * G // L. The source's depth is
not needed for it, which weights do not tell where all of them are shared.
"""


def by_depth(uses, count):
    """Source instances by the first block of each target instance.

    Args:
      uses: the instance that each block of the target uses.
      count: instances of the source.

    Returns:
      {instance of the target: that of the source, or None where it has none}.
    """
    return {i: uses.index(i) * count // len(uses) if count else None for i in sorted(set(uses))}


def feed_forward_by_depth(blocks, counts, depth):
    """The same for dense FFNs and MoE layers, neither of which is made from the other.

    Which blocks of the source were MoE is not told by its weights. Where it has as many instances of the two kinds as blocks, the
    dense ones are taken for the first, as an int of `Deployment.moe_blocks` says; where it has fewer, since some are shared, a
    block of the target is counted among those of its kind.

    Args:
      blocks: the target's Blocks.
      counts: {"ffn": n, "moe": n}, instances of the source.
      depth: blocks of the source, as far as they are known from its other instances.

    Returns:
      {"ffn": {instance of the target: that of the source, or None where it has none or one of the other kind}, "moe": the same}.
    """
    uses = {kind: [(b, block.ffn) for b, block in enumerate(blocks) if block.is_moe == (kind == "moe")] for kind in counts}
    if all(len({i for _, i in uses[kind]}) == count for kind, count in counts.items()):
        return {kind: {i: i for i in range(count)} for kind, count in counts.items()}
    order = [(kind, j) for kind, count in counts.items() for j in range(count)]
    if len(order) != depth and all(counts.values()):
        return {kind: by_depth([i for _, i in used], counts[kind]) for kind, used in uses.items()}
    choices = {kind: {} for kind in counts}
    for kind, used in uses.items():
        for b, i in used:
            there, j = order[b * len(order) // len(blocks)] if order else (None, None)
            choices[kind].setdefault(i, j if there == kind else None)
    return choices


def relation(choice, count, of):
    """How instances of the target follow from those of the source, in words; "" where each takes its own.

    Args:
      choice: {instance of the target: that of the source}.
      count: instances of the source.
      of: all instances of the target, of which `choice` may have some.
    """
    if count == 1 < of:
        return "shared in the source"
    if of == 1 < count:
        return f"the first of {count}"
    if all(i == j for i, j in choice.items()):
        return ""
    if all(j == i * count // of for i, j in choice.items()):
        return f"i takes i * {count} // {of}"
    return "in this order from " + ", ".join(map(str, choice.values()))


def span(numbers):
    """Runs of numbers: [0, 1, 2, 5, 5] as "0..2, 5"."""
    runs = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}..{last}" for first, last in runs)
