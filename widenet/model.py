"""A Keras model that also counts the load of its experts."""

import contextlib
import inspect
import json
import os
import warnings
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
import tensorflow as tf

from widenet.checks import check_count, check_switch, refuse
from widenet.draws import seeded
from widenet.encoder import BlockRecord, Encoder, recording_blocks
from widenet.expert_load import ExpertLoad, join_assignments, recording, recording_assignments, recording_margins
from widenet.fast_path import CONTEXT, as_written, setting, xla_elementwise
from widenet.layer import register

_SET_LEARNING_RATE = (tf.keras.callbacks.LearningRateScheduler, tf.keras.callbacks.ReduceLROnPlateau)
# What Hugging Face calls the inputs of text models, and what they are called here.
INPUTS_ELSEWHERE = {"input_ids": "input_word_ids", "attention_mask": "input_mask", "token_type_ids": "input_type_ids"}


class _LegacyState(tf.keras.losses.Loss):
    """The state of a model's optimizer for Keras's `.keras` and `.weights.h5` files, which leave out that of a legacy optimizer.

    Keras looks for state in losses, among others, that are attributes of a model.
    """

    def __init__(self, model):
        super().__init__()
        self._model = model

    def optimizer(self):
        """The model's optimizer if it is a legacy one, such as LAMB, else None."""
        optimizer = self._model.optimizer
        return optimizer if isinstance(optimizer, tf.keras.optimizers.legacy.Optimizer) else None

    def create(self):
        """Creates the state now, and not at the first step, so that it can be read from a file."""
        if self.optimizer():
            self.optimizer()._create_all_weights(self._model.trainable_variables)

    def save_own_variables(self, store):
        for i, value in enumerate(self.optimizer().get_weights() if self.optimizer() else []):
            store[str(i)] = value

    def load_own_variables(self, store):
        if not self.optimizer() or not self.optimizer().weights or not store.keys():
            return
        values = [np.asarray(store[str(i)]) for i in range(len(store.keys()))]
        if [value.shape for value in values] == [weight.shape for weight in self.optimizer().weights]:
            self.optimizer().set_weights(values)
        else:
            warnings.warn("the optimizer's state in the file fits other weights: the optimizer starts anew", stacklevel=2)


@register
class Model(tf.keras.Model):
    """A functional tf.keras.Model that counts the load of its encoder's experts in training and evaluation.

    In `fit` and `evaluate` the metrics `balance` (mean over blocks of E * sum_i m_i * P_i, at best K) and `dropped` (share of
    assignments dropped) join the others; `expert_load.table()` has every block. All are counted on the device: nothing waits for
    them within an epoch. Keras resets them at the start of every epoch and evaluation.

    In a training loop of your own, a call `model(inputs, training=True)` in a tf.function compiles what `fit` does. Each counts
    once, in eager mode, in a tf.function and in the replicas of a strategy. Reset the counts yourself:

        for epoch in range(epochs):
            model.expert_load.reset_state()
            for x, y in batches:
                train_step(x, y)  # calls model(x, training=True)
            print(model.expert_load.table())

    Calls without `training=True`, `predict`, exports, and calls as a layer of another Keras model count nothing and add no
    operation.

    If the outputs are a dict, its keys are the `output_names`, by which losses and metrics are given and named; those of a list
    within it are "key", "key_1", "key_2", ... None of them needs a loss.

    A dict of inputs may have Hugging Face's names, those of INPUTS_ELSEWHERE. The `mask` of a call, bool [batch, length], may
    take the place of the input "input_mask".

    Attributes:
      expert_load: an ExpertLoad of what was counted since the last reset, or None if no block is an MoE.
    """

    # Keras saves a functional subclass as a functional model only where its constructor has exactly these arguments.
    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, trainable: bool = True):
        super().__init__(inputs=inputs, outputs=outputs, name=name, trainable=trainable)
        if isinstance(outputs, dict):
            self.output_names = _names(outputs)
        encoders = [module for module in self.submodules if isinstance(module, Encoder)]
        blocks = sum(block.is_moe for encoder in encoders for block in encoder.blocks)
        load = ExpertLoad(blocks, max(encoder.num_experts for encoder in encoders)) if blocks else None
        # Not tracked: the counts are neither weights of the model nor part of its checkpoints.
        object.__setattr__(self, "expert_load", load)
        object.__setattr__(self, "_counts_in_graphs", None)
        object.__setattr__(self, "_seed", None)
        object.__setattr__(self, "_parts", 1)
        object.__setattr__(self, "_legacy_state", _LegacyState(self))

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """Keras resets these at the start of every epoch and evaluation."""
        return super().metrics + ([self.expert_load] if self.expert_load else [])

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """As any Keras model: (inputs, training=None, mask=None). Fast in training, where it also counts the experts' load.

        Raises:
          ValueError: a dict without one of the model's inputs, of which Keras would take the values in the order of their keys;
            or an input under two names.
        """
        if isinstance(inputs, Mapping) and isinstance(self.input, dict):
            inputs = self._by_our_names(inputs, kwargs)
        args = (inputs, *args)
        if not self._trains(*args, **kwargs):
            return super().__call__(*args, **kwargs)
        is_decided = tf.executing_eagerly() or CONTEXT.xla_elementwise is not None
        with contextlib.nullcontext() if is_decided else xla_elementwise():
            # Inside a step of `fit`, which counts itself, it is recording already.
            if self.expert_load is None or CONTEXT.loads is not None:
                return super().__call__(*args, **kwargs)
            with recording() as records:
                outputs = super().__call__(*args, **kwargs)
        self.expert_load.update_state(records)
        if not tf.executing_eagerly() and self._counts_in_graphs is None:
            counts = tf.Module()
            counts.variables_of_load = self.expert_load.variables
            object.__setattr__(self, "_counts_in_graphs", counts)
        return outputs

    def _by_our_names(self, inputs, kwargs):
        """A dict of inputs by the names of the model's; `mask` moves from the call's other arguments to it."""
        given, mask_name = sorted(inputs), INPUTS_ELSEWHERE["attention_mask"]
        others = {name: here for name, here in INPUTS_ELSEWHERE.items() if here in self.input}
        named = [(others.get(name, name), value) for name, value in inputs.items()]
        if mask_name in self.input and kwargs.get("mask") is not None:
            named.append((mask_name, tf.cast(kwargs.pop("mask"), tf.int32)))
            given.append("mask=")
        names = [name for name, _ in named]
        if not self.input.keys() <= set(names):
            either = f" (or Hugging Face's {', '.join(sorted(others))})" if others else ""
            refuse("inputs", given, f"a dict with the keys {', '.join(sorted(self.input))}{either}")
        for name in self.input:
            if names.count(name) > 1:
                refuse("inputs", given, f"without a second name of {name}")
        return dict(named)

    def _conform_to_reference_input(self, tensor, ref_input):
        """Keras's step from a call's input to the model's. It also sets sizes that are unknown, as with a generator.

        Keras makes tensors without sizes of what a generator or a Sequence yields, and tf.py_function makes some without a rank.
        """
        tensor = super()._conform_to_reference_input(tensor, ref_input)
        if not isinstance(tensor, tf.Tensor) or not tensor.shape.is_compatible_with(ref_input.shape):
            return tensor
        shape = tensor.shape.merge_with(ref_input.shape)
        return tensor if shape == tensor.shape else tf.ensure_shape(tensor, shape)

    def _trains(self, inputs, training=None, mask=None):
        """Whether a call is part of a training step: not in a graph that is made for saving or of symbolic inputs."""
        if CONTEXT.exporting or tf.is_tensor(training) or not training:
            return False
        is_symbolic = any(isinstance(x, type(self.inputs[0])) for x in tf.nest.flatten(inputs))
        return not is_symbolic

    def _trackable_children(self, save_type="checkpoint", **kwargs):
        """What files hold beside the weights.

        A SavedModel of a function that counts must have the counts; checkpoints and other SavedModels have none. A SavedModel
        leaves a legacy optimizer out: nothing reads its state from there, and TensorFlow would import tf_keras to load it, if
        that is installed, whose classes then take the place of Keras's own in every file that is loaded later.
        """
        children = super()._trackable_children(save_type, **kwargs)
        if save_type == "savedmodel" and self._counts_in_graphs is not None:
            children["expert_load"] = self._counts_in_graphs
        if save_type == "savedmodel" and self._legacy_state.optimizer():
            children.pop("optimizer", None)
        return children

    def save(self, filepath, overwrite=True, save_format=None, **kwargs):
        """As any Keras model. A SavedModel has no state of a legacy optimizer, such as LAMB, which a warning says."""
        super().save(filepath, overwrite, save_format, **kwargs)
        if not isinstance(filepath, (str, os.PathLike)):
            return
        if os.path.isdir(filepath) and self._legacy_state.optimizer() and self._legacy_state.optimizer().get_weights():
            warnings.warn(
                f"{filepath} has no state of the optimizer, which starts anew after loading: save the model as .keras to keep it",
                stacklevel=2,
            )
        elif os.path.isfile(filepath) and h5py.is_hdf5(filepath):
            with h5py.File(filepath, "r+") as file:
                file.attrs["model_config"] = self._with_registered_class(file.attrs["model_config"])

    def to_json(self, **kwargs):
        """As of any Keras model: the architecture, of which tf.keras.models.model_from_json makes a widenet.Model."""
        return self._with_registered_class(super().to_json(), **kwargs)

    def _with_registered_class(self, config, **kwargs):
        """JSON of a model, which has the name of its class without its package: Keras would make a plain model of it."""
        return json.dumps({**json.loads(config), "class_name": tf.keras.saving.get_registered_name(type(self))}, **kwargs)

    def fit(self, *args, **kwargs):
        """As of any Keras model.

        Raises:
          ValueError: a callback that sets the learning rate, where that is a schedule.
        """
        callbacks = inspect.signature(super().fit).bind_partial(*args, **kwargs).arguments.get("callbacks")
        rate = getattr(self._legacy_state.optimizer(), "learning_rate", None)
        if isinstance(rate, tf.keras.optimizers.schedules.LearningRateSchedule):
            for callback in tf.nest.flatten(getattr(callbacks, "callbacks", callbacks)):
                if isinstance(callback, _SET_LEARNING_RATE):
                    how = "set a number before the first step, as in model.optimizer.learning_rate = 0.001"
                    refuse("callbacks", type(callback).__name__, f"used with a learning rate that is not a schedule: {how}")
        return super().fit(*args, **kwargs)

    def seed_steps(self, seed: int | None) -> None:
        """Makes the random draws of `fit` and `train_on_batch` a function of what they are for, not of what was drawn before.

        Dropout, drop path, router noise and jitter of a training step then follow from `seed`, the optimizer's `iterations`, the
        number of the replica, and the number of the draw in the step. A program that restores weights and optimizer goes on
        exactly as if it had never ended. Layers that are not of this project, and data, are not concerned.

        Without it, draws come from TensorFlow's global generator, as in any Keras model. A training loop of your own has the
        context `widenet.draws.seeded(seed, step)`. The seed is not saved with the model.

        Args:
          seed: an int; None for TensorFlow's global generator.
        """
        object.__setattr__(self, "_seed", seed)
        self.train_function = None  # of the seed before

    def accumulate_steps(self, parts: int) -> None:
        """Makes the training steps of `fit` and `train_on_batch` of several parts, which need the memory of one.

        The batch is cut into `parts` equal ones. Forward and backward pass are made for one after another, and the mean of their
        gradients is applied once. The loss is the mean of theirs; metrics count each. The capacity of experts and the balance
        loss are those of a part, as with a strategy those of a replica. Draws are as of `seed_steps`, other ones for each part.

        Args:
          parts: that divide the examples of a batch, or with a strategy of a replica's share of it; 1 for the whole batch.
        """
        check_count("parts", parts)
        object.__setattr__(self, "_parts", parts)
        self.train_function = None  # of the number before

    def recompute_blocks(self, enabled: bool = True) -> None:
        """Makes training keep only the input of each block, and compute the block again in the backward pass.

        A step keeps less in memory, and has one more forward pass. It draws the same random numbers if `seed_steps`, or
        `widenet.draws.seeded`, says what is drawn; otherwise the numbers are others of the same distributions. On CPUs,
        with the same numbers, `fit` and `train_on_batch` give the same weights, bit for bit. In a training loop of your own, and
        where XLA compiles the whole step, rounding may differ: TensorFlow and XLA may add in another order. Call it before `fit`,
        or before such a loop calls the model in a tf.function. It is not saved with the model.

        Args:
          enabled: False to keep everything, as at first.
        """
        check_switch("enabled", enabled)
        for module in self.submodules:
            if isinstance(module, Encoder):
                module.recompute = enabled
        self.train_function = None  # of the setting before

    def make_train_function(self, force=False):
        """As of any Keras model. A Keras optimizer makes its variables before the first step, not in it.

        TensorFlow traces a step once more if that makes variables, which doubles the time before training begins. It does not
        rearrange the step's sums and products (`fast_path.as_written`).
        """
        if self._seed is not None:
            self.optimizer.iterations  # noqa: B018  a legacy optimizer makes it when it is first read
        if isinstance(self.optimizer, tf.keras.optimizers.Optimizer):
            self.optimizer.build(self.trainable_variables)
        if self.train_function is None or force:
            self.train_function = as_written(super().make_train_function(force))
        return self.train_function

    def compile_from_config(self, config):
        """Keras calls it while it loads a `.keras` file, before it reads the state."""
        super().compile_from_config(config)
        self._legacy_state.create()

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
        return super().compute_loss(x, y, self.by_name(y_pred), sample_weight)

    def compute_metrics(self, x, y, y_pred, sample_weight):
        """As of any Keras model.

        Raises:
          ValueError: a metric that Keras chooses by the rank of the labels, such as "accuracy", and labels of unknown rank.
        """
        self._update_metrics(y, y_pred, sample_weight)
        return self.get_metrics_result()

    def _update_metrics(self, y, y_pred, sample_weight):
        try:
            self.compiled_metrics.update_state(y, self.by_name(y_pred), sample_weight)
        except ValueError:
            for labels in tf.nest.flatten(y):
                if isinstance(labels, tf.Tensor) and labels.shape.rank is None:
                    refuse("labels", labels, 'of a known rank for the metric "accuracy": call tf.ensure_shape in the data set')
            raise

    def by_name(self, outputs: Any) -> Any:
        """The model's outputs; a dict becomes a flat dict by `output_names`.

        Signatures of a SavedModel allow no lists within dicts, and Keras would match losses with the wrong outputs of such a
        dict.
        """
        return dict(zip(self.output_names, tf.nest.flatten(outputs), strict=True)) if isinstance(outputs, dict) else outputs

    def export(self, filepath: str) -> None:
        """Writes a SavedModel for inference. Its endpoint `serve` takes the inputs of a call and gives dicts as flat dicts."""

        def serve(inputs):
            return self.by_name(self(inputs, training=False))

        archive = tf.keras.export.ExportArchive()
        archive.track(self)
        specs = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype, x.name), self.input)
        with self.export_scope():
            archive.add_endpoint("serve", serve, [specs])
            archive.write_out(filepath)

    def export_scope(self) -> contextlib.AbstractContextManager:
        """A context for making graphs that are to be saved: without custom gradients, and without counting in training calls."""
        return setting(plain_autodiff=True, exporting=True)

    def train_step(self, data):
        with xla_elementwise():
            if self._parts > 1:
                return self._step_of_parts(data)
            with self._drawing(0):
                return self._measure(super().train_step, data)

    def _drawing(self, part):
        """A context for the draws of a part of a step, a number from 0 on."""
        if self._seed is None:
            return contextlib.nullcontext()
        return seeded(self._seed, self._parts * self.optimizer.iterations + part)

    def _step_of_parts(self, data):
        """A training step as `accumulate_steps` describes it."""
        data = tf.keras.utils.unpack_x_y_sample_weight(data)
        batch = tf.nest.map_structure(lambda x: x if x is None else _cut(x, self._parts), data)
        weights, without = self.trainable_variables, set()

        def step(part):
            x, y, sample_weight = part
            with tf.GradientTape() as tape:
                outputs = self(x, training=True)
                loss = self.compute_loss(x, y, outputs, sample_weight)
            gradients = tape.gradient(loss, weights)
            without.update(i for i, gradient in enumerate(gradients) if gradient is None)
            self._update_metrics(y, outputs, sample_weight)
            pairs = zip(gradients, weights, strict=True)
            sums.extend(tf.zeros_like(w) if gradient is None else tf.convert_to_tensor(gradient) for gradient, w in pairs)

        def add(number, *totals):
            sums.clear()
            with self._drawing(tf.cast(number, tf.int64)):
                self._count(step, tf.nest.map_structure(lambda x: x if x is None else x[number], batch))
            return number + 1, *(total + gradient for total, gradient in zip(totals, sums, strict=True))

        sums = []
        start = (tf.constant(0), *(tf.zeros_like(weight) for weight in weights))
        # One after another: otherwise the parts would take the memory of the whole batch.
        _, *totals = tf.while_loop(lambda number, *_: number < self._parts, add, start, parallel_iterations=1)
        gradients = [None if i in without else total / self._parts for i, total in enumerate(totals)]
        self.optimizer.apply_gradients(zip(gradients, weights, strict=True))
        return self.get_metrics_result()

    def test_step(self, data):
        with xla_elementwise(unknown_sizes=False):
            return self._measure(super().test_step, data)

    def predict_step(self, data):
        with xla_elementwise(unknown_sizes=False):
            return super().predict_step(data)

    def call_with_assignments(self, inputs: Any) -> tuple[Any, tf.Tensor | None]:
        """A forward pass as in `predict` that also counts which experts each example's tokens were sent to.

        Args:
          inputs: as for a call.

        Returns:
          The model's outputs, and int32 [batch, blocks, E]: for each example, MoE block and expert the number of (token, choice)
          that the router gave to that expert, with or without room there. Padding is not counted, so a block's counts add up to K
          times the real tokens. None if no block is an MoE.
        """
        with xla_elementwise(unknown_sizes=False), recording_assignments() as records:
            outputs = self(inputs, training=False)
        if self.expert_load is None:
            return outputs, None
        return outputs, join_assignments(records, self.expert_load.blocks, self.expert_load.num_experts)

    def call_with_margins(self, inputs: Any) -> tuple[Any, tf.Tensor | None]:
        """A forward pass that also returns how close each example came to being sent to other experts.

        Args:
          inputs: as for a call.

        Returns:
          The model's outputs, and float [batch]: over all MoE blocks and real tokens of an example, the smallest difference
          between the probability of the K-th expert and that of the next one. If it is within the error of another runtime's
          arithmetic, that runtime may choose the other expert. None if no block is an MoE.
        """
        with recording_margins() as records:
            outputs = self(inputs, training=False)
        return outputs, tf.reduce_min(tf.stack(records), axis=0) if records else None

    @property
    def block_widths(self) -> list[int]:
        """The width of every block of the model's Encoders."""
        return [module.width for module in self.submodules if isinstance(module, Encoder) for _ in module.blocks]

    def recording_blocks(self) -> contextlib.AbstractContextManager:
        """A context that yields a list, which gets the BlockRecord of every block in each call of the model inside.

        Nothing is computed for it, so a training step can use the blocks' outputs in its loss.
        """
        return recording_blocks()

    def call_with_blocks(self, inputs: Any) -> tuple[Any, list[BlockRecord]]:
        """A forward pass as in `predict` that also returns the BlockRecord of every block.

        Inside a training step of another model nothing of it is counted there.

        Args:
          inputs: as for a call.

        Returns:
          The model's outputs, and the list.
        """
        with setting(loads=None, assignments=None, margins=None), recording_blocks() as records:
            outputs = self(inputs, training=False)
        return outputs, records

    def _measure(self, step, data):
        logs = self._count(step, data)
        return {**logs, **self.expert_load.result()} if self.expert_load else logs

    def _count(self, step, data):
        if self.expert_load is None:
            return step(data)
        with recording() as records:
            found = step(data)
        self.expert_load.update_state(records)
        return found


def _cut(x, parts):
    """[batch, ...] as [parts, batch / parts, ...]."""
    size = None if x.shape[0] is None else x.shape[0] // parts
    cut = tf.reshape(x, tf.concat([[parts, tf.shape(x)[0] // parts], tf.shape(x)[1:]], axis=0))
    return tf.ensure_shape(cut, [parts, size, *x.shape[1:]])


def _names(outputs):
    """A name for each tensor of a dict of tensors and lists of them, in the order of tf.nest.flatten."""
    return [f"{key}_{i}" if i else key for key in sorted(outputs) for i in range(len(tf.nest.flatten(outputs[key])))]
