"""Floating-point operations of an encoder, counted by hand."""

import pytest

from widenet import Deployment, Encoder
from widenet.cost import dense_flops, encoder_flops

# Five tokens of width 8, FFN 12, two of three experts of 10.
ATTENTION = 4 * (2 * 5 * 8 * 8) + 2 * (2 * 5 * 5 * 8)  # four projections, then scores and weighted sum over all heads
FFN = 2 * (2 * 5 * 8 * 12)
EXPERTS = 2 * (2 * (2 * 5 * 8 * 10))
ROUTER = 2 * 5 * 8 * 3


def test_dense_by_hand():
    """[2, 3] times [3, 4]: eight sums of three products, each product with an addition."""
    assert dense_flops(2, 3, 4) == 2 * 2 * 3 * 4


@pytest.mark.parametrize(
    ("deployment", "expected"),
    [
        (Deployment(), 5 * (ATTENTION + EXPERTS + ROUTER)),
        (Deployment(moe_blocks=0), 5 * (ATTENTION + FFN)),
        (Deployment(None, None, 1, None, 2), 5 * ATTENTION + 3 * FFN + 2 * (EXPERTS + ROUTER)),
        (Deployment(routing_groups=2), 5 * (ATTENTION + EXPERTS) + 2 * ROUTER),
        # Routing groups 0 0 1 1 2, of which block 0 and blocks 2 and 3 route.
        (Deployment(routing_groups=3, moe_blocks=(0, 2, 3)), 5 * ATTENTION + 2 * FFN + 3 * EXPERTS + 2 * ROUTER),
    ],
)
def test_encoder_by_hand(deployment, expected):
    """Sharing weights saves no operation, sharing a routing saves a router."""
    assert encoder_flops(Encoder(5, 8, 2, 12, 10, deployment, num_experts=3), 5) == expected


def test_what_is_dropped_does_not_count():
    """Half of the assignments kept: half of the experts' operations; all of the router's."""
    assert encoder_flops(Encoder(5, 8, 2, 12, 10, num_experts=3), 5, kept=0.5) == 5 * (ATTENTION + EXPERTS / 2 + ROUTER)


def test_experts_are_as_wide_as_the_ffn_by_default():
    assert encoder_flops(Encoder(1, 8, 2, 12, top_k=1), 5) == ATTENTION + FFN + 2 * 5 * 8 * 4
