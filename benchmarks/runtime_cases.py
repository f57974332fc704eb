"""Cases of a model of the zoo in the runtimes that it can be exported to."""

import pathlib

KINDS = ("Keras call", "SavedModel signature", "ONNX Runtime", "TFLite", "TFLite, int8")
FILES = dict(zip(KINDS[1:], ("saved_model", "model.onnx", "model.tflite", "model-int8.tflite"), strict=True))


def create(name, **settings):
    """A fresh model of either zoo, always with the same weights; a text model is a classifier."""
    import tensorflow as tf

    import bert
    import vision

    tf.keras.utils.set_random_seed(0)
    if name in vision.list_models():
        return vision.create_model(name, **settings)
    return bert.create_model(name, task="classification", classes=2, **settings)


def write_files(folder, name, **settings):
    """Writes all FILES of a model into a folder, a pathlib.Path."""
    from official.serving import onnx_format, tflite_format
    from official.serving.saved_models import export_saved_model
    from official.serving.signatures import numeric_signature

    saved_model, onnx, tflite, int8 = (folder / file for file in FILES.values())
    export_saved_model(create(name, **settings), saved_model)
    signature = numeric_signature(saved_model)
    onnx_format.convert(signature, onnx)
    tflite_format.convert(signature, tflite)
    tflite_format.convert_quantized(signature, int8)


def runtime(kind, folder, name, batch, length, settings):
    """A forward pass from NumPy arrays to NumPy arrays, on all cores.

    Args:
      kind: one of KINDS.
      folder: with the files of write_files.
      name, settings: as of `create`.
      batch: examples in a call.
      length: tokens of a text.
    """
    call, specs = _opened(kind, pathlib.Path(folder), name, settings)
    inputs = _inputs(specs, batch, length)
    return lambda: call(inputs), {}


def _opened(kind, folder, name, settings):
    """(function of {name: array}, {name: tf.TensorSpec})."""
    if kind == "Keras call":
        from official.exportable import input_specs

        model = create(name, **settings)
        specs = input_specs(model)
        if isinstance(specs, dict):
            return lambda inputs: model(inputs, training=False).numpy(), specs
        return lambda inputs: model(inputs[specs.name], training=False).numpy(), {specs.name: specs}
    from official.serving.onnx_format import OnnxModel
    from official.serving.signatures import numeric_signature
    from official.serving.tflite_format import TFLiteModel

    signature = numeric_signature(folder / FILES["SavedModel signature"])
    if kind == "SavedModel signature":
        return signature, signature.inputs
    open_file = OnnxModel if kind == "ONNX Runtime" else TFLiteModel
    return open_file(folder / FILES[kind]), signature.inputs


def _inputs(specs, batch, length):
    """Random arrays: floats in [-1, 1), and token ids below 100, without padding, in the first segment."""
    import numpy as np

    random, arrays = np.random.default_rng(0), {}
    for name, spec in specs.items():
        shape = [batch, *(length if size is None else size for size in spec.shape[1:])]
        if spec.dtype.is_floating:
            values = random.uniform(-1, 1, shape)
        else:
            fixed = {"input_mask": 1, "input_type_ids": 0}
            values = np.full(shape, fixed[name]) if name in fixed else random.integers(0, 100, shape)
        arrays[name] = values.astype(spec.dtype.as_numpy_dtype)
    return arrays
