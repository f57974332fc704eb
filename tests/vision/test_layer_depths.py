"""Depths of an image model's weights: 0 embedding, 1 to L blocks, L + 1 whatever follows."""

import numpy as np
import pytest

import vision
from widenet.depths import layer_depths

TINY = dict(
    depth=3, width=8, heads=2, ffn_dim=12, expert_dim=12, num_experts=2, image_size=4, patch_size=2, channels=1, classes=3
)


def depths_of(name, **overrides):
    model = vision.create_model(name, **{**TINY, **overrides})
    depths, last = layer_depths(model)
    assert last == 4
    assert depths.keys() == {weight.name for weight in model.weights}
    return {name.removesuffix(":0"): np.asarray(depth).tolist() for name, depth in depths.items()}


def parts(depths):
    """{layer or encoder's sublayer: the depth of all its weights}, which must agree."""
    found = {}
    for name, depth in depths.items():
        layer, *inside = name.split("/")
        key = inside[0] if layer == "encoder" else layer
        assert found.setdefault(key, depth) == depth, name
    return found


BANK = [[1], [2], [3]]
OUTSIDE = dict(embedding=0, representation=4, head=4, final_norm=4, attention_norm=BANK, ffn_norm=BANK)


def test_vit():
    """One instance a block; patches, positions and class token are all the embedding."""
    depths = depths_of("vit_ti16", pool="token")
    assert {"embedding/class_token", "embedding/position_embedding", "embedding/projection/kernel"} <= depths.keys()
    blocks = {f"{part}_{i}": i + 1 for part in ("attention", "ffn") for i in range(3)}
    assert parts(depths) == {**OUTSIDE, **blocks}


def test_widenet():
    """All blocks share attention and MoE, which are therefore as deep as the last one; the norms are not shared."""
    assert parts(depths_of("widenet_ti16")) == {**OUTSIDE, "attention_0": 3, "moe_0": 3}


@pytest.mark.parametrize("name", ["vit_moe_b16", "widenet_b16"])
def test_features_without_a_head(name):
    """A model of features alone, and one without a representation layer, have no such weights."""
    assert not {"head", "representation"} & parts(depths_of(name, classes=0, representation=False)).keys()
