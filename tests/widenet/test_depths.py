"""How deep each weight of an encoder is used, for deployments whose instances are written out."""

import numpy as np
import pytest

from tests.widenet.test_encoder import DEPLOYMENTS, DEPTH, INSTANCES, new_encoder, users
from widenet.depths import encoder_depths


def last_use(instances, index, otherwise=None):
    """The depth, counted from 1, of the last block that uses instance `index` of a row of INSTANCES."""
    return 1 + max(users(instances, index), default=otherwise)


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_last_block_that_uses_it(name):
    """Every weight of every component; a router that routes nothing is as deep as its layer."""
    encoder = new_encoder(DEPLOYMENTS[name])
    attention, norm, dense, moe, router = INSTANCES[name]
    expected = {}
    for i, layer in enumerate(encoder.attentions):
        expected |= {weight.name: last_use(attention, i) for weight in layer.weights}
    for i, layer in enumerate(encoder.dense_layers):
        expected |= {weight.name: last_use(dense, i) for weight in layer.weights}
    for i, layer in enumerate(encoder.moe_layers):
        expected |= {weight.name: last_use(moe, i) for expert in layer.experts for weight in expert.weights}
        expected[layer.router.kernel.name] = last_use(router, i, otherwise=last_use(moe, i) - 1)
    for bank in (encoder.attention_norm, encoder.ffn_norm):
        rows = [[last_use(norm, i)] for i in range(bank.depth)]
        expected |= {weight.name: rows for weight in bank.weights}
    if encoder.final_norm:
        expected |= {weight.name: DEPTH + 1 for weight in encoder.final_norm.weights}
    found = {name: np.asarray(depth).tolist() for name, depth in encoder_depths(encoder).items()}
    assert found == expected
    assert found.keys() == {weight.name for weight in encoder.weights}


def test_router_that_routes_beyond_its_layer():
    """By hand: FFN runs are 0 0 1 1 2 and routing runs 0 0 0 1 1, so that the first layer's router routes the third block too."""
    depths = encoder_depths(new_encoder(DEPLOYMENTS["runs"]))
    assert [depths[f"moe_{i}/expert_0/kernel_in:0"] for i in range(3)] == [2, 4, 5]
    assert [depths[f"moe_{i}/router/kernel:0"] for i in range(2)] == [3, 5]


def test_banks_broadcast_row_by_row():
    """A bank of five norms has a depth for each row; one that is shared is as deep as the last block."""
    individual = encoder_depths(new_encoder(DEPLOYMENTS["widenet"]))["attention_norm/gamma:0"]
    shared = encoder_depths(new_encoder(DEPLOYMENTS["albert"]))["attention_norm/gamma:0"]
    np.testing.assert_array_equal(individual, [[1], [2], [3], [4], [5]])
    np.testing.assert_array_equal(shared, [[5]])
