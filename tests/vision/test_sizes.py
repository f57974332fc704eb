"""Images and patches that are not squares: settings, refusals, the pixels that a model gets, and a run from data to answers."""

import json

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from scipy import stats

import vision
from official import predict, train
from official.data.bad_examples import BadExamples
from tests.official.tiny import DENSE, tiny_config
from tests.vision.pictures import encoded, picture, settings, write_files
from vision.classification import ImageClassification
from vision.configs import digits
from vision.data import file_source
from vision.decoding import central_box, inception_box
from vision.pipeline import ImagePipeline
from vision.preprocessing import evaluation_image, training_image
from vision.serving import decode_request
from vision.sizes import check_size, patch_grid, plain_size, sides


@pytest.mark.parametrize("size, plain", [(8, 8), ((8, 8), 8), ([8, 8], 8), ((8, 12), (8, 12)), ([12, 8], (12, 8))])
def test_plain_sizes(size, plain):
    """Squares are saved as one number, as they always were; lists are what JSON makes of pairs."""
    assert check_size("image_size", size) == plain_size(size) == plain
    assert type(plain_size(size)) is type(plain)
    assert vision.model_settings("vit_b16", image_size=size, patch_size=size)["patch_size"] == plain
    assert sides(size) == (8, 8) if plain == 8 else sides(size) == plain


def test_numbers_of_numpy_in_pairs():
    found = vision.model_settings("vit_b16", image_size=(np.int64(8), np.int32(12)))["image_size"]
    assert json.dumps(found) == "[8, 12]"


@pytest.mark.parametrize("wrong", [(), (8,), (8, 8, 1), (8, 0), (8, 8.0), (True, 8), (8, None), (8, "8"), [8]])
@pytest.mark.parametrize("setting", ["image_size", "patch_size"])
def test_refused_pairs(setting, wrong):
    with pytest.raises(ValueError) as error:
        vision.create_model("vit_ti16", **{setting: wrong})
    pair = "an integer of at least 1, or a pair of them, (height, width)"
    assert str(error.value) == f"{setting}={wrong!r} is not allowed: it must be {pair}"


@pytest.mark.parametrize("wrong", [0, 8.0, "8", None, True, {8: 8}])
def test_refused_numbers(wrong):
    with pytest.raises(ValueError) as error:
        vision.create_model("vit_ti16", image_size=wrong)
    pair = "an integer of at least 1, or a pair of them, (height, width)"
    assert str(error.value) == f"image_size={wrong!r} is not allowed: it must be {pair}"


@pytest.mark.parametrize("image_size, patch_size", [((8, 12), 8), ((8, 12), (12, 4)), ((8, 12), (4, 8)), (8, (3, 4))])
def test_patches_that_do_not_fit(image_size, patch_size):
    """Height is divided by height, and width by width."""
    with pytest.raises(ValueError) as error:
        vision.create_model("vit_ti16", image_size=image_size, patch_size=patch_size)
    allowed = f"a divisor of image_size={image_size}, in height and in width"
    assert str(error.value) == f"patch_size={patch_size!r} is not allowed: it must be {allowed}"


def test_patch_grid():
    assert patch_grid(8, 2) == (4, 4)
    assert patch_grid((8, 12), 4) == (2, 3)
    assert patch_grid([8, 12], (4, 2)) == (2, 6)


class TestBoxes:
    @pytest.mark.parametrize(
        "shape, share, aspect, expected",
        [
            ((100, 200), 1.0, 2.0, [0, 0, 100, 200]),
            ((100, 200), 0.5, 2.0, [25, 50, 50, 100]),
            ((100, 200), 1.0, 0.5, [0, 75, 100, 50]),
            ((300, 200), 0.8, 2.0, [110, 20, 80, 160]),
            ((224, 160), 1.0, 160 / 224, [0, 0, 224, 160]),
        ],
    )
    def test_central(self, shape, share, aspect, expected):
        assert central_box(tf.constant([*shape, 3]), share, aspect).numpy().tolist() == expected

    @pytest.mark.parametrize("aspect", [0.5, 160 / 224, 3.0])
    def test_inception(self, aspect):
        """Within the image, and of ratios around that of the model: uniform in logarithm from 3/4 to 4/3 of it."""
        shape = tf.constant([2000, round(2000 * aspect), 3])
        drawn = tf.data.Dataset.range(1000).map(lambda i: inception_box(shape, tf.stack([i, 7]), 0.05, 0.5, aspect=aspect))
        top, left, height, width = drawn.batch(1000).get_single_element().numpy().T
        assert top.min() >= 0 and (top + height).max() <= shape[0]
        assert left.min() >= 0 and (left + width).max() <= shape[1]
        ratios = np.log(width / height / aspect) / np.log(4 / 3)
        assert stats.kstest(ratios, stats.uniform(-1, 2).cdf).pvalue > 0.01
        areas = height * width / np.prod(shape[:2])
        assert stats.kstest(areas, stats.uniform(0.05, 0.45).cdf).pvalue > 0.01


def test_pixels_of_a_whole_image():
    """Pillow's bilinear enlargement to 24 x 16; 2 of 255 for its rounding, in a range of 2."""
    pixels = picture(0, 8, 8)
    enlarged = np.asarray(PIL.Image.fromarray(pixels).resize((16, 24), PIL.Image.BILINEAR)) / 255 * 2 - 1
    seed = tf.constant([0, 1], tf.int64)
    for found in (
        evaluation_image(tf.constant(pixels), (24, 16), 3, 0.0),
        training_image(tf.constant(pixels), seed, (24, 16), 3, settings()),
        training_image(tf.constant(encoded(pixels)), seed, [24, 16], 3, settings(crop="inception", min_area=1.0)),
    ):
        np.testing.assert_allclose(found, enlarged, rtol=0, atol=4 / 255)


def test_pixels_of_a_central_box():
    """A box of the model's shape is cut out and not squeezed: here exactly 8 x 4 of its pixels."""
    pixels = picture(0, 20, 10)
    found = evaluation_image(tf.constant(encoded(pixels)), (8, 4), 3, 0.4)
    np.testing.assert_allclose(found, pixels[6:14, 3:7] / 255 * 2 - 1, rtol=0, atol=1e-6)


@pytest.mark.further
def test_served_pixels_are_those_of_the_pipeline(tmp_path):
    """Bit for bit, with every augmentation on in training, whose batches have the same shape."""
    paths = write_files(tmp_path, 6)
    data = settings(eval_crop=0.8, flip=True, pad=1, rotate=9.0, shift=1.0, randaugment_layers=1, crop="inception", mixup=0.2)
    pipeline = ImagePipeline(file_source(paths, [0, 1] * 3), (6, 10), 3, 2, data, BadExamples("refuse"))
    expected = np.concatenate([pixels for pixels, _ in pipeline.evaluation_batches(4)])
    served = decode_request(tf.constant([path.read_bytes() for path in paths]), [6, 10], 3, 0.8, 10_000)
    assert served.shape == expected.shape == (6, 6, 10, 3)
    np.testing.assert_array_equal(served, expected)
    trained, _ = next(iter(pipeline.train_batches(4, seed=0, start_step=0)))
    assert trained.shape == (4, 6, 10, 3)
    assert np.ptp(trained) > 0.5


@pytest.mark.train
def test_a_run(tmp_path):
    """A step of the driver, its export called in all ways, official.predict, and what load_model makes of the workdir."""
    workdir = tmp_path / "run"
    sizes = {"model.image_size": (12, 8), "model.patch_size": (4, 2), "data.eval_crop": 0.9}
    train.run(tiny_config(DENSE, sizes, steps=1, eval_every=1), workdir)
    assert json.loads((workdir / "config.json").read_text())["model"]["image_size"] == [12, 8]
    model = vision.load_model(workdir)
    assert model.input_shape == (None, 12, 8, 1)
    assert model.get_layer("embedding").patch_size == (4, 2)
    config = tiny_config(sizes)
    images, _ = next(iter(ImageClassification(config).evaluation_dataset("validation")))
    expected = tf.nn.softmax(model(images)).numpy()
    exported = tf.saved_model.load(str(workdir / "saved_model"))
    (logits,) = exported.signatures["serve"](images=images).values()
    for answers in (logits, exported(images)["logits"]):
        np.testing.assert_allclose(tf.nn.softmax(answers), expected, rtol=0, atol=1e-5)
    paths = write_files(tmp_path, 3, height=30, width=20, channels=1)
    pixels = tf.stack([evaluation_image(tf.constant(path.read_bytes()), (12, 8), 1, 0.9) for path in paths])
    expected = tf.nn.softmax(model(pixels)).numpy()
    assert predict.predict(str(workdir), str(tmp_path / "*.png"), tmp_path / "answers.jsonl") == (3, 0)
    for line, row in zip((tmp_path / "answers.jsonl").read_text().splitlines(), expected, strict=True):
        np.testing.assert_allclose(list(json.loads(line)["probabilities"].values()), row, rtol=0, atol=1e-5)


@pytest.mark.further
def test_a_recipe_takes_pairs():
    """As `--config.model.image_size="(8, 12)"` gives them; the model is built and its images are of that size."""
    config = digits.get_config()
    config.update_from_flattened_dict({"model.image_size": (8, 12), "model.patch_size": (4, 6)})
    task = ImageClassification(config)
    assert task.create_model().input_shape == (None, 8, 12, 1)
    assert task.train_dataset(0).element_spec[0].shape == (64, 8, 12, 1)
    (first, _), _ = task.augmented(2, 1)
    assert first.shape == (2, 8, 12, 1)
