"""The image operations against Pillow, bit by bit, and against results found by hand.

Enhancement equals Pillow's where Pillow multiplies and adds in two roundings, as its builds for x86-64 do; one that fuses them
may differ by one grey level, so that is what is allowed on other machines.
"""

import platform
import re

import numpy as np
import pytest
import tensorflow as tf

from tests.vision.pillow import OPERATIONS, by_pillow, pictures
from vision import image_operations

FACTORS = (0.0, 0.1, 0.55, 1.0, 1.9, 2.8, 5.5)
SLOPES = (0.0, 0.13, 0.3, 0.45, -0.45, 0.9, -1.0)
FRACTIONS = (0.0, 0.1, 150 / 331, -150 / 331, 0.5, -0.5, 0.68, 1.4)
STRENGTHS = {
    "rotate": (0.0, 1.0, 30.0, -30.0, 45.0, 77.3, 90.0, -90.0, 180.0),
    "solarize": (0, 76.8, 100, 128, 255.5, 256),
    "posterize": tuple(range(1, 9)),
    **dict.fromkeys(("color", "contrast", "brightness", "sharpness"), FACTORS),
    **dict.fromkeys(("shear_x", "shear_y"), SLOPES),
    **dict.fromkeys(("translate_x", "translate_y"), FRACTIONS),
}
BLENDS = ("color", "contrast", "brightness", "sharpness")
ON_X86 = platform.machine() in ("x86_64", "AMD64")


def assert_same(name, result, expected, where):
    if name in BLENDS and not ON_X86:
        np.testing.assert_allclose(result.astype(int), expected.astype(int), rtol=0, atol=1, err_msg=where)
    else:
        np.testing.assert_array_equal(result, expected, err_msg=where)


def test_there_are_fourteen():
    assert len(OPERATIONS) == 14


@pytest.mark.parametrize("channels", [3, pytest.param(1, marks=pytest.mark.further)])
@pytest.mark.parametrize("name", OPERATIONS)
def test_as_pillow(name, channels):
    """Every strength on every picture, eagerly and in tf.data, where height and width are not known."""
    operation = getattr(image_operations, name)
    images = pictures(channels)
    arguments = [(strength,) for strength in STRENGTHS.get(name, ())] or [()]
    signature = tf.TensorSpec([None, None, channels], tf.uint8)
    dataset = tf.data.Dataset.from_generator(images.values, output_signature=signature)
    dataset = dataset.map(lambda image: tf.stack([operation(image, *strength) for strength in arguments]))
    for (picture, image), mapped in zip(images.items(), dataset, strict=True):
        for strength, in_graph in zip(arguments, mapped.numpy(), strict=True):
            where = f"{picture}, {strength}"
            expected = by_pillow(name, image, *strength)
            result = operation(image, *strength).numpy()
            assert result.dtype == np.uint8
            assert_same(name, result, expected, where)
            assert_same(name, in_graph, expected, f"{where}, in tf.data")


@pytest.mark.parametrize("name", ["rotate", "shear_x", "translate_y", "solarize", *BLENDS])
def test_strength_may_be_a_tensor(name):
    """As where its sign was drawn; no number is cut to float32 that Pillow has in float64."""
    image = pictures(3)["noise"]
    strength = STRENGTHS[name][3]
    dtype = tf.float32 if name in BLENDS else tf.float64
    operation = getattr(image_operations, name)
    np.testing.assert_array_equal(operation(image, tf.constant(strength, dtype)), operation(image, strength))


GREY = np.array([[10, 20, 30], [40, 50, 61]], np.uint8)


@pytest.mark.parametrize(
    "name, strength, expected",
    [
        ("identity", None, [[10, 20, 30], [40, 50, 61]]),
        ("auto_contrast", None, [[0, 50, 100], [150, 200, 255]]),  # (v - 10) * 255 / 51
        ("solarize", 40, [[10, 20, 30], [215, 205, 194]]),
        ("posterize", 3, [[0, 0, 0], [32, 32, 32]]),  # multiples of 32
        ("color", 0.0, [[10, 20, 30], [40, 50, 61]]),
        ("contrast", 0.5, [[22, 27, 32], [37, 42, 48]]),  # halfway to 35, rounded down
        ("contrast", 0.0, [[35, 35, 35], [35, 35, 35]]),
        ("brightness", 1.9, [[19, 38, 57], [76, 95, 115]]),
        ("brightness", 6.0, [[60, 120, 180], [240, 255, 255]]),
        ("sharpness", 0.0, [[10, 20, 30], [40, 50, 61]]),  # all border
        ("shear_x", -1.0, [[10, 20, 30], [128, 40, 50]]),  # from column - row
        ("shear_y", 1.0, [[40, 128, 128], [128, 128, 128]]),  # from row + column + 1
        ("translate_x", 1 / 3, [[20, 30, 128], [50, 61, 128]]),
        ("translate_y", -0.5, [[128, 128, 128], [10, 20, 30]]),
        ("rotate", 180.0, [[61, 50, 40], [30, 20, 10]]),
    ],
)
def test_by_hand(name, strength, expected):
    arguments = () if strength is None else (strength,)
    result = getattr(image_operations, name)(GREY[..., np.newaxis], *arguments)
    np.testing.assert_array_equal(result[..., 0], expected)


def test_equalize_by_hand():
    """511 pixels below the highest value make steps of 2: 1 + 256 pixels of 7, 255 of 8, and the 5 of 9 get (1 + 511) // 2."""
    values = np.repeat([7, 8, 9], [256, 255, 5]).astype(np.uint8).reshape(1, -1, 1)
    expected = np.repeat([0, 128, 255], [256, 255, 5])
    np.testing.assert_array_equal(image_operations.equalize(values)[0, :, 0], expected)


def test_smoothing_by_hand():
    """(8 * 26 + 5 * 13) / 13 = 21 in the middle; the rest is border."""
    image = np.full((3, 3, 1), 26, np.uint8)
    image[1, 1] = 13
    smoothed = image_operations.sharpness(image, 0.0).numpy()
    assert smoothed[1, 1] == 21
    smoothed[1, 1] = 13
    np.testing.assert_array_equal(smoothed, image)


def test_color_by_hand():
    """Pure red has grey 76 = round(0.299 * 255); factor 0.5 is halfway, rounded down."""
    red = np.array([[[255, 0, 0]]], np.uint8)
    np.testing.assert_array_equal(image_operations.color(red, 0.0), [[[76, 76, 76]]])
    np.testing.assert_array_equal(image_operations.color(red, 0.5), [[[165, 38, 38]]])


def test_quarter_turns_are_counter_clockwise():
    square = pictures(3)["dull"]
    for quarters in range(4):
        np.testing.assert_array_equal(image_operations.rotate(square, 90 * quarters), np.rot90(square, quarters))


@pytest.mark.parametrize("name", OPERATIONS)
def test_shape_is_kept_static(name):
    """Known sides stay known in a graph, unknown ones unknown."""
    arguments = [STRENGTHS[name][1]] if name in STRENGTHS else []
    for shape in ((6, 5, 3), (None, 5, 1), (None, None, 3)):
        traced = tf.function(lambda image: getattr(image_operations, name)(image, *arguments))
        assert traced.get_concrete_function(tf.TensorSpec(shape, tf.uint8)).output_shapes.as_list() == list(shape)


@pytest.mark.parametrize(
    "image, found",
    [
        (np.zeros((4, 4, 3), np.float32), "float32 (4, 4, 3)"),
        (np.zeros((4, 4, 2), np.uint8), "uint8 (4, 4, 2)"),
        (np.zeros((4, 4), np.uint8), "uint8 (4, 4)"),
    ],
)
def test_other_images_are_refused(image, found):
    with pytest.raises(ValueError, match=re.escape(f"image='{found}' is not allowed: it must be uint8")):
        image_operations.brightness(image, 1.0)


@pytest.mark.parametrize("bits", [0, 9, 4.0])
def test_bits_are_checked(bits):
    with pytest.raises(ValueError, match=f"bits={bits} is not allowed: it must be an integer from 1 to 8"):
        image_operations.posterize(GREY[..., np.newaxis], bits)
