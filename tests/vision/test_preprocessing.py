"""What becomes of one image, and which data settings are refused."""

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from tests.vision.pictures import encoded, picture, settings
from vision import randaugment
from vision.preprocessing import check_data_settings, data_settings, evaluation_image, training_image

BAD_SETTINGS = [
    ("cache_mib", -1, "at least 0"),
    ("shuffle_buffer", 0, "at least 1"),
    ("crop", "centre", "one of none, inception"),
    ("min_area", 0.0, "above 0, at most 1"),
    ("min_area", 1.1, "above 0, at most 1"),
    ("pad", -1, "at least 0"),
    ("scale", -0.1, "from 0 up to, not including, 1"),
    ("scale", 1.0, "from 0 up to, not including, 1"),
    ("randaugment_layers", -1, "at least 0"),
    ("randaugment_magnitude", -1, "from 0 to 30"),
    ("randaugment_magnitude", 31, "from 0 to 30"),
    ("label_smoothing", -0.1, "from 0 up to, not including, 1"),
    ("label_smoothing", 1.0, "from 0 up to, not including, 1"),
    ("mixup", -0.1, "at least 0"),
    ("eval_crop", -0.1, "from 0 to 1"),
    ("eval_crop", 1.1, "from 0 to 1"),
]


@pytest.mark.parametrize("setting, value, allowed", BAD_SETTINGS)
def test_settings_out_of_range(setting, value, allowed):
    with pytest.raises(ValueError) as error:
        check_data_settings(settings(**{setting: value}))
    assert str(error.value) == f"data.{setting}={value!r} is not allowed: it must be {allowed}"


def test_settings_at_their_limits():
    check_data_settings(settings())
    lowest = dict(cache_mib=0, shuffle_buffer=1, min_area=1e-3, randaugment_magnitude=0)
    highest = dict(min_area=1.0, scale=0.99, randaugment_magnitude=30, label_smoothing=0.99, eval_crop=1.0, crop="inception")
    for limits in (lowest, highest):
        check_data_settings(settings(**limits))


def test_unknown_setting():
    """Refused with those that are known; known ones take the place of their defaults."""
    with pytest.raises(ValueError, match=r"^flop=.* is not a setting of data \(did you mean flip\?\); known: ") as error:
        data_settings(flop=True)
    assert all(setting in str(error.value) for setting in data_settings())
    assert data_settings(flip=True) == {**data_settings(), "flip": True}


def trained(image, size=8, channels=3, seed=0, **overrides):
    data = settings(**overrides)
    found = training_image(tf.constant(image), tf.constant([seed, 1], tf.int64), size, channels, data)
    assert found.dtype == tf.float32
    assert found.shape == (size, size, channels)
    return found.numpy()


def as_model_range(pixels):
    return pixels / 255 * 2 - 1


class TestTrainingImage:
    def test_as_it_is(self):
        """Without augmentation at the model's own size: pixels from 0..255 to [-1, 1]; 1e-6 for float32."""
        pixels = picture(0, 8, 8)
        for image in (encoded(pixels), pixels, np.float32(pixels / 255)):
            np.testing.assert_allclose(trained(image), as_model_range(pixels), rtol=0, atol=1e-6)
        extremes = np.array([[[0], [255]], [[255], [0]]], np.uint8)
        assert trained(encoded(extremes), 2, 1).ravel().tolist() == [-1, 1, 1, -1]

    def test_channels(self):
        grey = picture(0, 8, 8, 1)
        np.testing.assert_allclose(trained(encoded(grey), channels=3), as_model_range(grey.repeat(3, -1)), rtol=0, atol=1e-6)
        expected = np.asarray(PIL.Image.fromarray(picture(0, 8, 8)).convert("L"))[..., None]
        np.testing.assert_allclose(trained(encoded(picture(0, 8, 8)), channels=1), as_model_range(expected), rtol=0, atol=1e-6)

    def test_flips_half_of_them(self):
        """Left and right and nothing else; 400 fair coins give 150 to 250 heads but once in a million times."""
        pixels = picture(0, 4, 4)
        plain, mirrored = trained(pixels, 4), trained(pixels[:, ::-1], 4)
        data = settings(flip=True)
        seeds = tf.data.Dataset.range(400).map(lambda i: training_image(tf.constant(pixels), tf.stack([i, 5]), 4, 3, data))
        flipped = 0
        for found in seeds.batch(400).get_single_element().numpy():
            is_flipped = np.array_equal(found, mirrored)
            assert is_flipped or np.array_equal(found, plain)
            flipped += is_flipped
        assert 150 < flipped < 250

    def test_pad(self):
        """A window of the image between margins of black, which is -1."""
        pixels = picture(0, 6, 6)
        padded = np.full((10, 10, 3), -1.0)
        padded[2:8, 2:8] = as_model_range(pixels)
        windows = [padded[top : top + 6, left : left + 6] for top in range(5) for left in range(5)]
        found = [min(range(25), key=lambda i: np.abs(windows[i] - image).max()) for image in padded_images(pixels)]
        for image, window in zip(padded_images(pixels), found, strict=True):
            np.testing.assert_allclose(image, windows[window], rtol=0, atol=1e-6)
        assert len(set(found)) > 5

    def test_inception_crop_sees_parts(self):
        """A box that is resized to the model's size: values of the image, and others with each seed; or all of the image."""
        pixels = picture(0, 40, 40)
        found = [trained(pixels, seed=seed, crop="inception", min_area=0.05) for seed in range(4)]
        assert len({image.tobytes() for image in found}) == 4
        assert min(image.min() for image in found) >= as_model_range(pixels).min() - 1e-6
        assert max(image.max() for image in found) <= as_model_range(pixels).max() + 1e-6
        whole = trained(pixels, crop="inception", min_area=1.0)
        np.testing.assert_array_equal(whole, trained(pixels))

    def test_each_step_takes_part(self, monkeypatch):
        """Every setting that is on changes the image, and RandAugment is handed bytes and its settings."""
        handed = []

        def invert(pixels, seed, layers, magnitude):
            handed.append((pixels.dtype, tuple(pixels.shape), seed.shape.as_list(), layers, magnitude))
            return 255 - pixels

        monkeypatch.setattr(randaugment, "rand_augment", invert)
        pixels = picture(0, 8, 8)
        plain = trained(pixels)
        # 255 - p in bytes is 1 - p in [0, 1], which is -x in [-1, 1].
        found = trained(pixels, randaugment_layers=2, randaugment_magnitude=9)
        np.testing.assert_allclose(found, -plain, rtol=0, atol=1e-6)
        assert handed == [(tf.uint8, (8, 8, 3), [2], 2, 9)]
        for moved in (dict(rotate=30.0), dict(scale=0.5), dict(shift=3.0)):
            assert not np.allclose(trained(pixels, **moved), plain, atol=0.1)

    def test_follows_from_the_seed(self):
        on = dict(crop="inception", flip=True, pad=2, rotate=10.0, scale=0.1, shift=1.0)
        tf.random.set_seed(1)
        first = trained(picture(0), seed=3, **on)
        tf.random.set_seed(2)
        np.testing.assert_array_equal(trained(picture(0), seed=3, **on), first)
        assert not np.array_equal(trained(picture(0), seed=4, **on), first)


def padded_images(pixels):
    return [trained(pixels, 6, seed=seed, pad=2) for seed in range(20)]


class TestEvaluationImage:
    @pytest.mark.parametrize("height, width", [(40, 40), (48, 40), (40, 60)])
    def test_is_resizing_and_then_cropping(self, height, width):
        """The shorter side to 20, and the middle 16 x 16, which is 0.8: TensorFlow's own two steps, bilinear as well.

        2e-2 of a range of 2: sizes divide evenly, so that the same pixels are sampled, but for the bytes' rounding.
        """
        pixels = picture(0, height, width)
        shorter = min(height, width)
        resized = tf.image.resize(tf.cast(pixels, tf.float32) / 255, [height * 20 // shorter, width * 20 // shorter]).numpy()
        top, left = ((side - 16) // 2 for side in resized.shape[:2])
        expected = resized[top : top + 16, left : left + 16] * 2 - 1
        for image in (pixels, encoded(pixels)):
            found = evaluation_image(tf.constant(image), 16, 3, 0.8).numpy()
            np.testing.assert_allclose(found, expected, rtol=0, atol=2e-2)

    def test_whole_image_and_range(self):
        """Where eval_crop is 0 all of it, whatever its shape: Pillow's bilinear enlargement; 2 of 255 for its rounding."""
        pixels = picture(0, 8, 12)
        found = evaluation_image(tf.constant(pixels), 24, 3, 0.0).numpy()
        enlarged = np.asarray(PIL.Image.fromarray(pixels).resize((24, 24), PIL.Image.BILINEAR))
        np.testing.assert_allclose(found, as_model_range(enlarged), rtol=0, atol=2 / 255 * 2)
        assert found.dtype == np.float32
        assert found.min() >= -1
        assert found.max() <= 1
