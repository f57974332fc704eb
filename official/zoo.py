"""What all zoos of models share: refusals of unknown names, values from NumPy, and layers that Keras finds by name."""

import difflib
import importlib
import importlib.abc
import importlib.util
import sys

import numpy as np

# What timm, KerasHub and Hugging Face call settings, and what they are called here.
NAMES_ELSEWHERE = {
    "num_classes": "classes",
    "num_labels": "classes",
    "img_size": "image_size",
    "in_chans": "channels",
    "num_channels": "channels",
    "global_pool": "pool",
    "pooling": "pool",
    "drop_rate": "dropout",
    "dropout_rate": "dropout",
    "hidden_dropout_prob": "dropout",
    "attn_drop_rate": "attention_dropout",
    "attention_probs_dropout_prob": "attention_dropout",
    "drop_path_rate": "drop_path",
    "embed_dim": "width",
    "hidden_size": "width",
    "hidden_dim": "width",
    "num_layers": "depth",
    "num_hidden_layers": "depth",
    "num_heads": "heads",
    "num_attention_heads": "heads",
    "mlp_dim": "ffn_dim",
    "intermediate_dim": "ffn_dim",
    "intermediate_size": "ffn_dim",
    "hidden_act": "activation",
    "act_layer": "activation",
    "layer_norm_eps": "norm_epsilon",
    "layer_norm_epsilon": "norm_epsilon",
    "vocabulary_size": "vocab_size",
    "max_position_embeddings": "max_length",
    "max_sequence_length": "max_length",
    "embedding_size": "embedding_dim",
    "num_segments": "type_vocab_size",
    "num_local_experts": "num_experts",
    "num_experts_per_tok": "top_k",
    "router_aux_loss_coef": "balance_weight",
    "router_z_loss_coef": "z_loss_weight",
    "router_jitter_noise": "jitter",
}


def check_model(name, models):
    """Refuses the name of a model that is not among `models`.

    Raises:
      ValueError: naming the nearest one, and all.
    """
    if name not in models:
        raise ValueError(f"name={name!r} is not a model{did_you_mean(name, models)}; known: {', '.join(models)}")


def override(name, settings, overrides):
    """Settings with some of them changed. NumPy's integers, floats and bools become Python's.

    Args:
      name: of what they belong to: a model, or a section of a recipe.
      settings: dict of all of them.
      overrides: dict of some of them.

    Raises:
      ValueError: for the first override that is not among the settings, naming what it is called here or the nearest one, and
        all.
    """
    for key, value in overrides.items():
        if key not in settings:
            here = NAMES_ELSEWHERE.get(key)
            hint = f": it is called {here} here" if here in settings else did_you_mean(key, settings)
            raise ValueError(f"{key}={value!r} is not a setting of {name}{hint}; known: {', '.join(sorted(settings))}")
    return {**settings, **{key: _plain(value) for key, value in overrides.items()}}


def _plain(value):
    if type(value) in (list, tuple):
        return type(value)(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value


def check_model_name(name):
    """Refuses anything but None and text as the name of a Keras model.

    Raises:
      ValueError: naming the value.
    """
    if name is not None and not (isinstance(name, str) and name):
        raise ValueError(f"name={name!r} is not allowed: it must be a name for the Keras model, a string that is not empty")


def did_you_mean(word, known):
    """Text such as " (did you mean depth?)", with the nearest of the known words; "" where none is near."""
    near = difflib.get_close_matches(str(word), list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


# Registered names of the optimizers, and their module.
OPTIMIZERS = {f"widenet>{name}": "official.training.optimizers" for name in ("LAMB", "AdamW", "SGD", "LinearDecay")}


def import_with_tensorflow(*modules, on_demand):
    """Imports modules as soon as TensorFlow is imported: now, if it is already.

    Keras finds the layers of a saved model by their registered names. So the modules that register them must be imported before
    tf.keras.models.load_model is called, but names of models can be listed without waiting for TensorFlow.

    Args:
      *modules: full names. Their own imports must not need a package of ours whose import is unfinished when it imports
        TensorFlow.
      on_demand: {registered name of a class, such as "widenet>LAMB": its module}, which is imported only when Keras loads an
        object of the class.
    """
    if "tensorflow" in sys.modules:
        _import_all(modules, on_demand)
    else:
        sys.meta_path.insert(0, _Waiting(modules, on_demand))


def _import_all(modules, on_demand):
    for module in modules:
        importlib.import_module(module)
    objects = importlib.import_module("tensorflow").keras.saving.get_custom_objects()
    for registered, module in on_demand.items():
        objects.setdefault(registered, _OnDemand(module, registered.partition(">")[2]))


class _OnDemand:
    """Stands for a class of a module that is not imported yet."""

    def __init__(self, module, name):
        self.module, self.name = module, name

    def from_config(self, config):
        return getattr(importlib.import_module(self.module), self.name).from_config(config)


class _Waiting(importlib.abc.MetaPathFinder):
    """Finds TensorFlow and Keras as the other finders do, and adds imports to theirs."""

    def __init__(self, *imports):
        self.imports = imports
        self.is_asking = False  # the other finders

    def find_spec(self, name, path=None, target=None):
        # `import keras` and `import tf_keras` import TensorFlow before they can be used: the end of the first one is waited for.
        if name not in ("tensorflow", "keras", "tf_keras") or self.is_asking:
            return None
        self.is_asking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.is_asking = False
        if spec is not None:
            execute = spec.loader.exec_module

            def execute_and_import(module):
                is_first = self in sys.meta_path
                if is_first:
                    sys.meta_path.remove(self)
                execute(module)
                if is_first:
                    _import_all(*self.imports)

            spec.loader.exec_module = execute_and_import
        return spec
