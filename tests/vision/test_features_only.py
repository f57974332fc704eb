"""Image models with features_only: the outputs of all blocks as grids, weights by name, training, and files."""

import json

import numpy as np
import pytest
import tensorflow as tf

import vision
from tests.bert.batches import randomize
from tests.vision.test_models import FAMILIES
from vision.models import settings_of
from widenet.weight_transfer import weights_by_name

TINY = dict(
    depth=2,
    width=8,
    heads=2,
    ffn_dim=12,
    expert_dim=12,
    num_experts=2,
    image_size=(8, 12),
    patch_size=(4, 2),
    channels=1,
    classes=3,
)


def create(name="widenet_ti16", **settings):
    moe = dict(moe_blocks=1) if name.startswith("vit_moe") else {}
    return vision.create_model(name, **{**TINY, **moe, **settings})


def random_images(count=2):
    return np.random.default_rng(0).uniform(-1, 1, (count, 8, 12, 1)).astype(np.float32)


def assert_same_weights(model, whole):
    """All weights of a model are those of another of the same names."""
    others = weights_by_name(whole)
    for name, weight in weights_by_name(model).items():
        np.testing.assert_array_equal(weight, others[name], err_msg=name)


@pytest.mark.further_cases
@pytest.mark.parametrize("name", FAMILIES)
def test_outputs_are_those_of_the_blocks(name):
    """In a ViT without the class token; the names of the weights are those of the whole model, in its order."""
    whole, model = create(name), create(name, features_only=True)
    names = [weight.name for weight in whole.weights]
    assert [weight.name for weight in model.weights] == [name for name in names if name.startswith(("embedding/", "encoder/"))]
    assert model.output_shape == [(None, 2, 6, 8)] * 2
    assert model.output_names == ["block_0", "block_1"]
    randomize(whole)
    model.set_weights(whole.get_weights()[: len(model.weights)])
    assert_same_weights(model, whole)
    images = random_images()
    tokens = whole.get_layer("embedding")(images)
    expected = whole.get_layer("encoder")(tokens, details=True).block_outputs
    for grid, block in zip(model(images), expected, strict=True):
        block = block.numpy()[:, int(name == "vit_ti16") :]
        for row in range(2):
            for column in range(6):
                np.testing.assert_allclose(grid[:, row, column], block[:, 6 * row + column], rtol=0, atol=1e-5)


@pytest.mark.parametrize("pool", ["token", "gap"])
def test_each_patch_is_in_its_place(pool):
    """Blocks whose last kernels are zeros pass on the tokens: each place has the product of its own pixels, by NumPy."""
    model = create("vit_ti16", pool=pool, features_only=True, kernel_initializer="zeros")
    embedding = model.get_layer("embedding")
    random = np.random.default_rng(1)
    for weight in embedding.weights:
        weight.assign(random.normal(size=weight.shape))
    kernel, bias = (weight.numpy() for weight in embedding.projection.weights)
    positions = embedding.position_embedding.numpy()[0, int(pool == "token") :]
    images = random_images()
    for grid in model(images):
        for row in range(2):
            for column in range(6):
                patch = images[:, 4 * row : 4 * row + 4, 2 * column : 2 * column + 2].reshape(2, 8)
                expected = patch @ kernel + bias + positions[6 * row + column]
                np.testing.assert_allclose(grid[:, row, column], expected, rtol=0, atol=1e-5)


def test_one_block():
    """Keras returns the only output without a list."""
    assert create(depth=1, features_only=True)(random_images()).shape == (2, 2, 6, 8)


def test_refused():
    with pytest.raises(ValueError, match="features_only=1 is not allowed: it must be True or False"):
        create(features_only=1)
    with pytest.raises(ValueError, match="pool='max' is not allowed"):
        create(features_only=True, pool="max")


@pytest.mark.further_cases
@pytest.mark.parametrize("form", ["checkpoint", "model.keras", "model.weights.h5"])
def test_weights_of_a_whole_model(tmp_path, form):
    """By `pretrained`, and by what Keras has for a file of weights; the rest of the whole model is left out."""
    whole = randomize(create("vit_ti16"))
    path = tmp_path / form
    (whole.save if form == "model.keras" else whole.save_weights)(path)
    assert_same_weights(create("vit_ti16", features_only=True, pretrained=path), whole)
    if form != "model.keras":
        model = create("vit_ti16", features_only=True)
        status = model.load_weights(path)
        if status is not None:
            status.expect_partial()
        assert_same_weights(model, whole)


@pytest.mark.further
def test_a_whole_model_of_features(tmp_path):
    """A head is fresh; a change of classes asks for one."""
    model = randomize(create(features_only=True))
    model.save(tmp_path / "model.keras")
    for whole in (create(pretrained=tmp_path / "model.keras"), vision.load_model(tmp_path / "model.keras", classes=3)):
        assert whole.output_shape == (None, 3)
        assert_same_weights(model, whole)


def test_a_run_as_features(tmp_path):
    """By load_model; its positions are resampled, and a class token is added."""
    whole = randomize(create())
    tf.train.Checkpoint(model=whole).save(str(tmp_path / "checkpoints" / "step"))
    (tmp_path / "config.json").write_text(json.dumps({"name": "run", "model": vision.model_settings("widenet_ti16", **TINY)}))
    model = vision.load_model(tmp_path, features_only=True, image_size=(8, 16), pool="token")
    assert model.output_shape == [(None, 2, 8, 8)] * 2
    assert_same_weights(model.get_layer("encoder"), whole.get_layer("encoder"))


@pytest.mark.further_cases
@pytest.mark.parametrize("form", ["model.keras", "model.h5", pytest.param("saved", marks=pytest.mark.train)])
def test_saved_and_loaded(tmp_path, form):
    """By Keras and by load_model: the same answers, and the settings that make an equal model."""
    model = randomize(create("vit_ti16", features_only=True))
    model.save(tmp_path / form, save_format="tf" if form == "saved" else None)
    images = random_images()
    for loaded in (tf.keras.models.load_model(tmp_path / form), vision.load_model(tmp_path / form)):
        for found, expected in zip(loaded(images), model(images), strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert settings_of(loaded) == settings_of(model)
    assert settings_of(model)["features_only"]


@pytest.mark.train
def test_trained_with_a_head_of_ones_own(tmp_path):
    """On two blocks' outputs: embedding and encoder learn but for the final norm; the whole is saved, loaded and exported."""
    backbone = randomize(create("vit_ti16", features_only=True), scale=0.1)
    first, last = backbone.output
    x = tf.keras.layers.Concatenate()([first, last])
    x = tf.keras.layers.Conv2D(1, 3, padding="same", name="own")(x)
    model = tf.keras.Model(backbone.input, x)
    images, targets = random_images(8), np.random.default_rng(1).normal(size=(8, 2, 6, 1)).astype(np.float32)
    before = {name: weight.numpy() for name, weight in weights_by_name(backbone).items()}
    model.compile(tf.keras.optimizers.Adam(0.01), "mse")
    losses = model.fit(images, targets, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < 0.9 * losses[0]
    same = {name for name, weight in weights_by_name(backbone).items() if np.array_equal(weight, before[name])}
    assert {name for name in same if not name.endswith("/key/bias")} == {"encoder/final_norm/gamma", "encoder/final_norm/beta"}
    model.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(images), model(images), rtol=0, atol=1e-6)


@pytest.mark.further
def test_exported_and_as_a_layer(tmp_path):
    """Lists in an export, and in a call within another model; under mixed precision features have its dtype."""
    model = randomize(create(features_only=True))
    model.export(str(tmp_path / "export"))
    images = random_images()
    inputs = tf.keras.Input((8, 12, 1))
    nested = tf.keras.Model(inputs, model(inputs))
    exported = tf.saved_model.load(str(tmp_path / "export"))
    for answers in (
        exported.serve(images),
        nested(images),
        model.predict(images, verbose=0),
    ):
        for found, expected in zip(answers, model(images), strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    assert {output.dtype for output in create(features_only=True)(images)} == {tf.bfloat16}
