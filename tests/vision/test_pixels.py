"""The layer that makes of pixels what a model takes, against the images of evaluation."""

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

import vision
from tests.vision.pictures import encoded, picture
from vision.pixels import Preprocessor
from vision.preprocessing import evaluation_image

TINY = dict(depth=1, width=16, heads=2, ffn_dim=32, image_size=8, patch_size=4, classes=3)


@pytest.mark.parametrize("eval_crop", [0.0, 0.8])
@pytest.mark.parametrize("height, width", [(10, 12), (8, 8), (40, 30)])
@pytest.mark.parametrize("given, channels", [(3, 3), (1, 1), (3, 1), (1, 3)])
def test_gives_the_images_of_evaluation(given, channels, height, width, eval_crop):
    """Bit for bit, of uint8 and floats, alone and in a batch; the expected ones are decoded from a file."""
    pixels = [picture(number, height, width, given) for number in range(2)]
    expected = [evaluation_image(tf.constant(encoded(image)), 8, channels, eval_crop) for image in pixels]
    prepare = Preprocessor(8, channels, eval_crop)
    for dtype in (np.uint8, np.float32, np.float64, np.int64):
        images = np.stack(pixels).astype(dtype)
        found = prepare(images)
        assert found.dtype == tf.float32 and found.shape == (2, 8, 8, channels)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(prepare(images[1]), expected[1])


def test_height_and_width():
    """Pillow's bilinear enlargement; 2 of 255 for its rounding."""
    pixels = picture(0, 8, 12)
    expected = np.asarray(PIL.Image.fromarray(pixels).resize((36, 16), PIL.Image.BILINEAR))
    found = Preprocessor((16, 36))(pixels)
    np.testing.assert_allclose(found, expected / 255 * 2 - 1, rtol=0, atol=2 / 255 * 2)
    # Half of the largest box of one to two in 8 x 12 pixels, which is 6 x 12.
    np.testing.assert_array_equal(Preprocessor((3, 6), eval_crop=0.5)(pixels), pixels[2:5, 3:9] * np.float32(1 / 255) * 2 - 1)


def test_transparency_is_dropped():
    pixels = picture(0, 8, 8, 4)
    for channels in (1, 3):
        expected = Preprocessor(8, channels)(pixels[..., :3])
        np.testing.assert_array_equal(Preprocessor(8, channels)(pixels), expected)


class TestInAModel:
    @pytest.fixture(scope="class")
    def model(self):
        return vision.create_model("vit_ti16", **TINY)

    @pytest.mark.further_cases
    @pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "float64"])
    def test_saved_with_a_model(self, policy, tmp_path):
        """The answers to photographs are the model's answers to the images of evaluation, before and after it is loaded."""
        tf.keras.mixed_precision.set_global_policy(policy)
        model = vision.create_model("vit_ti16", **TINY)
        photos = np.stack([picture(number, 30, 40) for number in range(2)])
        expected = model(tf.stack([evaluation_image(tf.constant(photo), 8, 3, 0.9) for photo in photos]))
        inputs = tf.keras.Input((None, None, 3), dtype=tf.uint8)
        whole = tf.keras.Model(inputs, model(vision.preprocessor(model, eval_crop=0.9)(inputs)))
        np.testing.assert_array_equal(whole(photos), expected)
        whole.save(tmp_path / "whole.keras")
        loaded = tf.keras.models.load_model(tmp_path / "whole.keras")
        np.testing.assert_array_equal(loaded(photos), expected)

    def test_in_a_data_set(self, model):
        """Image by image, of several sizes, and batch by batch."""
        photos = [picture(number, 10 + number, 20) for number in range(3)]
        prepare = vision.preprocessor(model)
        data = tf.data.Dataset.from_generator(lambda: photos, output_signature=tf.TensorSpec([None, None, 3], tf.uint8))
        found = data.map(prepare).batch(3)
        assert found.element_spec.shape[1:] == model.input_shape[1:]
        expected = [evaluation_image(tf.constant(photo), 8, 3, 0.0) for photo in photos]
        np.testing.assert_array_equal(found.get_single_element(), expected)
        batch = np.stack([photos[0]] * 2)
        batches = tf.data.Dataset.from_tensors(batch).map(prepare)
        np.testing.assert_array_equal(batches.get_single_element(), [expected[0]] * 2)

    def test_range_in_a_data_set(self, model):
        data = tf.data.Dataset.from_tensors(picture(0) / 255).map(vision.preprocessor(model))
        with pytest.raises(tf.errors.InvalidArgumentError, match="numbers from 0 to 255"):
            data.get_single_element()

    def test_other_models(self, model):
        inputs = tf.keras.Input((None, None, 3))
        whole = tf.keras.Model(inputs, model(vision.preprocessor(model)(inputs)), name="whole")
        with pytest.raises(ValueError, match=r"^model='whole' is not allowed: it must be one with a single input .*None, 3\)$"):
            vision.preprocessor(whole)


@pytest.mark.parametrize(
    "wrong",
    [picture(0) / 255, picture(0) / 127.5 - 1, picture(0) * 2.0, np.full((4, 4, 3), np.nan), picture(0).astype(np.int32) - 200],
    ids=["0 to 1", "-1 to 1", "above 255", "NaN", "negative"],
)
def test_wrong_range(wrong):
    prepare = Preprocessor(8)
    for call in (prepare, tf.function(prepare)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="must be uint8, or numbers from 0 to 255: multiply"):
            call(tf.constant(wrong))


def test_dark_images():
    """Black floats, and bytes of 0 and 1, are no images in [0, 1]; nor is an empty batch."""
    assert np.all(Preprocessor(8)(np.zeros((10, 10, 3))) == -1)
    assert np.all(Preprocessor(8)(np.ones((10, 10, 3), np.uint8)) == np.float32(1 / 255) * 2 - 1)
    assert Preprocessor(8)(np.zeros((0, 10, 10, 3))).shape == (0, 8, 8, 3)


@pytest.mark.parametrize(
    "images, said",
    [
        (np.zeros((8, 8)), "pixels [height, width, channels] or [batch, height, width, channels]"),
        (np.array(b"bytes"), "pixels [height, width, channels] or [batch, height, width, channels]"),
        (np.zeros((8, 8, 3), bool), "pixels [height, width, channels] or [batch, height, width, channels]"),
        (np.zeros((8, 8, 2)), "of 3 channels, or 1, 3 or 4"),
    ],
)
def test_no_images(images, said):
    with pytest.raises(ValueError) as error:
        Preprocessor(8)(images)
    assert f"is not allowed: it must be {said}" in str(error.value)


@pytest.mark.parametrize(
    "settings, allowed",
    [
        (dict(image_size=0), "an integer of at least 1, or a pair of them"),
        (dict(image_size=(8, 8, 3)), "an integer of at least 1, or a pair of them"),
        (dict(image_size=8, channels=0), "an integer of at least 1"),
        (dict(image_size=8, eval_crop=1.1), "a number from 0 to 1"),
    ],
)
def test_settings_out_of_range(settings, allowed):
    with pytest.raises(ValueError, match=f"is not allowed: it must be {allowed}"):
        Preprocessor(**settings)
