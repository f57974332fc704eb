"""Checkpoints of TensorFlow 1, in which Google publishes BERT and ALBERT."""

import re

import numpy as np
import tensorflow as tf

from official.files.layout import OBJECT_GRAPH

OPTIMIZER = re.compile(r"(^|/)(adam_[mv]|lamb_[mv]|Adam(_1)?|Momentum)$")


class TensorFlowCheckpoint:
    """Variables in a checkpoint of TensorFlow 1, of which one at a time is read.

    Args:
      prefix: a pathlib.Path, such as bert_model.ckpt for bert_model.ckpt.index and bert_model.ckpt.data-00000-of-00001.

    Attributes:
      form: "tensorflow".
      shapes: {variable: tuple}.
      files: {variable: prefix}.
      quantized: empty.
      unneeded: {variable: reason}, of those of the optimizer.

    Raises:
      ValueError: a checkpoint that cannot be read, or one of TensorFlow 2.
    """

    form = "tensorflow"

    def __init__(self, prefix):
        self._prefix, self._reader = prefix, _open(prefix)
        if self._reader.has_tensor(OBJECT_GRAPH):
            raise ValueError(
                f"{prefix} is a checkpoint of TensorFlow 2; it must be of TensorFlow 1, as Google's of BERT and ALBERT"
            )
        self.shapes = {name: tuple(shape) for name, shape in self._reader.get_variable_to_shape_map().items()}
        self.files, self.quantized = dict.fromkeys(self.shapes, prefix), set()
        self.unneeded = {name: "of the optimizer" for name in self.shapes if OPTIMIZER.search(name)}
        self.unneeded |= {name: "counts training steps" for name in self.shapes if name == "global_step"}

    def read(self, name):
        """A variable as float32; one of integers as they are.

        Raises:
          ValueError: names the checkpoint and the variable.
        """
        try:
            value = np.asarray(self._reader.get_tensor(name))
        except (tf.errors.OpError, RuntimeError, IndexError, ValueError) as error:
            raise ValueError(f"{self._prefix}: {name!r} cannot be read: {error}") from error
        if self._reader.get_variable_to_dtype_map()[name].is_floating:
            return value.astype(np.float32, copy=False)
        if value.dtype.kind not in "iub":
            raise ValueError(f"{self._prefix}: {name!r} has the type {value.dtype}; it must be of floats or integers")
        return value


def is_tensorflow_1(prefix):
    """Whether a checkpoint can be read and has no object graph, as those of TensorFlow 2 have; of its prefix, a pathlib.Path."""
    try:
        return not _open(prefix).has_tensor(OBJECT_GRAPH)
    except ValueError:
        return False


def _open(prefix):
    try:
        return tf.train.load_checkpoint(str(prefix))
    except (tf.errors.OpError, RuntimeError, IndexError, ValueError) as error:
        raise ValueError(f"{prefix} cannot be read: {error}") from error
