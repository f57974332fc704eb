"""The metrics of an epoch as far as it was trained, as a part of a checkpoint."""

import io

import numpy as np
import tensorflow as tf


class MetricState(tf.train.experimental.PythonState):
    """The values of all variables of a model's metrics inside an epoch, which is here the steps between two evaluations.

    Keras makes many of these variables in the first training step, so they are saved by name, and restored when they exist.

    Args:
      model: a compiled Keras model.

    Attributes:
      epoch_start: first step of the epoch to be saved; None outside an epoch, where metrics may be those of an evaluation.
    """

    def __init__(self, model):
        self._model = model
        self._restored = {}
        self._joined = None  # names of variables, and what joins their values over workers
        self.epoch_start = None

    def serialize(self):
        """The state as bytes of an .npz file; TensorFlow calls it."""
        values = {}
        if self.epoch_start is not None:
            values = self._values()
            values["epoch_start"] = np.int64(self.epoch_start)
        file = io.BytesIO()
        np.savez(file, **values)
        return file.getvalue()

    def deserialize(self, string_value):
        """Keeps what `serialize` returned for `restore`."""
        with np.load(io.BytesIO(string_value), allow_pickle=False) as file:
            self._restored = dict(file)

    def read(self, path):
        """Keeps the state in a checkpoint for `restore`; one without it, as of version 0.1.0, has none."""
        reader, key = tf.train.load_checkpoint(path), "metrics/.ATTRIBUTES/py_state"
        self._restored = {}
        if reader.has_tensor(key):
            self.deserialize(reader.get_tensor(key))

    def is_of(self, epoch_start):
        """Whether a state of the epoch that begins with that step was read."""
        return int(self._restored.get("epoch_start", -1)) == epoch_start

    def restore(self):
        """Gives the metrics the values that were read. Those that the checkpoint lacks stay as they are."""
        for name, variable in self._variables():
            values = self._restored.get(name)
            if values is not None and values.shape[1:] == variable.shape:
                _assign(variable, values, self._model.distribute_strategy)

    def _values(self):
        """{name: array [replicas, ...]} of all variables."""
        strategy, variables = self._model.distribute_strategy, dict(self._variables())
        copies = {name: strategy.experimental_local_results(variable) for name, variable in variables.items()}
        if all(len(of_one) == strategy.num_replicas_in_sync for of_one in copies.values()):
            return {name: np.stack([copy.numpy() for copy in of_one]) for name, of_one in copies.items()}
        if self._joined is None or self._joined[0] != [*variables]:
            self._joined = [*variables], _joined(list(variables.values()), strategy)
        return dict(zip(variables, self._joined[1](), strict=True))

    def _variables(self):
        """Yields (name, variable) of all metrics: names are those of the metrics, numbered."""
        for i, metric in enumerate(self._model.metrics):
            for j, variable in enumerate(metric.variables):
                yield f"{i}-{metric.name}-{j}", variable


# Each replica counts for itself, and its own values are kept: sums in another order would be rounded in another way.


def _joined(variables, strategy):
    """A function to a list of arrays [replicas, ...], of each variable: for several workers, all of which must call it."""
    replicas = strategy.num_replicas_in_sync

    def of_replica():
        context = tf.distribute.get_replica_context()
        is_own = tf.equal(tf.range(replicas), context.replica_id_in_sync_group)
        own = [(tf.reshape(is_own, [-1] + [1] * x.shape.rank), tf.convert_to_tensor(x)[tf.newaxis]) for x in variables]
        return context.all_reduce(tf.distribute.ReduceOp.SUM, [tf.where(here, x, tf.zeros_like(x)) for here, x in own])

    function = tf.function(lambda: strategy.run(of_replica), autograph=False)
    return lambda: [strategy.experimental_local_results(x)[0].numpy() for x in function()]


def _assign(variable, values, strategy):
    """Gives a variable the values of all replicas, [replicas, ...]; of another number of them, each gets an equal part."""
    copies = strategy.experimental_local_results(variable)
    if len(values) != strategy.num_replicas_in_sync:
        values = [values.sum(axis=0) / strategy.num_replicas_in_sync] * len(copies)
    elif len(copies) != len(values):  # of several workers
        numbers = strategy.experimental_distribute_values_from_function(lambda context: context.replica_id_in_sync_group)
        values = values[list(strategy.experimental_local_results(numbers))][: len(copies)]
    for copy, value in zip(copies, values, strict=True):
        copy.assign(tf.cast(value, copy.dtype))
