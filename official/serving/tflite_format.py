"""TFLite files of exported models, in float32 or with int8 weights, and the interpreter to run them."""

import os
import re

import tensorflow as tf

from official.cli import quiet
from official.files.atomic import atomic_write
from official.serving.signatures import NumericSignature, check_float32


def convert(signature: NumericSignature, path):
    """Writes a signature as a TFLite file of TFLite's own operators, batch and lengths dynamic.

    Args:
      signature: in float32.
      path: a pathlib.Path; written whole or not at all.

    Raises:
      ValueError: a signature in another precision or with operations that TFLite lacks, naming them.
    """
    _convert(signature, path, [])


def convert_quantized(signature: NumericSignature, path):
    """As `convert`, with large weights in int8; what they are multiplied with is rounded to int8 as it comes (dynamic range)."""
    _convert(signature, path, [tf.lite.Optimize.DEFAULT])


def _convert(signature, path, optimizations):
    check_float32(signature, "TFLite")
    converter = tf.lite.TFLiteConverter.from_saved_model(signature.path, signature_keys=[signature.name])
    converter.optimizations = optimizations
    with quiet.conversion():
        try:
            content = converter.convert()
        except Exception as error:
            # The converter's own class of error is private, and names what is missing in its text alone.
            lacking = re.findall(r"^(?:TF Select|Custom) ops: (.*)$", str(error), re.MULTILINE)
            if not lacking:
                raise
            raise ValueError(f"TFLite has no {', '.join(lacking)}, which {signature.name!r} uses") from error
    atomic_write(path, content)


class TFLiteModel:
    """A TFLite file in its interpreter on the CPU: {name: array} to {name: array}.

    Args:
      path: of the file.
      threads: how many threads; None for all cores.
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
        # The runner of a signature would prepare the whole graph again for every call.
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
