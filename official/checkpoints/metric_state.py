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
        self.epoch_start = None

    def serialize(self):
        """The state as bytes of an .npz file; TensorFlow calls it."""
        values = {}
        if self.epoch_start is not None:
            values = {name: _values(variable, self._model.distribute_strategy) for name, variable in self._variables()}
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

    def _variables(self):
        """Yields (name, variable) of all metrics: names are those of the metrics, numbered."""
        for i, metric in enumerate(self._model.metrics):
            for j, variable in enumerate(metric.variables):
                yield f"{i}-{metric.name}-{j}", variable


# Each replica counts for itself, and its own values are kept: sums in another order would be rounded in another way. Of several
# workers each sees its own replicas alone, and all of them must take part in `_values`.


def _values(variable, strategy):
    """Array [replicas, ...] of a metric's variable."""
    copies = strategy.experimental_local_results(variable)
    if len(copies) == strategy.num_replicas_in_sync:
        return np.stack([copy.numpy() for copy in copies])
    own = strategy.run(lambda: tf.expand_dims(tf.convert_to_tensor(variable), 0))
    return strategy.gather(own, axis=0).numpy()


def _assign(variable, values, strategy):
    """Undoes `_values`; for another number of replicas, each gets an equal part of the sum."""
    copies = strategy.experimental_local_results(variable)
    if len(values) != strategy.num_replicas_in_sync:
        values = [values.sum(axis=0) / strategy.num_replicas_in_sync] * len(copies)
    elif len(copies) != len(values):
        values = values[_local_replicas(strategy)]
    for copy, value in zip(copies, values, strict=True):
        copy.assign(tf.cast(value, copy.dtype))


def _local_replicas(strategy):
    """The numbers of the replicas of this process among all."""
    numbers = strategy.run(lambda: tf.convert_to_tensor(tf.distribute.get_replica_context().replica_id_in_sync_group))
    return [int(number) for number in strategy.experimental_local_results(numbers)]
