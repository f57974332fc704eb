"""Weights by name from every kind of file that TensorFlow 2 writes of a model, and nothing that is no weight."""

import re

import numpy as np
import pytest
import tensorflow as tf

from official.checkpoints.manager import Checkpoints
from official.checkpoints.weights import read_weights
from official.config import train_settings
from official.serving.saved_models import export_saved_model
from official.training.optimizers import create_optimizer, create_state


@pytest.fixture(scope="module")
def model():
    """Trained for a step, so that the optimizer's slots and the metrics have been used."""
    model = tf.keras.Sequential(
        [tf.keras.layers.Dense(4, input_shape=(3,), name="hidden"), tf.keras.layers.Dense(2, name="output")], name="small"
    )
    optimizer = create_optimizer(train_settings(lr=0.1))
    create_state(optimizer, model.trainable_weights)
    model.compile(optimizer, "mse", ["mae"])
    model.train_on_batch(np.ones((2, 3)), np.zeros((2, 2)))
    return model


def assert_weights_of(model, found):
    """The four of them, bit by bit."""
    expected = {weight.name.removesuffix(":0"): weight.numpy() for weight in model.weights}
    assert set(expected) == {"hidden/kernel", "hidden/bias", "output/kernel", "output/bias"}
    assert found.keys() == expected.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name])
        assert array.dtype == expected[name].dtype


def test_run(model, tmp_path):
    """Its workdir and its folder of checkpoints lead to the newest one, a prefix to the one it names."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", model, keep=2)
    checkpoints.save(9, 1.0)
    kernel = model.get_layer("output").kernel
    kernel.assign_add(tf.ones_like(kernel))
    checkpoints.save(10, 2.0)
    assert_weights_of(model, read_weights(tmp_path))
    assert_weights_of(model, read_weights(str(tmp_path / "checkpoints")))
    assert_weights_of(model, read_weights(tmp_path / "checkpoints" / "step-10"))
    before = read_weights(tmp_path / "checkpoints" / "step-9")["output/kernel"]
    np.testing.assert_array_equal(before + 1, kernel)


@pytest.mark.parametrize(
    "save",
    [
        export_saved_model,
        lambda model, path: model.export(str(path)),
        lambda model, path: model.save(path, save_format="tf"),
        lambda model, path: model.save_weights(path, save_format="tf"),
    ],
    ids=["driver's export", "Keras's export", "save", "save_weights"],
)
def test_other_files(model, tmp_path, save):
    """The optimizer's variables and the metrics, which some of these hold as well, are no weights."""
    save(model, tmp_path / "saved")
    assert_weights_of(model, read_weights(tmp_path / "saved"))


def test_keras_optimizer(tmp_path):
    """Keras's new optimizers keep their moments among their own variables."""
    model = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,), name="only")])
    model.compile(tf.keras.optimizers.Adam(), "mse")
    model.train_on_batch(np.ones((2, 3)), np.zeros((2, 2)))
    Checkpoints(tmp_path / "checkpoints", model, keep=1).save(1, 0.0)
    assert read_weights(tmp_path).keys() == {"only/kernel", "only/bias"}


@pytest.mark.parametrize(
    "made, path, found",
    [
        ("", "nothing", "no such file or folder"),
        ("folder/", "folder", "there is neither saved_model.pb nor a checkpoint"),
        ("run/checkpoints/", "run", "there is neither saved_model.pb nor a checkpoint"),
        ("file", "file", "there is neither saved_model.pb nor a checkpoint"),
        ("a.onnx", "a.onnx", "it is a model of another project, which must be converted first (docs/weights.md)"),
    ],
)
def test_nothing_there(tmp_path, made, path, found):
    """One sentence: the setting, the path, what may stand there, and what does."""
    if made.endswith("/"):
        (tmp_path / made).mkdir(parents=True)
    elif made:
        (tmp_path / made).touch()
    with pytest.raises(ValueError) as error:
        read_weights(tmp_path / path, setting="init")
    assert str(error.value) == (
        f"init={str(tmp_path / path)!r} is not allowed: it must be the workdir of a run, a folder of checkpoints, the prefix of "
        f"one (as runs/digits/checkpoints/step-1610), a SavedModel or the handle of a published one; {found}"
    )


@pytest.mark.parametrize("wrong", ["", None, True, 3])
def test_no_path(wrong):
    """An empty one is not the current folder."""
    with pytest.raises(ValueError, match=re.escape(f"path={wrong!r} is not allowed") + ".*it is not a path"):
        read_weights(wrong)


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"\0" * len(data), None])
@pytest.mark.parametrize("file", ["index", "data-00000-of-00001"])
def test_damaged_file(model, tmp_path, file, damage):
    """Cut off, overwritten or missing: named."""
    model.save_weights(tmp_path / "saved")
    part = tmp_path / f"saved.{file}"
    if damage:
        part.write_bytes(damage(part.read_bytes()))
    else:
        part.unlink()
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "saved"))):
        read_weights(tmp_path / "saved")


def test_checkpoint_of_tensorflow_1(tmp_path):
    """It records no names of variables beside their keys, nor which are weights."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variable = tf.compat.v1.get_variable("x", [2])
        session.run(variable.initializer)
        tf.compat.v1.train.Saver().save(session, str(tmp_path / "old"))
    with pytest.raises(ValueError, match="it must be of TensorFlow 2"):
        read_weights(tmp_path / "old")


def test_equal_names(tmp_path):
    """Which weight is meant cannot be told."""
    first, second = (tf.Variable(float(i), name="same") for i in range(2))
    tf.train.Checkpoint(first=first, second=second).write(str(tmp_path / "saved"))
    with pytest.raises(ValueError, match="two of its weights are called 'same'"):
        read_weights(tmp_path / "saved")
