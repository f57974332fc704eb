"""What is exported of a trained model: all of it, or a part such as its encoder, as signatures and as a reusable module."""

import copy
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf


class CallableSpec(NamedTuple):
    """What a SavedModel does when it is called itself, as tensorflow_hub.KerasLayer does.

    Attributes:
      call: function of the inputs and, where `trains`, of `training`, a bool, TensorFlow operations.
      inputs: a list of nests of tf.TensorSpec, one for each form of inputs that it takes.
      variables: list of the tf.Variables behind it.
      trains: whether it can be trained on.
    """

    call: Callable
    inputs: list
    variables: list
    trains: bool


class ExportSpec(NamedTuple):
    """A part of a trained model, before it gets the trained weights.

    Attributes:
      kind: what it is, in words: "image classification".
      model: a fresh Keras model that takes all weights of the trained one, in its order, which endpoints and module use; None
        where there are none. An answer of it must not depend on what else is in the batch.
      endpoints: {name: (function, list of its arguments' tf.TensorSpecs)} as of official.task.Task.endpoints.
      module: a CallableSpec.
      resources: tf.Modules with what endpoints and module use besides the model's variables.
      assets: {file name: path} of files to carry along.
      class_names: list of str, where it has classes.
      settings: {setting: value} of the recipe's `model` that are others here than in training.
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
    """A Keras model outside training, whose graph is made once for all functions that call it.

    Stands where such a function is given a model: it can be called, and has `input` and `input_names`.

    Args:
      model: a built Keras model.
      output: key of the one output that a call gives; None for all.
    """

    def __init__(self, model, output=None):
        self.model = model
        self.input, self.input_names = model.input, model.input_names
        self._output = output
        self._function = tf.function(lambda inputs: model(inputs, training=False), input_signature=[input_specs(model)])

    def select_output(self, output):
        """The same graph with only that output."""
        other = copy.copy(self)
        other._output = output
        return other

    def __call__(self, inputs, training=False):
        if training:
            raise ValueError("training=True is not allowed: it must be called outside training")
        outputs = self._function(inputs)
        return outputs if self._output is None else outputs[self._output]


def keras_module(traced):
    """The CallableSpec of a TracedModel.

    Called, it returns a dict: what the model gives, where that is no dict as "default", and `balance_loss`, a float32 scalar:
    the sum of all that its layers add to the loss in training, such as the balance terms of experts with their weight; outside
    training it is 0. A SavedModel cannot give its caller's model such losses in another way.
    """
    model = traced.model

    def call(inputs, training=False):
        outputs = model(inputs, training=True) if training else traced(inputs)
        added = [tf.cast(loss, tf.float32) for loss in model.losses] if training else []
        outputs = outputs if isinstance(outputs, dict) else {"default": outputs}
        return {**outputs, "balance_loss": tf.add_n(added) if added else tf.zeros([])}

    return CallableSpec(call, [input_specs(model)], list(model.variables), trains=True)


def model_endpoint(model):
    """(function, list of one spec) of the call outside training of a Keras model or a TracedModel, for an endpoint.

    Sizes are dynamic where the model's are. Of a model that takes a dict, the function takes one too.
    """

    def call(inputs):
        return model(inputs, training=False)

    return call, [input_specs(model)]


def input_specs(model):
    """What a Keras model or a TracedModel takes, a tf.TensorSpec or a dict of them."""

    def spec(name, tensor):
        return tf.TensorSpec(tensor.shape, tensor.dtype, name=name)

    if isinstance(model.input, dict):
        return {name: spec(name, tensor) for name, tensor in model.input.items()}
    return spec(model.input_names[0], model.input)
