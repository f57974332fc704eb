"""What every layer of this package shares: a config made of its constructor's arguments, and refusal of unknown arguments."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from widenet.checks import check_count, check_known, refuse
from widenet.fast_path import CONTEXT

register = tf.keras.saving.register_keras_serializable(package="widenet")

KERAS_SETTINGS = ("name", "dtype", "trainable")

# Classes of Keras that its files name by the module that defines them, since they are not part of its public names.
_UNEXPORTED = {
    "engine.functional": ("Functional",),
    "layers.core.tf_op_layer": ("TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceMethod", "InstanceProperty"),
}


def _accept_newer_files():
    """Lets Keras 2.15, of the reference stack, load models around our layers that tf-keras of the modern stack saved.

    tf-keras calls its modules "tf_keras.src...", which on the reference stack is a second Keras that TensorFlow Hub brings along,
    and its input layers have a setting `optional`. It reads files of Keras 2.15 as they are.
    """
    input_layer = tf.keras.layers.InputLayer
    if not input_layer.__module__.startswith("keras.") or "optional" in inspect.signature(input_layer.__init__).parameters:
        return
    for module, names in _UNEXPORTED.items():
        for name in names:
            tf.keras.saving.get_custom_objects().setdefault(name, getattr(importlib.import_module(f"keras.src.{module}"), name))
    from_config = input_layer.from_config.__func__

    def from_newer_config(cls, config):
        return from_config(cls, config if config.get("optional") else {k: v for k, v in config.items() if k != "optional"})

    input_layer.from_config = classmethod(from_newer_config)


_accept_newer_files()

# Types of settings in the layers' signatures.
Initializer = str | dict[str, Any] | tf.keras.initializers.Initializer
Regularizer = str | dict[str, Any] | tf.keras.regularizers.Regularizer | None
Activation = str | Callable[[tf.Tensor], tf.Tensor]


class Setting(NamedTuple):
    """A setting in a table that several layers share.

    Attributes:
      default: its value where none is given.
      check: function of the setting's name and value that raises a ValueError if the value is wrong.
      meaning: one line for documentation.
      at_most: the setting of the same table that it may not exceed, or "".
      stage: where `function` applies, or "" if the layers read the setting themselves; widenet.routing defines the stages.
      function: what the setting switches on.
    """

    default: Any
    check: Callable
    meaning: str
    at_most: str = ""
    stage: str = ""
    function: Callable | None = None


class Layer(tf.keras.layers.Layer):
    """A Keras layer that keeps every constructor argument as an attribute of the same name.

    `get_config` reads the attributes, so a subclass writes neither it nor `from_config`. The settings in its `table` are keyword
    arguments too: a subclass passes those of its own signature on to this constructor, which checks and keeps all of them.

    Attributes:
      table: {name: Setting}.

    Raises:
      ValueError: a keyword that is neither a setting of the layer nor one of Keras's, or a wrong value of a setting in `table`.
    """

    table: dict = {}  # noqa: RUF012  Keras would track one on the instance

    def __init__(self, **kwargs: Any):
        check_known(kwargs, (*self.settings(), *KERAS_SETTINGS), f"setting of {type(self).__name__}")
        settings = {name: kwargs.pop(name, setting.default) for name, setting in self.table.items()}
        super().__init__(**kwargs)
        self.supports_masking = True
        for name, value in settings.items():
            bound = self.table[name].at_most
            if bound:
                check_count(name, value, maximum=settings[bound], why=f" ({bound}={settings[bound]})")
            self.table[name].check(name, value)
            setattr(self, name, value)

    @tf.autograph.experimental.do_not_convert  # no layer branches on tensors: conversion would only take time
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As of any Keras layer. Where `call` takes a `mask`, it may be named `attention_mask`, as by Hugging Face.

        AutoGraph leaves `call` as it is: a subclass that branches or loops on tensors uses tf.cond and tf.while_loop.

        Raises:
          ValueError: both names at once.
        """
        if "attention_mask" in kwargs and "mask" in inspect.signature(self.call).parameters:
            mask = kwargs.pop("attention_mask")
            if mask is not None and kwargs.get("mask") is not None:
                raise ValueError("attention_mask and mask are two names of one argument: only one of them may be given")
            if mask is not None:
                kwargs["mask"] = mask
        return super().__call__(*args, **kwargs)

    def add_loss(self, losses, **kwargs):
        """As of any Keras layer."""
        if CONTEXT.losses is None:
            super().add_loss(losses, **kwargs)
        else:
            CONTEXT.losses.append((self, losses))

    def _clear_losses(self):
        # Keras's step of an outermost call, as those of a recomputed part are: its losses are collected.
        if CONTEXT.losses is None:
            super()._clear_losses()

    @classmethod
    def settings(cls) -> list[str]:
        """The names of the constructor's own arguments: those of its signature and those of `table`."""
        parameters = inspect.signature(cls.__init__).parameters.values()
        own = [p.name for p in parameters if p.name != "self" and p.kind is not p.VAR_KEYWORD]
        return list(dict.fromkeys([*own, *cls.table]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **{name: _plain(getattr(self, name), name) for name in self.settings()}}

    def build_child(self, child, input_shape):
        """Builds a sublayer in a name scope of its name, so that every weight's name is the path to it."""
        if not child.built:
            with tf.name_scope(child.name):
                child.build(input_shape)
                child.built = True


def _plain(setting, name=""):
    """A setting as a JSON value. Of a function that is the name under which it is registered with Keras.

    Raises:
      ValueError: a function that is not registered.
    """
    if isinstance(setting, tf.keras.initializers.Initializer):
        return tf.keras.initializers.serialize(setting)
    if isinstance(setting, tf.keras.regularizers.Regularizer):
        return tf.keras.regularizers.serialize(setting)
    if callable(setting):
        registered = tf.keras.saving.get_registered_name(setting)
        if tf.keras.saving.get_registered_object(registered) is not setting:
            how = "registered with tf.keras.saving.register_keras_serializable, or given by its name"
            raise ValueError(f"{name}={setting!r} cannot be saved: it must be {how}")
        return registered
    return setting.get_config() if hasattr(setting, "get_config") else setting


def real_tokens(mask, x=None):
    """A mask as the layers compute with it.

    Args:
      mask: bool [batch, length], or numbers, False or 0 where a token is padding; or None.
      x: [batch, length, width], the tokens; None to leave the rank unchecked.

    Returns:
      bool [batch, length]; None if all tokens are real.

    Raises:
      ValueError: a mask of another rank, such as one from tokens to tokens.
    """
    if mask is None:
        return None
    mask = tf.cast(mask, tf.bool)
    if x is not None and mask.shape.rank not in (None, x.shape.rank - 1):
        refuse("mask", mask.shape.as_list(), f"[batch, length] for tokens {x.shape.as_list()}, False or 0 where one is padding")
    return mask


def check_initializer(setting, initializer):
    """The Keras initializer given by name, config or instance.

    Raises:
      ValueError: no or an unknown initializer, or one with a seed, which would make all experts and all blocks start equal.
    """
    instance = _instance_of(tf.keras.initializers, initializer)
    if not isinstance(instance, tf.keras.initializers.Initializer):
        refuse(setting, initializer, 'a Keras initializer, such as "glorot_uniform"')
    if instance.get_config().get("seed") is not None:
        refuse(setting, _plain(instance), "without a seed, or all experts would start equal (use tf.keras.utils.set_random_seed)")
    return instance


def check_regularizer(setting, regularizer):
    """The Keras regularizer given by name, config or instance, or None where that is given.

    Raises:
      ValueError: anything else, or an unknown regularizer.
    """
    if regularizer is None:
        return None
    instance = _instance_of(tf.keras.regularizers, regularizer)
    if not isinstance(instance, tf.keras.regularizers.Regularizer):
        refuse(setting, regularizer, 'a Keras regularizer, such as "l2" or tf.keras.regularizers.L2(1e-4), or None')
    return instance


def _instance_of(keras_module, given):
    """What keras.initializers or keras.regularizers makes of a name, a config or an instance; None if it knows none such."""
    if hasattr(given, "to_dict"):  # a config that was read as part of a recipe, an ml_collections.ConfigDict
        given = given.to_dict()
    try:
        return keras_module.get(given)
    except (ValueError, TypeError):
        return None


def new_initializer(initializer):
    """A new instance for each weight: one unseeded Keras initializer gives the same values every time it is called."""
    return type(initializer).from_config(initializer.get_config())


def at_least_float32(dtype):
    """ "float64" for float64, and "float32" for everything smaller."""
    return "float64" if tf.as_dtype(dtype) == tf.float64 else "float32"


def compute_dtype_of(dtype):
    """The compute dtype of a Keras layer given this `dtype`: a policy, its config, a dtype, or None for the global policy."""
    return tf.keras.layers.Layer(dtype=dtype).compute_dtype
