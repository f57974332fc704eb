"""Trained weights on disk, by name: finds and reads them without the code that made the model."""

import os
import pathlib
import re
from typing import NamedTuple

import tensorflow as tf
from absl import logging
from tensorflow.core.protobuf import trackable_object_graph_pb2

from official.checkpoints.files import damage, newest_whole, prefixes, readable
from official.cli import quiet
from official.files.layout import BEST_CHECKPOINT, CHECKPOINTS, CONFIG_FILE, CONFIG_JSON, OBJECT_GRAPH

# Children of a saved model whose variables are not weights of the model.
NOT_WEIGHTS = ("optimizer", "keras_api", "save_counter")
VALUE = ".ATTRIBUTES/VARIABLE_VALUE"
AVERAGE = f".OPTIMIZER_SLOT/optimizer/average/{VALUE}"  # of a run with train.ema_decay
ALLOWED = (
    "it must be the workdir of a run, a folder of checkpoints, the prefix of one (as runs/digits/checkpoints/step-1610), a "
    "SavedModel or the handle of a published one"
)


class Located(NamedTuple):
    """A model on this machine.

    Attributes:
      given: the path, handle or address that led to it, a string.
      path: the pathlib.Path that was given, or the folder that a handle or address was fetched to.
      prefix: a string, the path prefix of the checkpoint files that hold its weights.
      is_saved_model: whether `path` is a SavedModel; otherwise it is a checkpoint, or a folder of checkpoints.
      is_fetched: whether it lies in a cache of published models, beside which nothing is written.
    """

    given: str
    path: pathlib.Path
    prefix: str
    is_saved_model: bool
    is_fetched: bool

    @property
    def config_file(self):
        """The pathlib.Path where the config of its run would be: in the SavedModel, or in the workdir around the checkpoint."""
        if self.is_saved_model:
            return self.path / CONFIG_FILE
        in_workdir = (self.path / CHECKPOINTS).is_dir()
        return (self.path if in_workdir else pathlib.Path(self.prefix).absolute().parent.parent) / CONFIG_JSON


def locate(path, setting="path"):
    """Finds a model.

    Args:
      path: the workdir of a run of the driver, for its newest checkpoint, or with `train.best` its best one; a folder of
        checkpoints, for the newest one; the prefix of a checkpoint; the directory of a SavedModel, such as the driver's or that
        of Keras's `model.export`; or what `local_path` fetches. A damaged checkpoint in a folder is logged, and the next one
        taken. A Located is returned as it is.
      setting: what the user calls the path, for messages.

    Returns:
      A Located.

    Raises:
      ValueError: a path without a model, or as `local_path`.
      OSError: as `local_path`.
    """
    if isinstance(path, Located):
        return path
    place = local_path(path, setting)
    given = os.fspath(path)
    prefix = _checkpoint_at(place, is_whole=True)
    if prefix is None:
        found = _what_is_at(place)
        if has_checkpoint(place):
            found = f"none of its checkpoints is whole: {damage(_checkpoint_at(place))}"
        raise ValueError(f"{setting}={given!r} is not allowed: {ALLOWED}; {found}")
    return Located(given, place, prefix, _is_saved_model(place), is_fetched=place != pathlib.Path(given))


def _what_is_at(place):
    """What is at a path without a model of this project, in words."""
    from official.conversion.source import is_source  # only to say what is wrong

    if not place.exists():
        return "no such file or folder"
    if is_source(place):
        return "it is a model of another project, which must be converted first (docs/weights.md)"
    return "there is neither saved_model.pb nor a checkpoint"


def local_path(path, setting="path"):
    """Resolves a path or the handle of a published model to a pathlib.Path on this machine, downloading the model if needed.

    Args:
      path: a path; publisher/.../name/version (official.repository.lookup), where no model is at that path; or an https://
        address, as TensorFlow Hub takes it.
      setting: what the user calls the path, for messages.

    Raises:
      ValueError: not a path, or a handle that leads to no model.
      OSError: a repository that cannot be read.
    """
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise ValueError(f"{setting}={path!r} is not allowed: {ALLOWED}; it is not a path")
    text = os.fspath(path)
    if text.startswith(("http://", "https://")):
        with quiet.hub_import():
            import tensorflow_hub  # only here, because it takes a while

        return pathlib.Path(tensorflow_hub.resolve(text))
    if _checkpoint_at(pathlib.Path(text)) is None:
        # Only what is not on this machine needs the code of model repositories.
        from official.repository.handles import is_handle
        from official.repository.lookup import find_published

        if is_handle(text):
            return find_published(text, setting)
    return pathlib.Path(path)


def read_weights(path, setting="path", averaged=True):
    """Reads the weights of a saved model, without the optimizer's moments, counters and metrics.

    Args:
      path: as of `locate`, or a Located.
      setting: what the user calls the path, for messages.
      averaged: whether the averages are read of a run that keeps them (`train.ema_decay`), as it evaluates and exports them.

    Returns:
      {full name of a variable, such as "encoder/attention_0/query/kernel": NumPy array}.

    Raises:
      ValueError: as `locate`; or a file that is damaged or of TensorFlow 1, or whose names are not unique.
      OSError: as `locate`.
    """
    found = locate(path, setting)
    given, prefix = f"{setting}={found.given!r}", found.prefix
    try:
        reader = tf.train.load_checkpoint(readable(prefix))
        if not reader.has_tensor(OBJECT_GRAPH):
            raise ValueError(f"{given} is not allowed: it must be of TensorFlow 2, and {prefix} is older")
        graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(reader.get_tensor(OBJECT_GRAPH))
        weights = {}
        for name, key in _variables(graph):
            if name in weights:
                raise ValueError(f"{given} is not allowed: two of its weights are called {name!r}")
            average = key.replace(VALUE, AVERAGE)
            weights[name] = reader.get_tensor(average if averaged and reader.has_tensor(average) else key)
    except (tf.errors.OpError, RuntimeError, IndexError) as error:
        raise ValueError(f"{given}: {prefix} cannot be read: {error}") from error
    return weights


def has_checkpoint(path):
    """Whether a pathlib.Path is that of a workdir, a folder of checkpoints, the prefix of a checkpoint or a SavedModel."""
    return _checkpoint_at(path) is not None


def plain_name(name):
    """The name of a weight without the suffixes of its replicas and outputs: "a/b" of "a/b/replica_1:0"."""
    return re.sub(r"(/replica_\d+)?(:\d+)?$", "", name)


def _is_saved_model(place):
    return (place / "saved_model.pb").is_file()


def _checkpoint_at(place, is_whole=False):
    """The prefix of the checkpoint files that a pathlib.Path leads to, or None; of several, the newest one, or that is whole."""
    if _is_saved_model(place):
        return str(place / "variables" / "variables")
    for folder, state_first in ((place / BEST_CHECKPOINT, True), (place / CHECKPOINTS, False), (place, True)):
        if is_whole:
            newest = newest_whole(folder, logging.warning, state_first)
        else:
            newest = next(iter(prefixes(folder, state_first)), None)
        if newest:
            return newest
    return str(place) if pathlib.Path(f"{place}.index").is_file() else None


def _variables(graph):
    """Yields (full name, key of its value in the file) of each variable that is reached from the model."""
    children = [{child.local_name: child.node_id for child in node.children} for node in graph.nodes]
    nodes = [children[0].get("model", 0)]  # the driver's checkpoints hold the model beside other things, others are a model
    seen = set(nodes)
    for node in nodes:
        for attribute in graph.nodes[node].attributes:
            if attribute.name == "VARIABLE_VALUE":
                yield attribute.full_name, attribute.checkpoint_key
        for name, child in children[node].items():
            if name not in NOT_WEIGHTS and child not in seen:
                seen.add(child)
                nodes.append(child)
