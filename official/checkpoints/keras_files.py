"""Files that Keras's `save` wrote name the classes and functions they are made of: what none of our models needs is refused."""

import builtins
import zipfile

import h5py
import tensorflow as tf

from official.files.checked_json import MAX_BYTES, parse_json

# Layers that hold a Python program, or call any function of TensorFlow by its name.
PROGRAMS = ("Lambda", "TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceMethod", "InstanceProperty", "TensorFlowOpLayer")
KERAS = ("keras", "tf_keras")


def check_keras(path):
    """Refuses a saved Keras model that Keras would run or import something else for than the parts of a model.

    Keras's own safe mode covers neither .h5 files, nor SavedModels, nor the modules that a .keras file names.

    Args:
      path: a pathlib.Path of a .keras or .h5 file, or of a SavedModel that Keras wrote.

    Raises:
      ValueError: names the class or the function.
      Exception: whatever the parsers of these formats raise for bytes that are not of them.
    """
    if path.is_dir():
        from tensorflow.python.keras.protobuf import saved_metadata_pb2  # the same in every Keras 2

        content = (path / "keras_metadata.pb").read_bytes()
        configs = [node.metadata for node in saved_metadata_pb2.SavedMetadata.FromString(content).nodes]
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive, archive.open("config.json") as file:
            configs = [file.read(MAX_BYTES)]
    else:
        with h5py.File(path) as file:
            configs = [file.attrs["model_config"]]
    for config in configs:
        _check(parse_json(config, path), path)


def _check(value, path):
    """Checks JSON and everything in it."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for inner in inside:
        _check(inner, path)
    if not isinstance(value, dict) or not isinstance(value.get("class_name"), str):
        return
    name, module = value["class_name"], value.get("module")
    function = value.get("config") if name == "function" else None
    is_program = name.rpartition(">")[2] in PROGRAMS or name == "__lambda__" or "function_type" in value
    is_python = module == "builtins" and hasattr(builtins, str(function or name))
    is_known = module is None or str(module).partition(".")[0] in (*KERAS, "builtins")
    if is_program or is_python or not (is_known or _is_registered(function or value.get("registered_name"))):
        what = f"{module}.{function or name}" if module else name
        raise ValueError(f"it names {what!r}, which is not part of any model of this project")


def _is_registered(name):
    """Whether a name is one of tf.keras.saving.register_keras_serializable in this process: by our packages or by the user."""
    return isinstance(name, str) and tf.keras.saving.get_registered_object(name) is not None
