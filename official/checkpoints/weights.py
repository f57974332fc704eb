"""The weights of a model that was trained or exported before, by name, without the code that made it."""

import os
import pathlib

import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from official.checkpoints.manager import FOLDER as BEST_FOLDER
from official.repository.handles import is_handle
from official.repository.lookup import find_published

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
# Children of a saved model whose variables are no weights: the optimizer's, metrics, and how often it was saved.
NO_WEIGHTS = ("optimizer", "keras_api", "save_counter")
VALUE = ".ATTRIBUTES/VARIABLE_VALUE"
ALLOWED = (
    "it must be the workdir of a run, a folder of checkpoints, the prefix of one (as runs/digits/checkpoints/step-1610), a "
    "SavedModel or the handle of a published one"
)
AVERAGE = f".OPTIMIZER_SLOT/optimizer/average/{VALUE}"  # of a run with train.ema_decay


def read_weights(path, setting="path", averaged=True):
    """Reads the weights of a saved model; neither the optimizer's moments nor counters nor metrics.

    Args:
      path: the workdir of a run of the driver, for its newest checkpoint, or with `train.best` its best one; a folder of
        checkpoints, for the newest one; the prefix of a checkpoint; the directory of a SavedModel, such as the driver's or
        that of Keras's `model.export`; or the handle of a published one (local_path).
      setting: what the caller's user calls the path, for messages.
      averaged: whether of a run that averages its weights (`train.ema_decay`) the averages are read, which is what it evaluates
        and exports.

    Returns:
      {full name of a variable, such as "encoder/attention_0/query/kernel": NumPy array}.

    Raises:
      ValueError: a path that is none of these, a file that is damaged or of TensorFlow 1, or one whose names are not unique.
    """
    prefix = find_checkpoint(path, setting)
    try:
        reader = tf.train.load_checkpoint(prefix)
        if not reader.has_tensor(OBJECT_GRAPH):
            raise ValueError(f"{setting}={str(path)!r} is not allowed: it must be of TensorFlow 2, and {prefix} is older")
        graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(reader.get_tensor(OBJECT_GRAPH))
        weights = {}
        for name, key in _variables(graph):
            if name in weights:
                raise ValueError(f"{setting}={str(path)!r} is not allowed: two of its weights are called {name!r}")
            average = key.replace(VALUE, AVERAGE)
            weights[name] = reader.get_tensor(average if averaged and reader.has_tensor(average) else key)
    except (tf.errors.OpError, RuntimeError, IndexError) as error:
        raise ValueError(f"{setting}={str(path)!r}: {prefix} cannot be read: {error}") from error
    return weights


def local_path(path, setting="path"):
    """Where on this machine a model is: a pathlib.Path of what is given as a path or as the handle of a published model.

    Args:
      path: a path; publisher/.../name/version (official.repository.lookup), where there is no model at that path; or an https://
        address, as TensorFlow Hub takes it. What a handle or an address leads to is fetched where it is not there yet.
      setting: what the caller's user calls the path, for messages.

    Raises:
      ValueError: what is no path, or a handle that leads to no model.
      OSError: a repository that cannot be read.
    """
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise ValueError(f"{setting}={path!r} is not allowed: {ALLOWED}; it is no path")
    text = os.fspath(path)
    if text.startswith(("http://", "https://")):
        from official import hub  # here, since TensorFlow Hub takes a while to import

        return pathlib.Path(hub.resolve(text))
    if is_handle(text) and not _checkpoint_at(pathlib.Path(text)):
        return find_published(text, setting)
    return pathlib.Path(path)


def find_checkpoint(path, setting="path"):
    """The prefix of the checkpoint files that a path or handle, as `read_weights` takes it, leads to.

    Raises:
      ValueError: where the path leads to none.
      OSError: where it is a handle and a repository cannot be read.
    """
    place = local_path(path, setting)
    prefix = _checkpoint_at(place)
    if prefix is None:
        found = "there is neither saved_model.pb nor a checkpoint" if place.exists() else "there is no such file or folder"
        raise ValueError(f"{setting}={os.fspath(path)!r} is not allowed: {ALLOWED}; {found}")
    return prefix


def _checkpoint_at(place):
    """The prefix of the checkpoint files that a pathlib.Path leads to, or None."""
    if (place / "saved_model.pb").is_file():
        return str(place / "variables" / "variables")
    for folder in (place / BEST_FOLDER, place / "checkpoints", place):
        newest = tf.train.latest_checkpoint(str(folder))
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
            if name not in NO_WEIGHTS and child not in seen:
                seen.add(child)
                nodes.append(child)
