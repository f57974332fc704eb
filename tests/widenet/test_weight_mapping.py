"""Which instance takes which, against tables worked out by hand and the deployments' own rule."""

import pytest

from widenet import Deployment
from widenet.weight_transfer.mapping import by_depth, describe_mapping, feed_forward_by_depth, format_ranges


def uses(depth, component, groups):
    return [getattr(block, component) for block in Deployment(**{f"{component}_groups": groups}).blocks(depth)]


@pytest.mark.parametrize(
    "depth, groups, count, expected",
    [
        (4, 4, 1, [0, 0, 0, 0]),
        (4, 4, 4, [0, 1, 2, 3]),
        (4, 1, 4, [0]),
        (4, 4, 2, [0, 0, 1, 1]),
        (4, 2, 4, [0, 2]),
        (3, 2, 3, [0, 2]),  # the second instance is first needed by block 2 of 3, not by block 1
        (2, 2, 4, [0, 2]),
        (3, 3, 4, [0, 1, 2]),
        (6, 6, 4, [0, 0, 1, 2, 2, 3]),
        (4, 4, 0, [None] * 4),
    ],
)
def test_by_depth(depth, groups, count, expected):
    assert by_depth(uses(depth, "attention", groups), count) == dict(enumerate(expected))


def test_finer_sharing_is_the_same_function():
    """Where the target's blocks share no more than the source's did, every block gets what the source used at that block."""
    compared = 0
    for depth in range(1, 13):
        for count in range(1, depth + 1):
            source = uses(depth, "attention", count)
            for groups in range(1, depth + 1):
                target = uses(depth, "attention", groups)
                if len(set(zip(target, source, strict=True))) == groups:
                    choice = by_depth(target, count)
                    assert [choice[i] for i in target] == source
                    compared += 1
    assert compared > 12 * 13 / 2  # more than equal numbers of groups


@pytest.mark.parametrize(
    "settings, depth, counts, known_depth, ffn, moe",
    [
        # The same arrangement, whichever blocks are MoE.
        (dict(ffn_groups=None, moe_blocks=(0, 2)), 4, (2, 2), 4, [0, 1], [0, 1]),
        (dict(ffn_groups=2, moe_blocks=(0, 4, 5, 6, 7)), 8, (1, 2), 8, [0], [0, 1]),
        # Shared experts to experts of each block, and back.
        (dict(ffn_groups=None), 4, (0, 1), 4, [], [0, 0, 0, 0]),
        (dict(ffn_groups=1), 4, (0, 4), 4, [], [0]),
        # A ViT becomes a ViT-MoE, block by block: no experts from its last FFNs.
        (dict(ffn_groups=None, moe_blocks=2), 4, (4, 0), 4, [0, 1], [None, None]),
        (dict(ffn_groups=None, moe_blocks=0), 4, (2, 2), 4, [0, 1, None, None], []),
        (dict(ffn_groups=None, moe_blocks=3), 4, (2, 2), 4, [0], [None, 0, 1]),
        # A WideNet whose MoE blocks become fewer: the dense ones have nothing to start from.
        (dict(ffn_groups=1, moe_blocks=2), 4, (0, 1), 4, [None], [0]),
        # One shared FFN and one shared MoE layer: which blocks had which is not known.
        (dict(ffn_groups=None, moe_blocks=2), 6, (1, 1), 6, [0, 0, 0, 0], [0, 0]),
        (dict(ffn_groups=None, moe_blocks=2), 8, (2, 1), 8, [0, 0, 0, 1, 1, 1], [0, 0]),
        # Nothing at all.
        (dict(ffn_groups=None, moe_blocks=1), 2, (0, 0), 2, [None], [None]),
    ],
)
def test_feed_forward(settings, depth, counts, known_depth, ffn, moe):
    blocks = Deployment(**settings).blocks(depth)
    found = feed_forward_by_depth(blocks, dict(ffn=counts[0], moe=counts[1]), known_depth)
    assert found == {"ffn": dict(enumerate(ffn)), "moe": dict(enumerate(moe))}


def test_every_deployment_takes_its_own():
    """Whatever is shared and wherever the MoE blocks are: an encoder of the same deployment starts from itself."""
    for depth in range(1, 7):
        for groups in range(1, depth + 1):
            for moe_blocks in (0, "all", depth // 2, (0,), tuple(range(0, depth, 2))):
                blocks = Deployment(ffn_groups=groups, moe_blocks=moe_blocks).blocks(depth)
                own = {kind: {block.ffn for block in blocks if block.is_moe == is_moe} for kind, is_moe in KINDS}
                found = feed_forward_by_depth(blocks, {kind: len(instances) for kind, instances in own.items()}, depth)
                assert found == {kind: {i: i for i in instances} for kind, instances in own.items()}


KINDS = (("ffn", False), ("moe", True))


@pytest.mark.parametrize(
    "choice, count, of, words",
    [
        ([0, 1, 2], 3, 3, ""),
        ([0], 1, 1, ""),
        ([0, 0, 0], 1, 3, "shared in the source"),
        ([0], 3, 1, "the first of 3"),
        ([0, 0, 1, 1], 2, 4, "i takes i * 2 // 4"),
        ([0, 2], 4, 2, "i takes i * 4 // 2"),
        ([0, 2], 3, 2, "in this order from 0, 2"),
    ],
)
def test_relation(choice, count, of, words):
    assert describe_mapping(dict(enumerate(choice)), count, of) == words


@pytest.mark.parametrize(
    "numbers, text", [([0], "0"), ([0, 1, 2], "0..2"), ([5, 0, 1, 5], "0..1, 5"), ([1, 3, 5], "1, 3, 5"), ([], "")]
)
def test_span(numbers, text):
    assert format_ranges(numbers) == text
