"""bert.load_model: settings, task and weights of what was saved; another task or other settings on the way."""

import json

import numpy as np
import pytest
import tensorflow as tf

import bert
from bert.models import settings_of
from tests.bert.batches import FEW_EXPERTS, random_batch, randomize

SETTINGS = dict(FEW_EXPERTS, classes=3, type_vocab_size=3)


def create(task):
    return randomize(bert.create_model("widenet_tiny_e4", task, **SETTINGS))


def outputs(model, task):
    batch = random_batch(predictions=2 if task == "pretraining" else None)
    return [array.numpy() for array in tf.nest.flatten(model(batch))]


def write_run(model, workdir, **changes):
    tf.train.Checkpoint(model=model).save(str(workdir / "checkpoints" / "step"))
    settings = {**bert.model_settings("widenet_tiny_e4", **SETTINGS), **changes}
    (workdir / "config.json").write_text(json.dumps({"name": "my_run", "model": settings}))
    return workdir


@pytest.mark.further
@pytest.mark.parametrize("task", ["encoder", "pretraining", "classification", "span"])
def test_every_task(tmp_path, capsys, task):
    """From a run and from a .keras file; what a recipe may leave open is read off the weights."""
    model = create(task)
    model.save(tmp_path / "model.keras")
    open_settings = dict(vocab_size=None) | (dict(classes=None) if task == "classification" else {})
    for source in (write_run(model, tmp_path / "run", **open_settings), tmp_path / "model.keras"):
        loaded = bert.load_model(source)
        assert settings_of(loaded) == settings_of(model)
        for array, expected in zip(outputs(loaded, task), outputs(model, task), strict=True):
            np.testing.assert_allclose(array, expected, atol=1e-6)
    assert capsys.readouterr().out == ""


def test_another_task(tmp_path, capsys):
    """The encoder is taken, and the head is fresh."""
    model = create("pretraining")
    loaded = bert.load_model(write_run(model, tmp_path), "classification", classes=5, max_length=8)
    assert loaded.output_shape == (None, 5)
    np.testing.assert_array_equal(loaded.get_layer("pooler").kernel, model.get_layer("pooler").kernel)
    said = capsys.readouterr().out
    assert "the first 8 of 16" in said and "classifier" in said


def test_refusals(tmp_path):
    workdir = write_run(create("span"), tmp_path)
    tf.saved_model.save(tf.Module(), str(tmp_path / "preprocessor"))
    with pytest.raises(ValueError, match="preprocessor' is not allowed: it must have weights"):
        bert.load_model(tmp_path / "preprocessor")
    with pytest.raises(ValueError, match="task='spam' is not allowed"):
        bert.load_model(workdir, "spam")
    with pytest.raises(ValueError, match="num_labels=2 is not a setting of my_run: it is called classes here"):
        bert.load_model(workdir, num_labels=2)
    with pytest.raises(ValueError, match=r"; it was saved with .*width=8 \(not 12\)"):
        bert.create_model(
            "widenet_tiny_e4", **{**SETTINGS, "width": 12, "embedding_dim": 4, "type_vocab_size": 2}, pretrained=workdir
        )
