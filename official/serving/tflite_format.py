"""Converts exported models to TFLite, in float32 or with int8 weights, and runs them in its interpreter."""

import os
import re

import tensorflow as tf

from official.cli import quiet
from official.files.atomic import atomic_write
from official.serving.signatures import NumericSignature, check_float32


def convert(signature: NumericSignature, path):
    """Writes a signature as a TFLite file of TFLite's own operators, with dynamic batch size and dynamic lengths.

    Args:
      signature: a signature that computes in float32.
      path: a pathlib.Path; written atomically.

    Raises:
      ValueError: a signature in another precision, or with operations that TFLite lacks.
    """
    _convert(signature, path, [])


def convert_quantized(signature: NumericSignature, path):
    """As `convert`, with dynamic range quantization: large weights in int8, activations quantized as they are computed."""
    _convert(signature, path, [tf.lite.Optimize.DEFAULT])


def _convert(signature, path, optimizations):
    check_float32(signature, "TFLite")
    converter = tf.lite.TFLiteConverter.from_saved_model(signature.path, signature_keys=[signature.name])
    converter.optimizations = optimizations
    with quiet.conversion():
        try:
            content = converter.convert()
        except Exception as error:
            # The converter's exception class is private; its message alone names the missing operations.
            missing = re.findall(r"^(?:TF Select|Custom) ops: (.*)$", str(error), re.MULTILINE)
            if not missing:
                raise
            raise ValueError(f"TFLite has no {', '.join(missing)}, which {signature.name!r} uses") from error
    atomic_write(path, content)


class TFLiteModel:
    """A TFLite file in its interpreter on the CPU: {name: array} to {name: array}.

    Args:
      path: of the file.
      threads: number of threads; None for all cores.
    """

    def __init__(self, path, threads=None):
        self._interpreter = tf.lite.Interpreter(str(path), num_threads=threads or len(os.sched_getaffinity(0)))
        (signature,) = self._interpreter.get_signature_list()
        runner = self._interpreter.get_signature_runner(signature)
        self._inputs, self._outputs = (
            {name: tensor["index"] for name, tensor in details.items()}
            for details in (runner.get_input_details(), runner.get_output_details())
        )
        self._shapes = None

    def __call__(self, inputs):
        # Not through the signature's runner, which prepares the whole graph again in every call.
        shapes = {name: inputs[name].shape for name in self._inputs}
        if shapes != self._shapes:
            for name, index in self._inputs.items():
                self._interpreter.resize_tensor_input(index, shapes[name])
            self._interpreter.allocate_tensors()
            self._shapes = shapes
        for name, index in self._inputs.items():
            self._interpreter.set_tensor(index, inputs[name])
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}
