"""Which block uses which instance, in tables worked out by hand from i * groups // L."""

import dataclasses
import json

import pytest
import tensorflow as tf

from tests.widenet import reference
from widenet import Deployment
from widenet import deployment as deployments
from widenet.deployment import Block


def column(deployment, depth, field):
    return [getattr(block, field) for block in deployment.blocks(depth)]


@pytest.mark.parametrize(
    ("groups", "depth", "expected"),
    [
        (1, 5, [0, 0, 0, 0, 0]),
        (2, 5, [0, 0, 0, 1, 1]),
        (3, 5, [0, 0, 1, 1, 2]),
        (4, 5, [0, 0, 1, 2, 3]),
        (5, 5, [0, 1, 2, 3, 4]),
        (None, 5, [0, 1, 2, 3, 4]),
        (2, 4, [0, 0, 1, 1]),
        (3, 12, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]),
        (None, 1, [0]),
    ],
)
@pytest.mark.parametrize("component", ["attention", "ffn", "norm", "routing"])
def test_groups(component, groups, depth, expected):
    deployment = Deployment(**{f"{component}_groups": groups})
    assert column(deployment, depth, component) == expected


def test_every_group_is_used_and_groups_are_runs():
    for depth in range(1, 13):
        for groups in range(1, depth + 1):
            instances = column(Deployment(attention_groups=groups), depth, "attention")
            assert sorted(set(instances)) == list(range(groups))
            assert instances == sorted(instances)
            assert max(map(instances.count, range(groups))) - min(map(instances.count, range(groups))) <= 1


@pytest.mark.parametrize(
    ("moe_blocks", "expected"),
    [
        ("all", [True] * 5),
        (0, [False] * 5),
        (2, [False, False, False, True, True]),
        (5, [True] * 5),
        ((), [False] * 5),
        ((0, 3), [True, False, False, True, False]),
        ([3, 0, 3], [True, False, False, True, False]),
    ],
)
def test_moe_blocks(moe_blocks, expected):
    assert column(Deployment(moe_blocks=moe_blocks), 5, "is_moe") == expected


def test_dense_and_moe_blocks_of_one_ffn_group_have_an_instance_each():
    """One FFN group, five blocks: the MoE blocks share MoE 0, the dense blocks share dense layer 0."""
    deployment = Deployment(ffn_groups=1, moe_blocks=(1, 4))
    assert column(deployment, 5, "ffn") == [0, 0, 0, 0, 0]
    assert column(deployment, 5, "is_moe") == [False, True, False, False, True]


def test_instances_are_numbered_without_gaps_for_each_kind():
    """FFN groups of L = 5 in three: 0 0 1 1 2. Dense blocks 0, 1, 3 are in groups 0 and 1, MoE blocks 2 and 4 in 1 and 2."""
    deployment = Deployment(ffn_groups=3, moe_blocks=(2, 4))
    assert column(deployment, 5, "ffn") == [0, 0, 0, 1, 1]
    # One instance a block: the dense ones are 0, 1, 2 and the MoE ones 0, 1.
    assert column(Deployment(ffn_groups=None, moe_blocks=2), 5, "ffn") == [0, 1, 2, 0, 1]
    for groups in (1, 2, 3, 4, None):
        for moe_blocks in ("all", 0, 3, (0, 2), (1, 2, 4)):
            deployment = Deployment(ffn_groups=groups, moe_blocks=moe_blocks)
            assert column(deployment, 5, "ffn") == [reference.ffn_instance(deployment, i, 5) for i in range(5)]


def test_a_row_of_blocks():
    deployment = Deployment(attention_groups=2, ffn_groups=1, norm_groups=None, routing_groups=3, moe_blocks=2)
    assert deployment.blocks(4) == (
        Block(attention=0, ffn=0, norm=0, routing=0, is_moe=False),
        Block(attention=0, ffn=0, norm=1, routing=0, is_moe=False),
        Block(attention=1, ffn=0, norm=2, routing=1, is_moe=True),
        Block(attention=1, ffn=0, norm=3, routing=2, is_moe=True),
    )


def test_the_default_is_widenet_for_images():
    assert Deployment() == Deployment(1, 1, None, None, "all", "pre")
    assert Deployment().blocks(3) == tuple(Block(0, 0, i, i, True) for i in range(3))


DEPLOYMENTS = [
    Deployment(),
    Deployment(None, None, None, None, 0),
    Deployment(None, None, None, None, (1, 3), "post"),
    Deployment(2, 3, 1, 2, 4, "post"),
]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=str)
def test_round_trips(deployment):
    """By its own config, by Keras's format, and through JSON, which knows no tuples."""
    assert Deployment.from_config(deployment.get_config()) == deployment
    assert Deployment.from_config(json.loads(json.dumps(deployment.get_config()))) == deployment
    config = tf.keras.saving.serialize_keras_object(deployment)
    assert tf.keras.saving.deserialize_keras_object(config) == deployment
    restored = tf.keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
    assert restored == deployment and type(restored.moe_blocks) is type(deployment.moe_blocks)
    assert hash(restored) == hash(deployment)


def test_equal_however_the_moe_blocks_are_written_down():
    assert Deployment(moe_blocks=[3, 1, 1]) == Deployment(moe_blocks=(1, 3))
    assert Deployment(moe_blocks=(1,)) != Deployment(moe_blocks=1)
    assert len(set(DEPLOYMENTS)) == len(DEPLOYMENTS)


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Deployment().norm_groups = 1
    assert dataclasses.replace(Deployment(), norm_groups=1) == Deployment(norm_groups=1)


def test_fields_are_the_public_settings():
    fields = [field.name for field in dataclasses.fields(Deployment)]
    assert fields == ["attention_groups", "ffn_groups", "norm_groups", "routing_groups", "moe_blocks", "norm_position"]


def test_the_table_of_models():
    """What 12 blocks use: instances of attention, feed-forward layers, norms, and the MoE blocks."""
    used = {}
    for name, deployment in deployments.DEPLOYMENTS.items():
        blocks = deployment.blocks(12)
        counts = [len({getattr(block, part) for block in blocks}) for part in ("attention", "norm")]
        feed_forwards = len({(block.is_moe, block.ffn) for block in blocks})
        used[name] = (*counts, feed_forwards, sum(block.is_moe for block in blocks), deployment.norm_position)
    assert used == {
        "vit": (12, 12, 12, 0, "pre"),
        "vit_moe": (12, 12, 12, 2, "pre"),
        "widenet": (1, 12, 1, 12, "pre"),
        "bert": (12, 12, 12, 0, "post"),
        "albert": (1, 1, 1, 0, "post"),
    }
