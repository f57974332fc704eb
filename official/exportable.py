"""What a task hands to the exporter (official.serving.saved_models), in these terms:

ExportSpec: a trained model, or a part of it such as its encoder, with everything that its SavedModel holds.
Endpoint: (function, list of its arguments' tf.TensorSpecs), a way to call the model. It becomes a signature of the SavedModel.
CallableSpec: what calling the loaded SavedModel itself does, which makes it a reusable module for tensorflow_hub.KerasLayer.
TracedModel: stands for the Keras model in endpoints and CallableSpec, so that its graph is in the SavedModel once.
"""

import copy
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf


class CallableSpec(NamedTuple):
    """What calling a loaded SavedModel does.

    Attributes:
      call: function of the inputs and, if `trains`, of a bool `training`; made of TensorFlow operations.
      inputs: list of nests of tf.TensorSpec, one for each form of inputs that it takes.
      variables: list of the tf.Variables that it uses.
      trains: whether it can be trained further.
    """

    call: Callable
    inputs: list
    variables: list
    trains: bool


class ExportSpec(NamedTuple):
    """A trained model, or a part of it, before it gets the trained weights.

    Attributes:
      kind: what it does, for people: "image classification".
      model: a fresh Keras model with all weights of the trained one, in the same order, which endpoints and module use; None if
        they use no weights. The output for an example must not depend on the rest of its batch.
      endpoints: {name: endpoint}, as of official.task.Task.endpoints. The first is the default signature.
      module: the CallableSpec.
      resources: tf.Modules with what endpoints and module use besides the model's variables, such as lookup tables.
      assets: {file name: path} of files to copy into the SavedModel.
      class_names: list of str, if it has classes.
      settings: {setting: value} of the recipe's `model` that differ from training.
    """

    kind: str
    model: Any
    endpoints: dict
    module: CallableSpec
    resources: Sequence = ()
    assets: Mapping = types.MappingProxyType({})
    class_names: Sequence = ()
    settings: Mapping = types.MappingProxyType({})


class TracedModel:
    """A Keras model in inference, traced once for all functions that call it.

    Functions can use it instead of the model: it can be called, and has `input` and `input_names`.

    Args:
      model: a built Keras model.
      output: key of the only output that a call returns; None for all.
    """

    def __init__(self, model, output=None):
        self.model = model
        self.input, self.input_names = model.input, model.input_names
        self._output = output
        self._function = tf.function(lambda inputs: model(inputs, training=False), input_signature=[input_specs(model)])

    def select_output(self, output):
        """A TracedModel of the same graph that returns only that output."""
        other = copy.copy(self)
        other._output = output
        return other

    def __call__(self, inputs, training=False):
        if training:
            raise ValueError("training=True is not allowed: it must be False")
        outputs = self._function(inputs)
        return outputs if self._output is None else outputs[self._output]


def keras_module(traced):
    """The CallableSpec of a TracedModel.

    It returns a dict: the model's outputs (a single output as "default"), and `balance_loss`, a float32 scalar. That is the sum
    of the losses that layers add in training, such as the weighted balance losses of experts, and 0 in inference. It is an output
    because losses that a SavedModel's layers add do not reach the model that it is used in.
    """
    model = traced.model

    def call(inputs, training=False):
        outputs = model(inputs, training=True) if training else traced(inputs)
        added = [tf.cast(loss, tf.float32) for loss in model.losses] if training else []
        outputs = outputs if isinstance(outputs, dict) else {"default": outputs}
        return {**outputs, "balance_loss": tf.add_n(added) if added else tf.zeros([])}

    return CallableSpec(call, [input_specs(model)], list(model.variables), trains=True)


def model_endpoint(model):
    """The endpoint that calls a Keras model or a TracedModel in inference.

    Its inputs are the model's: one tensor or a dict, with the same dynamic sizes.
    """

    def call(inputs):
        return model(inputs, training=False)

    return call, [input_specs(model)]


def input_specs(model):
    """The inputs of a Keras model or a TracedModel: a tf.TensorSpec or a dict of them."""

    def spec(name, tensor):
        return tf.TensorSpec(tensor.shape, tensor.dtype, name=name)

    if isinstance(model.input, dict):
        return {name: spec(name, tensor) for name, tensor in model.input.items()}
    return spec(model.input_names[0], model.input)
