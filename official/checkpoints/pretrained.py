"""Models that start from saved ones: from their weights, or from their settings and weights."""

import functools
import os
import pathlib
import re
import tempfile
from collections.abc import Callable
from typing import NamedTuple

import h5py
import numpy as np
import tensorflow as tf

from official.checkpoints.keras_files import check_keras
from official.checkpoints.weights import locate, plain_name, read_weights
from official.conversion.source import is_source, open_source
from official.files.checked_json import read_json
from official.files.summary import read_facts
from official.files.tables import text_table
from official.zoo import override

KERAS_METADATA = "keras_metadata.pb"  # in a SavedModel that a Keras model's `save` wrote


class Zoo(NamedTuple):
    """What a package with models by name has for starting from saved ones.

    Attributes:
      settings: dict, all settings of any of its models.
      build: function of `name` and settings, all by keyword, that returns a model.
      settings_of: function of a Keras model that returns the settings that `build` makes an equal one of; raises a ValueError in
        words that complete "... is not allowed: ".
      settings_in: function of {full name: array}, the config.json beside them, a dict, and the kind of an exported model ("" for
        a checkpoint) that returns the settings that these tell better than the `model` of the config.
      transfer: function of a model, {full name: array} and the settings of the model that these are of (None if not known) that
        assigns what fits and returns rows of strings, or raises such a ValueError.
      convert: function of an official.conversion.source.Source, a model that was made elsewhere, that returns a Converted or
        raises a ValueError; None for a zoo that takes none.
    """

    settings: dict
    build: Callable
    settings_of: Callable
    settings_in: Callable
    transfer: Callable
    convert: Callable | None = None


class Saved(NamedTuple):
    """A saved model, read.

    Attributes:
      given: the path or handle that led to it, a string.
      name: of the Keras model, a string.
      settings: dict of the settings that it was built with; None if it is saved without them.
      weights: {full name: array}.
    """

    given: str
    name: str
    settings: dict | None
    weights: dict


def load_pretrained(model, path, transfer, setting="path"):
    """Assigns the weights of a saved model that fit to another model.

    Args:
      model: a built model.
      path: of the saved model, or its handle (official.checkpoints.weights.locate).
      transfer: function of the model and {full name: array} that assigns what fits and returns rows of strings, or raises a
        ValueError in words that complete "... is not allowed: ".
      setting: what the user calls the path, for messages.

    Returns:
      The rows of `transfer`; official.files.tables.text_table makes a text of them.

    Raises:
      ValueError: a path without weights, or with weights of another kind of model.
      OSError: a repository of handles that cannot be read.
    """
    found = locate(path, setting)
    return _transfer(model, read_weights(found, setting), transfer, f"{setting}={found.given!r}")


def create_pretrained(zoo, name, settings, path):
    """A new model that starts from the weights of a saved one; prints the table of what became of them.

    Args:
      zoo: a Zoo.
      name, settings: of the new model. It is not built for a wrong path.
      path: as of `read_saved`, or a file .h5 that a model's `save_weights` wrote; a .weights.h5 must be of the same layers.

    Raises:
      ValueError, OSError: as `read_saved`; or no weight fits, naming the settings that differ.
    """
    setting = "pretrained"
    if _has_weights_alone(path, setting):
        model = zoo.build(name=name, **settings)
        saved = Saved(os.fspath(path), "", None, _read_weights_file(model, path, setting))
    else:
        saved = read_saved(zoo, path, setting, weights_suffice=True)
        model = zoo.build(name=name, **settings)
    given = f"{setting}={saved.given!r}"
    transfer = functools.partial(zoo.transfer, settings=saved.settings)
    rows = _transfer(model, saved.weights, transfer, given, _differences(saved.settings or {}, settings))
    print(f"Starting from {saved.given}:\n{text_table(rows)}")
    return model


def load_saved(zoo, saved, name, changes):
    """The model of a Saved, some of its settings changed.

    Prints the table of what became of the weights unless all of them are taken as they are.

    Args:
      zoo, saved: a Zoo and a Saved with settings.
      name: of the new Keras model; None for that of the saved one.
      changes: dict of settings.

    Raises:
      ValueError: an unknown setting, a value that is not allowed, or no weight fits.
    """
    settings = override(saved.name, saved.settings, changes)
    model = zoo.build(name=name or saved.name, **settings)
    transfer = functools.partial(zoo.transfer, settings=saved.settings)
    rows = _transfer(model, saved.weights, transfer, f"source={saved.given!r}", _differences(saved.settings, settings))
    if any(row.result != "loaded" or row.reason for row in rows):
        print(f"Starting from {saved.given}:\n{text_table(rows)}")
    return model


def read_saved(zoo, path, setting, weights_suffice=False):
    """Reads the settings and the weights of a saved model.

    Only the settings of the model, those that the zoo knows, are read of the config of a run.

    Args:
      zoo: a Zoo.
      path: as of official.checkpoints.weights.locate; a file that a model of the zoo was saved to by Keras, .keras or .h5; or
        a model that was made elsewhere, as of official.conversion.source.open_source, if the zoo converts those.
      setting: what the user calls the path, for messages.
      weights_suffice: whether a model that is saved without its settings is allowed.

    Returns:
      A Saved.

    Raises:
      ValueError: no model there, a model without settings or with unknown ones, or as official.checkpoints.weights.read_weights,
        official.conversion.source.open_source and `zoo.convert`.
      OSError: as official.checkpoints.weights.locate.
    """
    if zoo.convert and is_source(path):
        return _convert(zoo, path, setting)
    if _has_weights_alone(path, setting):
        raise ValueError(_without_settings(os.fspath(path), setting, "this file has weights alone"))
    if _ends_with(path, ".keras") or _ends_with(path, ".h5"):
        _check_file(path, setting)
        return _read_keras(zoo, path, setting)
    found = _locate_for(zoo, path, setting)
    is_from_keras = found.is_saved_model and not found.config_file.is_file() and (found.path / KERAS_METADATA).is_file()
    if is_from_keras and not weights_suffice:
        return _read_keras(zoo, found.path, setting)
    weights = read_weights(found, setting)
    if not weights:
        raise ValueError(f"{setting}={found.given!r} is not allowed: it must have weights, which a preprocessor has not")
    try:
        name, settings, config = _read_config(found.config_file, zoo.settings)
    except ValueError as error:
        if weights_suffice:
            return Saved(found.given, "", None, weights)
        raise ValueError(_without_settings(found.given, setting, error)) from error
    return Saved(found.given, name, {**settings, **zoo.settings_in(weights, config, _kind(found))}, weights)


def _locate_for(zoo, path, setting):
    """`locate`, with a hint for users who know Hugging Face's `from_pretrained`, which downloads a model by its name."""
    try:
        return locate(path, setting)
    except ValueError as error:
        if zoo.convert and isinstance(path, (str, os.PathLike)) and path and not os.path.exists(path):
            raise ValueError(f"{error} (one of Hugging Face must be a folder on this machine)") from error
        raise


def saved_settings(path, setting):
    """The settings of the model in the config of a run, unchecked; {} where there are none. Arguments as of `locate`."""
    try:
        return read_json(locate(path, setting).config_file, keys={"model": dict})["model"]
    except (OSError, ValueError):
        return {}


def _read_config(path, settings):
    """The name and all settings of the model in the config.json of a run, and the whole config, a dict."""
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    try:
        config = read_json(path, keys={"name": str, "model": dict})
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is not the config of a run: {error}") from error
    name, of_model = config["name"], config["model"]
    unknown = [key for key in of_model if key not in settings]
    if unknown:
        raise ValueError(f"{path} has settings that no model of this zoo has: {', '.join(unknown)}")
    return name, {**settings, **of_model}, config


def _kind(found):
    """What the exported model at a Located does, as official.exportable.ExportSpec.kind; "" for a checkpoint."""
    return read_facts(found.path).get("kind") or "" if found.is_saved_model else ""


def _convert(zoo, path, setting):
    """The Saved of a model that was made elsewhere; prints what the user should know of how it was read."""
    source = open_source(path, setting)
    converted = zoo.convert(source)
    for note in source.notes:
        print(f"{source.given}: {note}")
    return Saved(source.given, converted.name, converted.settings, converted.weights)


def _read_keras(zoo, path, setting):
    """The Saved of what a Keras model's `save` wrote. Loading keeps no full names of weights: an equal model has them."""
    given = f"{setting}={os.fspath(path)!r}"
    try:
        check_keras(pathlib.Path(path))
        loaded = tf.keras.models.load_model(path, compile=False)
    except Exception as error:  # whatever the parsers and the layers raise for a damaged file
        raise ValueError(f"{given} cannot be read as a Keras model: {error}") from error
    try:
        settings = zoo.settings_of(loaded)
    except ValueError as error:
        raise ValueError(f"{given} is not allowed: {error}") from error
    names = [plain_name(weight.name) for weight in zoo.build(name=loaded.name, **settings).weights]
    return Saved(os.fspath(path), loaded.name, settings, dict(zip(names, loaded.get_weights(), strict=True)))


def _read_weights_file(model, path, setting):
    """{full name: array} of a file that `save_weights` wrote.

    In a .weights.h5 Keras puts a weight by its place in the model and not by its name. The place of each is found by saving
    numbers in place of the model's weights. The weights themselves are kept.
    """
    with h5py.File(path) as file:
        if "layer_names" in file.attrs:  # Keras's older form of .h5, with names
            layers = [file[name] for name in file.attrs["layer_names"]]
            return {plain_name(name): layer[name][()] for layer in layers for name in layer.attrs["weight_names"]}
    values = model.get_weights()
    try:
        with tempfile.TemporaryDirectory() as folder:
            numbered = pathlib.Path(folder, "numbered.weights.h5")
            model.set_weights([np.full(value.shape, number, value.dtype) for number, value in enumerate(values)])
            model.save_weights(numbered)
            numbers = {place: int(array.flat[0]) for place, array in _read_arrays(numbered).items()}
    finally:
        model.set_weights(values)
    arrays = _read_arrays(path)
    # Layers of a kind that the model does not have may be left out, such as a whole model's head for features alone.
    kinds = {_kind_of(place) for place in numbers}
    arrays = {place: array for place, array in arrays.items() if _kind_of(place) in kinds}
    for place in numbers.keys() ^ arrays.keys():
        where = "only in the file" if place in arrays else "not in the file"
        raise ValueError(
            f"{setting}={os.fspath(path)!r} is not allowed: it must be of a model with the same layers; {place} is {where}"
        )
    names = [plain_name(weight.name) for weight in model.weights]
    return {names[number]: arrays[place] for place, number in numbers.items()}


def _has_weights_alone(path, setting):
    """Whether a path is that of a file .h5 without the settings of a model. Raises ValueError for one that cannot be read."""
    if not _ends_with(path, ".h5"):
        return False
    _check_file(path, setting)
    try:
        with h5py.File(path) as file:
            return "model_config" not in file.attrs
    except OSError as error:
        raise ValueError(f"{setting}={os.fspath(path)!r} cannot be read: {error}") from error


def _without_settings(given, setting, reason):
    hint = f"create_model takes the weights alone, as pretrained={given!r}"
    return f"{setting}={given!r} is not allowed: it must be saved with its settings, and {reason} ({hint})"


def _kind_of(place):
    """What Keras calls a layer in a file .weights.h5, by its class alone: "dense" for "layers/dense_1/vars/0"."""
    return re.sub(r"_\d+$", "", place.split("/")[1])


def _read_arrays(path):
    """{place: array} of the weights of layers in a file .weights.h5, which may also hold an optimizer and metrics."""
    arrays = {}

    def add(place, item):
        if isinstance(item, h5py.Dataset) and place.startswith("layers/"):
            arrays[place] = item[()]

    with h5py.File(path) as file:
        file.visititems(add)
    return arrays


def _transfer(model, weights, transfer, given, differences=""):
    try:
        return transfer(model, weights)
    except ValueError as error:
        raise ValueError(f"{given} is not allowed: {error}{differences}") from error


def _differences(before, after):
    """Settings of a saved model that another one does not share, for an error message; "" if there are none."""
    # Two forms of an initializer or a regularizer may mean the same, and no shape follows from it.
    names = [name for name in before if name in after and name not in ("kernel_initializer", "kernel_regularizer")]
    differ = [name for name in names if _listed(before[name]) != _listed(after[name])]
    told = ", ".join(f"{name}={before[name]!r} (not {after[name]!r})" for name in differ)
    return f"; it was saved with {told}" if told else ""


def _listed(value):
    return list(value) if isinstance(value, tuple) else value


def _ends_with(path, ending):
    return isinstance(path, (str, os.PathLike)) and os.fspath(path).endswith(ending) and not os.path.isdir(path)


def _check_file(path, setting):
    if not os.path.isfile(path):
        raise ValueError(f"{setting}={os.fspath(path)!r} is not allowed: it must be an existing file")
