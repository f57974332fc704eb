"""The diversity of layer norms against its formula, term by term."""

import numpy as np
import pytest

from tests.widenet import reference
from widenet import Encoder, norm_diversity


def by_formula(v):
    """y_ij = 1 / (M N^2) * sum over n != j and m of |v_ij - v_mn|, element i of block j; v is [N, M]."""
    blocks, width = v.shape
    y = np.zeros((blocks, width))
    for j in range(blocks):
        for i in range(width):
            for n in range(blocks):
                for m in range(width):
                    y[j, i] += (j != n) * abs(v[j, i] - v[n, m])
    return y / (width * blocks**2)


def test_by_hand():
    """N = M = 2, so 1 / 8 times. Block 0: 0 is 1 + 3 away from block 1. Block 1: 1 is 1 + 1 away, 3 is 3 + 3 away."""
    per_block, overall = norm_diversity([[0, 0], [1, 3]])
    np.testing.assert_allclose(per_block, [(4 + 4) / 2 / 8, (2 + 6) / 2 / 8])
    assert overall == 0.5


@pytest.mark.parametrize("shape", [(1, 4), (2, 1), (3, 5), (6, 8)])
@pytest.mark.parametrize("ties", [False, True])
def test_against_the_formula(shape, ties):
    vectors = np.random.default_rng(0).normal(size=shape)
    vectors = np.round(vectors) if ties else vectors
    per_block, overall = norm_diversity(vectors)
    np.testing.assert_allclose(per_block, by_formula(vectors).mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(overall, by_formula(vectors).mean(), atol=1e-12)
    # The paper sums over blocks as well: N times as much.
    np.testing.assert_allclose(shape[0] * overall, by_formula(vectors).sum(axis=0).mean(), atol=1e-12)


def test_equal_norms_do_not_differ():
    per_block, overall = norm_diversity(np.ones((4, 6)))
    np.testing.assert_array_equal(per_block, np.zeros(4))
    assert overall == 0


def test_shifting_all_changes_nothing_and_scaling_scales():
    vectors = np.random.default_rng(1).normal(size=(4, 6))
    np.testing.assert_allclose(norm_diversity(vectors + 1000)[0], norm_diversity(vectors)[0], rtol=1e-9)
    np.testing.assert_allclose(norm_diversity(-3 * vectors)[0], 3 * norm_diversity(vectors)[0], rtol=1e-9)


def test_takes_the_norms_of_an_encoder():
    encoder = Encoder(3, 8, 2, 6)
    encoder.build((None, None, 8))
    assert norm_diversity(encoder.ffn_norm.gamma)[1] == 0
    reference.randomize(encoder)
    expected = by_formula(reference.weight(encoder.ffn_norm.gamma)).mean()
    np.testing.assert_allclose(norm_diversity(encoder.ffn_norm.gamma)[1], expected, rtol=1e-9)
