"""What is exported of a trained model: all of it, or a part such as its encoder, as signatures and as a reusable module."""

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf


class Module(NamedTuple):
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


class Part(NamedTuple):
    """A part of a trained model, before it gets the trained weights.

    Attributes:
      kind: what it is, in words: "image classification".
      model: a fresh Keras model that takes all weights of the trained one, in its order, which endpoints and module use; None
        where there are none. An answer of it must not depend on what else is in the batch.
      endpoints: {name: (function, list of its arguments' tf.TensorSpecs)} as of official.task.Task.endpoints.
      module: a Module.
      resources: tf.Modules with what endpoints and module use besides the model's variables.
      assets: {file name: path} of files to carry along.
      class_names: list of str, where it has classes.
      settings: {setting: value} of the recipe's `model` that are others here than in training.
    """

    kind: str
    model: Any
    endpoints: dict
    module: Module
    resources: Sequence = ()
    assets: Mapping = types.MappingProxyType({})
    class_names: Sequence = ()
    settings: Mapping = types.MappingProxyType({})


def keras_module(model):
    """The Module of a Keras model.

    Called, it returns a dict: what the model gives, where that is no dict as "default", and `balance_loss`, a float32 scalar:
    the sum of all that its layers add to the loss in training, such as the balance terms of experts with their weight; outside
    training it is 0. A SavedModel cannot give its caller's model such losses in another way.
    """

    def call(inputs, training=False):
        outputs = model(inputs, training=training)
        added = [tf.cast(loss, tf.float32) for loss in model.losses] if training else []
        outputs = outputs if isinstance(outputs, dict) else {"default": outputs}
        return {**outputs, "balance_loss": tf.add_n(added) if added else tf.zeros([])}

    return Module(call, [input_specs(model)], list(model.variables), trains=True)


def model_endpoint(model):
    """(function, list of one spec) of a Keras model's call outside training, for an endpoint.

    Sizes are dynamic where the model's are. Of a model that takes a dict, the function takes one too.
    """

    def call(inputs):
        return model(inputs, training=False)

    return call, [input_specs(model)]


def input_specs(model):
    """What a Keras model takes, a tf.TensorSpec or a dict of them."""

    def spec(name, tensor):
        return tf.TensorSpec(tensor.shape, tensor.dtype, name=name)

    if isinstance(model.input, dict):
        return {name: spec(name, tensor) for name, tensor in model.input.items()}
    return spec(model.input_names[0], model.input)
