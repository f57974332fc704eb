"""vision.load_model: settings and weights of what was saved, in every form; changes on the way; what is refused."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf

import vision
from tests.bert.batches import randomize
from vision.models import settings_of

TINY = dict(width=16, heads=2, ffn_dim=24, expert_dim=24, num_experts=2, image_size=8, patch_size=4, channels=1, classes=3)
# Every setting that a file has to keep, other than the zoo's.
UNUSUAL = dict(TINY, depth=3, moe_blocks=(0, 2), attention_groups=3, pool="token", representation=False, activation="relu")


def random_images(size=8):
    return np.random.default_rng(0).uniform(-1, 1, (3, size, size, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    return randomize(vision.create_model("widenet_ti16", **UNUSUAL), scale=0.1)


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    """A workdir with the model's checkpoint and what is needed of a config.json."""
    workdir = tmp_path_factory.mktemp("run")
    tf.train.Checkpoint(model=model).write(str(workdir / "checkpoints" / "step-7"))
    tf.train.Checkpoint(model=model).save(str(workdir / "checkpoints" / "step"))
    (workdir / "config.json").write_text(
        json.dumps({"name": "my_run", "model": vision.model_settings("widenet_ti16", **UNUSUAL)})
    )
    return workdir


def save_as(form, model, run, folder):
    """Where a model is saved in that form."""
    if form in ("", "checkpoints", "checkpoints/step-7"):
        return run / form
    model.save(folder / form, save_format="tf" if form == "saved" else None)
    return str(folder / form)


@pytest.mark.further_cases
@pytest.mark.parametrize("form", ["", "checkpoints", "checkpoints/step-7", "model.keras", "saved", "model.h5"])
def test_equal_answers_without_a_word(model, run, tmp_path, capsys, form):
    source = save_as(form, model, run, tmp_path)
    loaded = vision.load_model(source)
    np.testing.assert_allclose(loaded(random_images()), model(random_images()), atol=1e-6)
    assert settings_of(loaded) == settings_of(model)
    assert capsys.readouterr().out == ""
    assert loaded.name == ("my_run" if source == run / form else "widenet_ti16")


def test_a_run_and_its_export(finished_run):
    """Of the driver: the export has its config, and both give the same answers."""
    of_run, of_export = (vision.load_model(finished_run / inside) for inside in ("", "saved_model"))
    images = random_images()
    served = tf.saved_model.load(str(finished_run / "saved_model")).signatures["serve"]
    (answers,) = served(images=tf.constant(images)).values()
    for loaded in (of_run, of_export):
        np.testing.assert_allclose(loaded(images), answers, atol=1e-5)


@pytest.mark.further_cases
@pytest.mark.parametrize("form", ["", "model.keras"])
def test_changes(model, run, tmp_path, capsys, form):
    """A fresh head, resampled positions, and everything else as it was."""
    loaded = vision.load_model(save_as(form, model, run, tmp_path), name="mine", classes=np.int64(7), image_size=12)
    assert (loaded.name, loaded.input_shape, loaded.output_shape) == ("mine", (None, 12, 12, 1), (None, 7))
    np.testing.assert_array_equal(loaded.get_layer("embedding").projection.kernel, model.get_layer("embedding").projection.kernel)
    said = capsys.readouterr().out
    assert "7 classes, 3 in the source" in said and "2 x 2 to 3 x 3 patches" in said


def test_a_part_without_a_head(model, tmp_path):
    """An exported encoder has the config of its run, which has classes, and gives features."""
    settings = vision.model_settings("widenet_ti16", **UNUSUAL)
    features = vision.create_model("widenet_ti16", **{**UNUSUAL, "classes": 0})
    tf.train.Checkpoint(model=features).save(str(tmp_path / "checkpoints" / "step"))
    (tmp_path / "config.json").write_text(json.dumps({"name": "run", "model": settings}))
    np.testing.assert_array_equal(vision.load_model(tmp_path)(random_images()), features(random_images()))


def test_a_config_is_not_trusted(model, tmp_path):
    """Only settings of the zoo are read; a task in it is not imported."""
    tf.train.Checkpoint(model=model).save(str(tmp_path / "checkpoints" / "step"))
    settings = vision.model_settings("widenet_ti16", **UNUSUAL)
    hooked = {"name": "x", "task": "os:getcwd", "model": {**settings, "hook": "os"}}
    for text, said in (
        (json.dumps(hooked), "config.json has settings that no model of this zoo has: hook ("),
        (json.dumps({"name": "x", "model": 3}), "is not the config of a run"),
        ("{", "is not the config of a run"),
    ):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ValueError, match=re.escape(said)) as error:
            vision.load_model(tmp_path)
        assert str(error.value).startswith(f"source={str(tmp_path)!r} is not allowed: ")
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match="it must be saved with its settings, and .* does not exist"):
        vision.load_model(tmp_path)


def test_what_is_not_of_the_zoo(tmp_path):
    other = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,), name="only")])
    other.save(tmp_path / "other.keras")
    for file in ("damaged.keras", "damaged.h5"):
        (tmp_path / file).write_bytes(b"neither zip nor HDF5")
    for file, said in (
        ("other.keras", "must be an image model of this zoo; its layers are only"),
        ("damaged.keras", "cannot be read as a Keras model"),
        ("damaged.h5", "cannot be read: "),
        ("missing.keras", "it must be an existing file"),
    ):
        with pytest.raises(ValueError, match=said):
            vision.load_model(tmp_path / file)


@pytest.mark.further_cases
@pytest.mark.parametrize("file", ["model.keras", "model.weights.h5", "old_weights.h5"])
def test_pretrained_from_files_of_keras(model, tmp_path, file, capsys):
    """With their weights by name, so that a head of other classes is fresh and the rest is taken."""
    (model.save if file == "model.keras" else model.save_weights)(tmp_path / file)
    fresh = vision.create_model("widenet_ti16", **UNUSUAL, pretrained=tmp_path / file)
    np.testing.assert_array_equal(fresh(random_images()), model(random_images()))
    other = vision.create_model("widenet_ti16", **{**UNUSUAL, "classes": 5}, pretrained=tmp_path / file)
    for weight, before in zip(other.weights, model.weights, strict=True):
        if not weight.name.startswith("head/"):
            np.testing.assert_array_equal(weight, before, err_msg=weight.name)
    assert "5 classes, 3 in the source" in capsys.readouterr().out


@pytest.mark.parametrize("file", ["model.weights.h5", "old_weights.h5"])
def test_a_file_of_weights_alone(model, tmp_path, file):
    """Is of a model that cannot be built without its settings; the message says what takes it."""
    model.save_weights(tmp_path / file)
    said = r"it must be saved with its settings, and this file has weights alone \(create_model takes .* pretrained='.*h5'\)"
    with pytest.raises(ValueError, match=said):
        vision.load_model(tmp_path / file)


def test_weights_of_other_layers(model, tmp_path):
    """Keras tells layers in such a file apart by their places alone, so another model's cannot be matched."""
    model.save_weights(tmp_path / "model.weights.h5")
    with pytest.raises(ValueError, match=r"must be of a model with the same layers; .* is (only|not) in the file"):
        vision.create_model("widenet_ti16", **{**UNUSUAL, "representation": True}, pretrained=tmp_path / "model.weights.h5")


@pytest.mark.further_cases
@pytest.mark.parametrize("form", ["", "model.keras"])
def test_nothing_fits(model, run, tmp_path, form):
    """The settings that differ are named, with the right values."""
    settings = {**UNUSUAL, "width": 8, "patch_size": 2}
    with pytest.raises(ValueError, match="none of its") as error:
        vision.create_model("widenet_ti16", **settings, pretrained=save_as(form, model, run, tmp_path))
    assert str(error.value).endswith("; it was saved with patch_size=4 (not 2), width=16 (not 8)")
