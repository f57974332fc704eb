"""What every layer of this package shares: a config that is its constructor's arguments, and refusal of unknown ones."""

import inspect

import tensorflow as tf

from widenet.checks import check_known, refuse

register = tf.keras.saving.register_keras_serializable(package="widenet")

KERAS_SETTINGS = ("name", "dtype", "trainable")


class Layer(tf.keras.layers.Layer):
    """A Keras layer that keeps every constructor argument as an attribute of the same name.

    `get_config` reads them back from there, so a subclass writes neither it nor `from_config`.

    Raises:
      ValueError: a keyword that is neither a setting of the layer nor one of Keras's.
    """

    def __init__(self, **kwargs):
        own = tuple(self.settings())
        check_known(kwargs, own + KERAS_SETTINGS, f"setting of {type(self).__name__}")
        super().__init__(**kwargs)
        self.supports_masking = True

    @classmethod
    def settings(cls):
        """The names of the constructor's own arguments."""
        parameters = inspect.signature(cls.__init__).parameters.values()
        return [p.name for p in parameters if p.name != "self" and p.kind is not p.VAR_KEYWORD]

    def get_config(self):
        return {**super().get_config(), **{name: _plain(getattr(self, name)) for name in self.settings()}}

    def build_child(self, child, input_shape):
        """Builds a sublayer under its own name, so that every weight's name is the path to it."""
        if not child.built:
            with tf.name_scope(child.name):
                child.build(input_shape)
                child.built = True


def _plain(setting):
    """A setting as JSON has it."""
    if isinstance(setting, tf.keras.initializers.Initializer):
        return tf.keras.initializers.serialize(setting)
    return setting.get_config() if hasattr(setting, "get_config") else setting


def check_initializer(setting, initializer):
    """The Keras initializer given by name, config or instance.

    Raises:
      ValueError: none or an unknown one, or one with a seed, which would make all experts and all blocks start equal.
    """
    try:
        instance = tf.keras.initializers.get(initializer)
    except ValueError:
        instance = None
    if not isinstance(instance, tf.keras.initializers.Initializer):
        refuse(setting, initializer, 'a Keras initializer, such as "glorot_uniform"')
    if instance.get_config().get("seed") is not None:
        refuse(setting, _plain(instance), "without a seed, or all experts would start equal (use tf.keras.utils.set_random_seed)")
    return instance


def new_initializer(initializer):
    """A new instance for each weight: an unseeded Keras initializer gives the same values every time it is called."""
    return type(initializer).from_config(initializer.get_config())


def at_least_float32(dtype):
    """float64 stays, everything smaller is computed in float32."""
    return "float64" if tf.as_dtype(dtype) == tf.float64 else "float32"


def compute_dtype_of(dtype):
    """The compute dtype of a Keras layer given this `dtype`: a policy, its config, a dtype, or None for the global policy."""
    return tf.keras.layers.Layer(dtype=dtype).compute_dtype
