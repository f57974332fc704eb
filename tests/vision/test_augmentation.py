"""random_affine and random_pad_crop against movements that NumPy can make exactly."""

import collections
import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from vision.preprocessing import random_affine, random_pad_crop

SEED = (1, 2)


def image(height=6, width=6, channels=2):
    return np.random.default_rng(0).uniform(0.1, 1, (height, width, channels)).astype(np.float32)


@pytest.fixture
def draw(monkeypatch):
    """Makes the five random numbers in [-1, 1] those given: angle, zoom x, zoom y, shift x, shift y."""

    def set_numbers(*numbers):
        def stateless_uniform(shape, seed, minval=0, maxval=None, dtype=tf.float32):
            assert list(shape) == [5]
            assert (minval, maxval) == (-1.0, 1.0)
            return tf.constant(numbers, tf.float32)

        monkeypatch.setattr(tf.random, "stateless_uniform", stateless_uniform)

    return set_numbers


def shifted(source, right, down):
    """Moves an image in NumPy, with black where nothing was."""
    moved = np.zeros_like(source)
    height, width = source.shape[:2]
    rows, columns = range(max(down, 0), min(height, height + down)), range(max(right, 0), min(width, width + right))
    for row in rows:
        for column in columns:
            moved[row, column] = source[row - down, column - right]
    return moved


def test_nothing_to_do_is_the_identity():
    """Ranges of zero leave the image as it is, whatever is drawn; cos(0) and sin(0) are exact."""
    source = image()
    for seed in range(5):
        np.testing.assert_array_equal(random_affine(source, (seed, 0), rotate=0.0, scale=0.0, shift=0.0), source)


@pytest.mark.parametrize("x, y", [(1, 0), (-1, 0), (0, 1), (0, -1), (1, -1), (2, 1)])
def test_whole_pixel_shifts(draw, x, y):
    """A draw of (x, y) reads each pixel x further right and y further down: the image goes left and up by that much."""
    source = image()
    draw(0, 0, 0, x / 2, y / 2)
    moved = random_affine(source, SEED, rotate=0.0, scale=0.0, shift=2.0)
    # Bilinear weights of a whole shift are 0 and 1, up to rounding in the coordinates.
    np.testing.assert_allclose(moved, shifted(source, -x, -y), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [5, 6])
@pytest.mark.parametrize("sign", [1, -1])
def test_quarter_turns(draw, size, sign):
    """A quarter turn about the centre is a permutation of pixels, for odd and even sizes: np.rot90."""
    source = image(size, size)
    draw(sign, 0, 0, 0, 0)
    turned = random_affine(source, SEED, rotate=90.0, scale=0.0, shift=0.0).numpy()
    # cos(90 degrees) is 4e-8 in float32, so outermost pixels may read a trace of the black outside.
    np.testing.assert_allclose(turned, np.rot90(source, sign), rtol=0, atol=1e-4)


def test_half_turn(draw):
    """Twice a quarter, of an image that is not square."""
    source = image(4, 7)
    draw(1, 0, 0, 0, 0)
    turned = random_affine(source, SEED, rotate=180.0, scale=0.0, shift=0.0).numpy()
    np.testing.assert_allclose(turned, source[::-1, ::-1], rtol=0, atol=1e-4)


def bilinear(source, x, y):
    """The value of an image at a point, with black outside; written as the sum over all pixels."""
    height, width = source.shape[:2]
    weights_y = np.maximum(0, 1 - np.abs(np.arange(height) - y))
    weights_x = np.maximum(0, 1 - np.abs(np.arange(width) - x))
    return np.einsum("h,w,hwc->c", weights_y, weights_x, source)


def test_any_movement(draw):
    """Turn, zoom and shift together, against NumPy in float64: the centre goes to the centre plus the shift."""
    source = image(7, 8)
    numbers = (0.4, 0.6, -0.7, 0.3, -0.5)
    rotate, scale, shift = 30.0, 0.2, 1.5
    draw(*numbers)
    moved = random_affine(source, SEED, rotate, scale, shift).numpy()
    angle = math.radians(numbers[0] * rotate)
    zoom_x, zoom_y = 1 + numbers[1] * scale, 1 + numbers[2] * scale
    center = np.array([3.5, 3.0])
    matrix = np.array(
        [[math.cos(angle) / zoom_x, -math.sin(angle) / zoom_x], [math.sin(angle) / zoom_y, math.cos(angle) / zoom_y]]
    )
    expected = np.zeros((7, 8, 2))
    for row in range(7):
        for column in range(8):
            x, y = matrix @ (np.array([column, row]) - center) + center + np.array(numbers[3:]) * shift
            expected[row, column] = bilinear(source, x, y)
    # Coordinates up to 8 in float32 are known to 1e-6, and the image's slope is at most 1.
    np.testing.assert_allclose(moved, expected, rtol=0, atol=1e-5)


def test_zoom_makes_larger(draw):
    """A zoom of 2 along x doubles the distance of every column from the centre and leaves rows alone."""
    source = np.zeros((5, 9, 1), np.float32)
    source[2, 5] = 1  # one to the right of the centre, column 4
    draw(0, 1, 0, 0, 0)
    zoomed = random_affine(source, SEED, rotate=0.0, scale=1.0, shift=0.0).numpy()[..., 0]
    assert zoomed[2].argmax() == 6
    np.testing.assert_allclose(zoomed[2], [0, 0, 0, 0, 0, 0.5, 1, 0.5, 0], rtol=0, atol=1e-6)
    assert not zoomed[[0, 1, 3, 4]].any()


def test_follows_from_its_seed():
    """The same seed gives the same image, another seed another; nothing else random takes part."""
    source = image()

    def moved(seed):
        tf.random.set_seed(sum(seed))
        return random_affine(source, seed, rotate=20.0, scale=0.2, shift=1.0).numpy().tobytes()

    assert moved((1, 2)) == moved((1, 2))
    assert len({moved((1, seed)) for seed in range(10)}) == 10


def test_shape_dtype_and_range():
    """A weighted mean of pixels and black: never outside [0, 1], and the static shape stays."""
    source = image(4, 5, 3)
    for seed in range(20):
        moved = random_affine(source, (seed, 7), rotate=45.0, scale=0.5, shift=2.0)
        assert moved.shape == (4, 5, 3)
        assert moved.dtype == tf.float32
        assert moved.numpy().min() >= 0
        assert moved.numpy().max() <= source.max() + 1e-6
    spec = tf.TensorSpec([4, 5, 3])
    traced = tf.function(lambda x: random_affine(x, SEED, 10.0, 0.1, 1.0)).get_concrete_function(spec)
    assert traced.output_shapes == (4, 5, 3)


class TestRandomPadCrop:
    @staticmethod
    def displacement(source, moved, pad):
        """(down, right) by which `source` was moved, with black where nothing was."""
        height, width, _ = source.shape
        padded = np.pad(source, [[pad, pad], [pad, pad], [0, 0]])
        for top in range(2 * pad + 1):
            for left in range(2 * pad + 1):
                if np.array_equal(padded[top : top + height, left : left + width], moved):
                    return pad - top, pad - left
        raise AssertionError("not the image, moved by whole pixels")

    def test_moves_uniformly(self):
        """Every displacement of up to two pixels along each axis comes up about as often: chi-squared over 25 of them."""
        source = image(5, 7)
        drawn = tf.data.Dataset.range(1000).map(lambda i: random_pad_crop(tf.constant(source), tf.stack([i, 3]), 2))
        counts = collections.Counter(self.displacement(source, moved, 2) for moved in drawn.as_numpy_iterator())
        assert set(counts) == {(down, right) for down in range(-2, 3) for right in range(-2, 3)}
        assert stats.chisquare(list(counts.values())).pvalue > 0.01

    def test_follows_from_its_seed(self):
        """And keeps the static shape and the dtype."""
        source = tf.constant(image(4, 6, 3))
        first = random_pad_crop(source, SEED, 3)
        tf.random.set_seed(7)
        np.testing.assert_array_equal(random_pad_crop(source, SEED, 3), first)
        assert len({random_pad_crop(source, (1, seed), 3).numpy().tobytes() for seed in range(10)}) > 5
        traced = tf.function(lambda x: random_pad_crop(x, SEED, 3)).get_concrete_function(source)
        assert (traced.output_shapes, traced.output_dtypes) == ((4, 6, 3), tf.float32)

    def test_no_padding(self):
        np.testing.assert_array_equal(random_pad_crop(tf.constant(image()), SEED, 0), image())
