"""The weights of a model that was trained or exported before, by name, without the code that made it."""

import os
import pathlib

import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from official.best import FOLDER as BEST_FOLDER

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
# Children of a saved model whose variables are no weights: the optimizer's, metrics, and how often it was saved.
NO_WEIGHTS = ("optimizer", "keras_api", "save_counter")
VALUE = ".ATTRIBUTES/VARIABLE_VALUE"
AVERAGE = f".OPTIMIZER_SLOT/optimizer/average/{VALUE}"  # of a run with train.ema_decay


def read_weights(path, setting="path", averaged=True):
    """Reads the weights of a saved model; neither the optimizer's moments nor counters nor metrics.

    Args:
      path: the workdir of a run of the driver, for its newest checkpoint, or with `train.best` its best one; a folder of
        checkpoints, for the newest one; the prefix of a checkpoint; or the directory of a SavedModel, such as the driver's or
        that of Keras's `model.export`.
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


def find_checkpoint(path, setting="path"):
    """The prefix of the checkpoint files that a path, as `read_weights` takes it, leads to.

    Whatever else weights may come from is to be turned into such a prefix here.

    Raises:
      ValueError: where the path leads to none.
    """
    if isinstance(path, (str, os.PathLike)) and os.fspath(path):
        place = pathlib.Path(path)
        if (place / "saved_model.pb").is_file():
            return str(place / "variables" / "variables")
        for folder in (place / BEST_FOLDER, place / "checkpoints", place):
            newest = tf.train.latest_checkpoint(str(folder))
            if newest:
                return newest
        if pathlib.Path(f"{place}.index").is_file():
            return str(place)
        found = "there is neither saved_model.pb nor a checkpoint" if place.exists() else "there is no such file or folder"
    else:
        found = "it is no path"
    given = str(path) if isinstance(path, os.PathLike) else path
    raise ValueError(
        f"{setting}={given!r} is not allowed: it must be the workdir of a run, a folder of checkpoints, the prefix of one "
        f"(as runs/digits/checkpoints/step-1610) or a SavedModel; {found}"
    )


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
