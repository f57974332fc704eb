"""The paper's section "Layer Norm Analysis": how much the layer norms of different blocks differ."""

import numpy as np
import numpy.typing as npt


def norm_diversity(vectors: npt.ArrayLike) -> tuple[np.ndarray, float]:
    """The paper's y: the mean distance between the elements of one block's gamma (or beta) and those of all other blocks.

    For element i of block j of N blocks of width M: y_ij = 1 / (M N^2) * sum over n != j and m of |v_ij - v_mn|, which the paper
    sums over j as well. Computed by sorting, without a table of all M N x M N distances.

    Args:
      vectors: [N, M], such as `encoder.ffn_norm.gamma`: the norms before the FFN or MoE.

    Returns:
      (per_block, overall): float64 [N], the mean of y_ij over i, and a float, the mean over all.
    """
    vectors = np.asarray(vectors, np.float64)
    blocks, width = vectors.shape
    everything = np.sort(vectors, axis=None)
    distances = [_distances(row, everything) - _distances(row, np.sort(row)) for row in vectors]
    per_block = np.mean(distances, axis=1) / (width * blocks**2)
    return per_block, float(per_block.mean())


def _distances(values, others):
    """For each value the sum of its distances to all of `others`, which are sorted."""
    below = np.searchsorted(others, values)
    sums = np.concatenate([[0.0], np.cumsum(others)])
    return (values * below - sums[below]) + (sums[-1] - sums[below] - values * (len(others) - below))
