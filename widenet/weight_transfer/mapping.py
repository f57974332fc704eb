"""Which instance of one deployment corresponds to which instance of another, from numbers alone.

A component with g groups uses instance b * g // L at block b of L. So an instance of the target takes the one that a source with
G groups uses at the same relative depth as b, the first block of the target that uses it: b * G // L. The depth of the source is
not needed for this. (It cannot be read off the weights if all of them are shared.)
"""


def by_depth(uses, count):
    """Maps each instance of the target to one of the source, by the first block that uses it.

    Args:
      uses: the instance that each block of the target uses.
      count: number of instances in the source.

    Returns:
      {instance of the target: that of the source, or None if the source has none}.
    """
    return {i: uses.index(i) * count // len(uses) if count else None for i in sorted(set(uses))}


def feed_forward_by_depth(blocks, counts, depth):
    """Maps dense FFNs and MoE layers, neither of which can start from the other.

    The weights do not say which blocks of the source were MoE. If the source has as many instances of the two kinds as blocks,
    its first blocks are taken to be the dense ones, as with an int for `Deployment.moe_blocks`. If it has fewer, because some are
    shared, a block of the target is counted among the blocks of its own kind.

    Args:
      blocks: the target's Blocks.
      counts: {"ffn": n, "moe": n}, numbers of instances in the source.
      depth: number of blocks in the source, as far as its other instances tell.

    Returns:
      {"ffn": {instance of the target: that of the source, or None if there is none or it is of the other kind}, "moe": the same}.
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
            source_kind, j = order[b * len(order) // len(blocks)] if order else (None, None)
            choices[kind].setdefault(i, j if source_kind == kind else None)
    return choices


def describe_mapping(choice, count, of):
    """How instances of the target follow from those of the source, in words; "" if each takes the one of its own number.

    Args:
      choice: {instance of the target: that of the source}.
      count: number of instances in the source.
      of: number of all instances in the target, of which `choice` may have some.
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


def format_ranges(numbers):
    """Numbers as ranges: [0, 1, 2, 5, 5] as "0..2, 5"."""
    runs = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}..{last}" for first, last in runs)
