"""What a task hands to the exporter: a trained model, or a part such as its encoder, as signatures and as a reusable module."""

import copy
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf


class CallableSpec(NamedTuple):
    """What a SavedModel does when it is called, as tensorflow_hub.KerasLayer calls it.

    Attributes:
      call: function of the inputs and, if `trains`, of `training`, a bool; TensorFlow operations.
      inputs: list of nests of tf.TensorSpec, one for each form of inputs that it takes.
      variables: list of the tf.Variables that it uses.
      trains: whether it can be trained further.
    """

    call: Callable
    inputs: list
    variables: list
    trains: bool


class ExportSpec(NamedTuple):
    """What is exported of a trained model, before it gets the trained weights.

    Attributes:
      kind: what it does, in words: "image classification".
      model: a fresh Keras model that takes all weights of the trained one, in the same order, and that endpoints and module use;
        None for an export without weights. Its output for an example must not depend on the rest of the batch.
      endpoints: {name: (function, list of its arguments' tf.TensorSpecs)} as of official.task.Task.endpoints.
      module: a CallableSpec.
      resources: tf.Modules that endpoints and module use besides the model's variables.
      assets: {file name: path} of files to include.
      class_names: list of str; empty without classes.
      settings: {setting: value} of the recipe's `model` that differ from those in training.
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
    """A Keras model in inference, whose graph is traced once for all functions that call it.

    Such functions may take it in place of a model: it can be called, and has `input` and `input_names`.

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
        """The same graph, of which a call returns only one output."""
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

    A call returns a dict: the model's outputs, under "default" if they are not a dict, and `balance_loss`, a float32 scalar. That
    is the sum of the losses that layers add in training, such as the weighted balance terms of experts, and 0 in inference. A
    SavedModel has no other way to pass such losses to its caller.
    """
    model = traced.model

    def call(inputs, training=False):
        outputs = model(inputs, training=True) if training else traced(inputs)
        added = [tf.cast(loss, tf.float32) for loss in model.losses] if training else []
        outputs = outputs if isinstance(outputs, dict) else {"default": outputs}
        return {**outputs, "balance_loss": tf.add_n(added) if added else tf.zeros([])}

    return CallableSpec(call, [input_specs(model)], list(model.variables), trains=True)


def model_endpoint(model):
    """(function, list of one spec) of the inference of a Keras model or a TracedModel, for an endpoint.

    Sizes are dynamic where the model's are. The function takes a dict if the model does.
    """

    def call(inputs):
        return model(inputs, training=False)

    return call, [input_specs(model)]


def input_specs(model):
    """The inputs of a Keras model or a TracedModel: a tf.TensorSpec, or a dict of them."""

    def spec(name, tensor):
        return tf.TensorSpec(tensor.shape, tensor.dtype, name=name)

    if isinstance(model.input, dict):
        return {name: spec(name, tensor) for name, tensor in model.input.items()}
    return spec(model.input_names[0], model.input)
