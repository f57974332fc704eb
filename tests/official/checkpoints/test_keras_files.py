"""Models that Keras saved: a program inside is neither run nor imported, in any of Keras's forms."""

import json
import sys
import zipfile

import h5py
import pytest
import tensorflow as tf
from tensorflow.python.keras.protobuf import saved_metadata_pb2

import vision
from official.checkpoints.keras_files import check_keras

MODULE = "import pathlib\npathlib.Path({marker!r}).touch()\ndef function(x):\n    return x\n"


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """The path of a file that is there once the model's program, or the module `strange`, has run."""
    path = tmp_path / "strange_code_has_run"
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "strange_layers.py").write_text(MODULE.format(marker=str(path)))
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.delitem(sys.modules, "strange_layers", raising=False)
    return path


def with_program(marker):
    """A Keras model whose Lambda makes the file whenever the layer is called, also while the model is built."""
    path = str(marker)
    layer = tf.keras.layers.Lambda(lambda x: (__import__("pathlib").Path(path).touch(), x)[1], output_shape=[3])
    return tf.keras.Sequential([tf.keras.layers.InputLayer([3]), layer])


@pytest.mark.parametrize("form", ["model.keras", "model.h5"])
def test_a_program_in_a_layer(tmp_path, marker, form):
    """Keras itself runs that of a .h5 file."""
    path = str(tmp_path / form)
    with_program(marker).save(path)
    marker.unlink()
    with pytest.raises(ValueError, match="cannot be read as a Keras model: it names '(keras.layers.)?Lambda', which is no"):
        vision.load_model(path)
    assert not marker.exists()


def write_keras_saved_model(folder, metadata):
    """The files of a SavedModel by which one of Keras is known, with what it says of a layer."""
    node = saved_metadata_pb2.SavedObject(node_id=0, node_path="root", identifier="_tf_keras_layer", metadata=metadata)
    (folder / "variables").mkdir(parents=True)
    (folder / "variables" / "variables.index").touch()
    (folder / "saved_model.pb").touch()
    (folder / "keras_metadata.pb").write_bytes(saved_metadata_pb2.SavedMetadata(nodes=[node]).SerializeToString())
    return folder


@pytest.mark.parametrize(
    "named, said",
    [
        (dict(module="strange_layers", class_name="function", config="function", registered_name="function"), "strange_layers.f"),
        (dict(module="strange_layers", class_name="Layer", config={}, registered_name="Layer"), "strange_layers.Layer"),
        (dict(module="os", class_name="function", config="system", registered_name="system"), "os.system"),
        (dict(module="builtins", class_name="function", config="exec", registered_name="function"), "builtins.exec"),
        ({"class_name": "__lambda__", "config": {"value": "YQ=="}}, "__lambda__"),
        ({"class_name": "TFOpLambda", "config": {"function": "io.write_file"}}, "TFOpLambda"),
        ({"class_name": "Custom>Lambda", "config": {}}, "Custom>Lambda"),
    ],
)
def test_names_in_a_file(tmp_path, marker, named, said):
    """What a file names is neither imported nor called, wherever in its config."""
    layer = dict(module="keras.layers", class_name="Dense", config={"units": 3, "activation": named}, registered_name=None)
    config = dict(module="keras", class_name="Sequential", config={"layers": [[layer]]}, registered_name="Sequential")
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", "{}")
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file.attrs["model_config"] = json.dumps(config)
    write_keras_saved_model(tmp_path / "saved", json.dumps(config))
    for name in ("model.keras", "model.h5", "saved"):
        with pytest.raises(ValueError, match=f"cannot be read as a Keras model: it names '{said}"):
            vision.load_model(tmp_path / name)
    assert not marker.exists()


@pytest.mark.parametrize("content", ["", "[" * 50_000, "[]", '{"class_name": 3}', "{}"], ids=lambda content: content[:5])
def test_damaged(tmp_path, content):
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", content)
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file.attrs["model_config"] = content
    write_keras_saved_model(tmp_path / "saved", content)
    for name in ("model.keras", "model.h5", "saved"):
        with pytest.raises(ValueError, match="cannot be read as a Keras model"):
            vision.load_model(tmp_path / name)


def test_a_layer_of_the_user(tmp_path):
    """A class and a function that the user has registered are no stranger's."""

    @tf.keras.saving.register_keras_serializable("test_keras_files")
    def softer(x):
        return tf.nn.gelu(x) / 2

    @tf.keras.saving.register_keras_serializable("test_keras_files")
    class Own(tf.keras.layers.Dense):
        pass

    config = tf.keras.saving.serialize_keras_object(Own(3, activation=softer))
    assert config["module"] == __name__
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    check_keras(tmp_path / "model.keras")
