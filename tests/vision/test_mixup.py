"""mixup and label smoothing against NumPy and scipy.stats."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from vision.mixup import draw_shares, mixup, smooth_labels

CLASSES = 5


def batch(size, dtype=np.float64):
    """Random images, one-hot labels and seeds."""
    random = np.random.default_rng(0)
    images = random.uniform(-1, 1, (size, 4, 3, 2)).astype(dtype)
    labels = np.eye(CLASSES, dtype=dtype)[random.integers(0, CLASSES, size)]
    return images, labels, seeds(size)


def seeds(count):
    return np.stack([np.full(count, 7), np.arange(count)], axis=1)


def test_pairs_are_mixed():
    """Every example with its neighbour, each in its own share, and labels as images; in float64 up to its rounding."""
    images, labels, own = batch(6)
    shares = draw_shares(own, 0.5).numpy().astype(np.float64)
    assert len(set(shares)) == 6
    mixed_images, mixed_labels = mixup(images, labels, own, 0.5)
    for i, partner in enumerate([1, 0, 3, 2, 5, 4]):
        image = shares[i] * images[i] + (1 - shares[i]) * images[partner]
        label = shares[i] * labels[i] + (1 - shares[i]) * labels[partner]
        np.testing.assert_allclose(mixed_images[i], image, rtol=0, atol=1e-15)
        np.testing.assert_allclose(mixed_labels[i], label, rtol=0, atol=1e-15)
    np.testing.assert_allclose(tf.reduce_sum(mixed_labels, axis=-1), 1, rtol=1e-15)


@pytest.mark.parametrize("alpha", [0.3, 0.5, 1.0, 4.0])
def test_shares_are_of_the_beta_distribution(alpha):
    """Kolmogorov-Smirnov at 0.1 %; the seeds are fixed, so it fails on no other day."""
    shares = draw_shares(seeds(4000), alpha).numpy()
    # What is within 1e-7 of 1 is 1 in float32, which the test would take for a lump; 1 - share is as probable as share.
    near_one = shares > 0.5
    assert stats.kstest(shares[~near_one] * 2, lambda x: 2 * stats.beta.cdf(x / 2, alpha, alpha)).pvalue > 1e-3
    assert stats.binomtest(int(near_one.sum()), 4000).pvalue > 1e-3
    for t in (0.6, 0.9, 0.99):
        assert stats.binomtest(int((shares > t).sum()), 4000, stats.beta.sf(t, alpha, alpha)).pvalue > 1e-3


@pytest.mark.parametrize("alpha", [1e-6, 1e-3, 1e6])
def test_extreme_alphas(alpha):
    """Finite: nearly all 0 or 1, equally often, for small ones, and nearly 1/2 for a large one."""
    shares = draw_shares(seeds(1000), alpha).numpy()
    assert np.isfinite(shares).all()
    if alpha > 1:
        # The standard deviation is 1 / sqrt(8 alpha).
        assert abs(shares - 0.5).max() < 5 / np.sqrt(8 * alpha)
    else:
        assert np.mean((shares > 1e-3) & (shares < 1 - 1e-3)) < 0.02
        assert stats.binomtest(int((shares > 0.5).sum()), 1000).pvalue > 1e-3


def test_what_becomes_of_an_example_does_not_depend_on_the_batch_size():
    """Bit by bit, in tf.data with static and unknown batch sizes, and eagerly."""
    images, labels, own = batch(12, np.float32)
    whole = mixup(images, labels, own, 0.5)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels, own))
    for size in (2, 4, 12):
        for drop_remainder in (True, False):
            batches = dataset.batch(size, drop_remainder=drop_remainder).map(lambda *parts: mixup(*parts, 0.5))
            assert batches.element_spec[0].shape.as_list() == [size if drop_remainder else None, 4, 3, 2]
            for expected, parts in zip(whole, zip(*batches, strict=True), strict=True):
                np.testing.assert_array_equal(np.concatenate(parts), expected)


def test_alpha_zero_changes_nothing():
    """Not even in an odd batch, which has no pairs to make."""
    images, labels, own = batch(3)
    same_images, same_labels = mixup(images, labels, own, 0.0)
    np.testing.assert_array_equal(same_images, images)
    np.testing.assert_array_equal(same_labels, labels)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float32, tf.float64])
def test_dtypes_are_kept(dtype):
    images, labels, own = batch(2)
    mixed = mixup(tf.cast(images, dtype), tf.cast(labels, tf.float32), own, 1.0)
    assert [part.dtype for part in mixed] == [dtype, tf.float32]


def test_odd_batches_are_refused():
    """At once where the size is known."""
    with pytest.raises(ValueError, match="batch=3 is not allowed: it must be even"):
        mixup(*batch(3), 0.5)


def test_odd_batches_of_unknown_size_are_refused():
    """When they come."""
    dataset = tf.data.Dataset.from_tensor_slices(batch(3)).batch(3).map(lambda *parts: mixup(*parts, 0.5))
    with pytest.raises(tf.errors.InvalidArgumentError, match="the batch must be even"):
        list(dataset)


@pytest.mark.parametrize("alpha", [-0.1, float("inf"), "1", None])
def test_alpha_is_checked(alpha):
    with pytest.raises(ValueError, match=f"alpha={alpha!r} is not allowed: it must be a finite number of at least 0"):
        mixup(*batch(2), alpha)


def test_integers_are_refused():
    """One-hot labels and pixels in integers would come out as 0 and 1."""
    images, labels, own = batch(2)
    with pytest.raises(ValueError, match="labels='int64' is not allowed: it must be of a floating type"):
        mixup(images, labels.astype(int), own, 0.5)
    with pytest.raises(ValueError, match="images='uint8' is not allowed"):
        mixup(images.astype(np.uint8), labels, own, 0.5)
    with pytest.raises(ValueError, match="labels='int64' is not allowed"):
        smooth_labels(labels.astype(int), 0.1)


def test_smoothing_by_hand():
    """Four classes and 0.2: 0.05 for each, and 0.8 more for the right one."""
    labels = np.array([[0, 1, 0, 0], [0.5, 0, 0, 0.5]], np.float32)
    expected = [[0.05, 0.85, 0.05, 0.05], [0.45, 0.05, 0.05, 0.45]]
    smoothed = smooth_labels(labels, 0.2)
    assert smoothed.dtype == tf.float32
    np.testing.assert_allclose(smoothed, expected, rtol=1e-6)  # of float32
    np.testing.assert_array_equal(smooth_labels(labels, 0), labels)


@pytest.mark.parametrize("amount", [-0.1, 1, "0.1"])
def test_amount_is_checked(amount):
    with pytest.raises(ValueError, match=f"amount={amount!r} is not allowed: it must be a number from 0 up to"):
        smooth_labels(np.eye(3), amount)
