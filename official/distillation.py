"""Distillation: a model learns the outputs of another one, block by block (as in arXiv:1909.10351), on the data of any task.

The loss is made of unexplained shares. With the teacher's values t, the student's s, and a sum over real tokens and features,

    share = sum (s - t)^2 / sum (t - mean(t))^2

where mean(t) is that of each feature over the real tokens of the batch. A student that answers as its teacher has 0, and the best
constant 1.
"""

import contextlib
import threading
from typing import NamedTuple

import tensorflow as tf
from ml_collections import ConfigDict

from official.config import Setting, check_section, defaults_of, meanings_of, section_settings
from official.task import Task

SETTINGS = {
    "task": Setting("", "the class that implements the task whose data and model are used, module:Class"),
    "teacher": Setting("", "trained model to learn from: a run, checkpoint, SavedModel or handle; it is not trained"),
    "blocks": Setting(1.0, "weight of the unexplained share of the teacher's blocks, the mean over the student's blocks"),
    "outputs": Setting(1.0, "weight of that of the outputs that both models have, such as logits"),
    "labels": Setting(False, "whether the task's own loss on its labels is added"),
}


def distillation_settings(**overrides):
    """The `distillation` settings of a recipe, a dict: the defaults of SETTINGS, some of them overridden.

    Raises:
      ValueError: an override that is not in SETTINGS.
    """
    return section_settings("distillation", defaults_of(SETTINGS), overrides)


def distillation_recipe(recipe, **overrides):
    """The recipe of any task as that of a Distillation around it: the same model, data and training, with a teacher.

    Args:
      recipe: a ConfigDict, with its task.
      **overrides: `distillation` settings to change, except `task`.

    Raises:
      ValueError: an override that is not in SETTINGS.
    """
    settings = distillation_settings(**overrides, task=recipe.task)
    return ConfigDict({**recipe, "task": "official.distillation:Distillation", "distillation": settings})


class Distillation(Task):
    """The task in `distillation.task`, whose model learns from a teacher while it is trained.

    official.task.task_class puts this class before that of the other task among the bases of one class. Only training differs:
    what is saved, evaluated and exported is the student, a model as the other task makes it, and needs no teacher.
    `distillation` has the settings of SETTINGS.

    Raises:
      ValueError: at construction, for a setting that is not allowed, or as the other task.
    """

    wraps = "distillation"

    def __init__(self, config):
        self._settings = settings = config.distillation
        unknown = sorted(set(settings) ^ set(SETTINGS))
        if unknown:
            raise ValueError(f"distillation must have the settings {', '.join(SETTINGS)}; {unknown[0]} differs")
        are_given = settings.blocks > 0 or settings.outputs > 0
        allowed = {
            "blocks": (settings.blocks >= 0 and are_given, "at least 0, and above 0 where distillation.outputs is 0"),
            "outputs": (settings.outputs >= 0, "at least 0"),
        }
        check_section("distillation", settings, allowed)
        self._lesson = None
        super().__init__(config)

    @classmethod
    def setting_meanings(cls):
        return {"distillation": meanings_of(SETTINGS), **super().setting_meanings()}

    def initial_model(self):
        """The student with the weights that the other task begins with. Reads the teacher, and prints what is compared.

        Raises:
          ValueError: no teacher, or one that cannot teach the student.
          OSError: a repository of handles that cannot be read.
        """
        student = super().initial_model()
        path = self._settings.teacher
        if not path:
            raise ValueError("distillation.teacher='' is not allowed: it must be a trained model to learn from")
        teacher = self.trained_model(path, "distillation.teacher")
        names = list(super().loss()) if isinstance(student.output, dict) else student.output_names
        compared = compare(student, teacher, names, self._settings)
        print(f"Learning from {path}, {teacher.count_params():,} parameters: {_described(compared)}")
        self._lesson = Lesson(student, teacher, compared, self._settings, self.output_masks)
        return _taught(student, self._lesson)

    def loss(self):
        """The other task's loss if `distillation.labels` is set; None otherwise. The model adds that of its teacher."""
        return super().loss() if self._settings.labels else None

    def metrics(self):
        """The other task's, unless nothing trains the outputs that they measure."""
        trains_outputs = self._settings.labels or self._lesson is None or self._lesson.compared.outputs
        return super().metrics() if trains_outputs else None


class Compared(NamedTuple):
    """What a student is compared in.

    Attributes:
      blocks: list of ints, for each block of the student that of the teacher, from 0 on; [] if blocks are not compared.
      outputs: list of the names of the outputs.
    """

    blocks: list
    outputs: list


def compare(student, teacher, names, settings):
    """Finds what can be compared, a Compared. Arguments as of Lesson; `names` are those of the student's outputs with a loss.

    Raises:
      ValueError: a teacher of another width or with other outputs, inputs that the student does not have, or nothing to compare.
    """
    given = f"distillation.teacher={settings.teacher!r} is not allowed"
    if isinstance(teacher.input, dict) and isinstance(student.input, dict):
        missing = sorted(teacher.input.keys() - student.input.keys())
        if missing:
            raise ValueError(f"{given}: it takes the input {missing[0]}, which {student.name} does not have")
    widths, taught = (list(getattr(model, "block_widths", [])) for model in (student, teacher))
    blocks = matching_blocks(len(widths), len(taught)) if settings.blocks else []
    for block, other in enumerate(blocks):
        if widths[block] != taught[other]:
            raise ValueError(f"{given}: its width is {taught[other]}, and that of {student.name} {widths[block]}")
    outputs = []
    if settings.outputs:
        shapes = {name: tensor.shape for name, tensor in _named_outputs(student, student.output).items()}
        for name, tensor in _named_outputs(teacher, teacher.output).items():
            if name in names and name in shapes:
                if tensor.shape[-1] != shapes[name][-1]:
                    of_each = f"its output {name} has {tensor.shape[-1]} values, and that of {student.name} {shapes[name][-1]}"
                    raise ValueError(f"{given}: {of_each} (with distillation.outputs=0 only blocks are compared)")
                outputs.append(name)
    if not (blocks or outputs):
        raise ValueError(f"{given}: it has no block and no output that {student.name} has, too")
    return Compared(blocks, outputs)


def matching_blocks(depth, other):
    """For each block of a model, counted from 0, the block of another model that ends at the same relative depth or just after.

    So the last block always learns from the last one.

    Args:
      depth, other: numbers of blocks in the two models.

    Returns:
      A list of ints; [] if one of the models has no blocks.
    """
    return [-(-(block + 1) * other // depth) - 1 for block in range(depth)] if other else []


def _described(compared):
    parts = [f"the outputs {', '.join(compared.outputs)}"] if compared.outputs else []
    if compared.blocks:
        is_equal = compared.blocks == list(range(len(compared.blocks)))
        of_teacher = "" if is_equal else f" to its blocks {', '.join(str(block + 1) for block in compared.blocks)}"
        parts.insert(0, f"{len(compared.blocks)} blocks{of_teacher}")
    return " and ".join(parts) + " are compared"


def _named_outputs(model, outputs):
    """{name: tensor} of a functional Keras model's outputs."""
    return dict(zip(model.output_names, tf.nest.flatten(outputs), strict=True))


class Lesson:
    """A teacher, and what a student learns of it; not a tf.Module, so that none of it is a part of the student.

    Args:
      student, teacher: functional Keras models; blocks are compared of those that have widenet.Model's `block_widths`,
        `recording_blocks` and `call_with_blocks`.
      compared: a Compared.
      settings: the `distillation` settings.
      masks: function of a batch's inputs, as official.task.Task.output_masks.

    Attributes:
      compared: the same.
      shares: an UnexplainedShares of the steps since the last reset.
    """

    def __init__(self, student, teacher, compared, settings, masks):
        self.compared = compared
        self._teacher = teacher
        self._masks = masks
        of_kinds = ((settings.blocks, compared.blocks), (settings.outputs, compared.outputs))
        self._weights = [weight / len(names) for weight, names in of_kinds for _ in names]
        names = [f"block_{block + 1}" for block in range(len(compared.blocks))]
        self.shares = UnexplainedShares(names + compared.outputs)
        self._step = threading.local()  # each replica traces its step in a thread of its own

    @contextlib.contextmanager
    def watch(self, student):
        """A context for a step of the student, whose blocks' outputs are kept for `loss`."""
        recording = student.recording_blocks() if self.compared.blocks else contextlib.nullcontext([])
        with recording as self._step.blocks:
            yield

    def loss(self, student, inputs, outputs):
        """The loss of a step in a replica, a scalar whose mean over the replicas is that of the whole batch; counts it in
        `shares`. Called inside `watch`.

        Args:
          student: the model.
          inputs: of a batch.
          outputs: the student's, of the same.
        """
        pairs = [_Pair(*pair) for pair in self._pairs(student, inputs, outputs)]
        tokens_and_sums = _over_replicas([pair.tokens_and_sum() for pair in pairs])
        deviations = [pair.deviations(sums / tokens) for pair, (tokens, sums) in zip(pairs, tokens_and_sums, strict=True)]
        errors = [pair.errors() for pair in pairs]
        self.shares.update_state(errors, deviations)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        wholes = _over_replicas(deviations)
        terms = zip(self._weights, errors, wholes, strict=True)
        return replicas * tf.add_n([weight * tf.math.divide_no_nan(error, whole) for weight, error, whole in terms])

    def _pairs(self, student, inputs, outputs):
        """Yields (teacher's tensor, student's tensor, mask or None) of everything that is compared."""
        taught = inputs
        if isinstance(self._teacher.input, dict) and isinstance(inputs, dict):
            taught = {name: inputs[name] for name in self._teacher.input}
        if self.compared.blocks:
            answers, theirs = self._teacher.call_with_blocks(taught)
        else:
            answers, theirs = self._teacher(taught, training=False), []
        for ours, block in zip(self._step.blocks, self.compared.blocks, strict=True):
            yield theirs[block].output, ours.output, ours.mask
        named, masks = _named_outputs(self._teacher, answers), self._masks(inputs)
        for name in self.compared.outputs:
            yield named[name], _named_outputs(student, outputs)[name], masks.get(name)


class _Pair:
    """A tensor of the teacher [..., features] and the student's, with the mask [...] of what is not padding.

    Everything is float32 at least.
    """

    def __init__(self, taught, learned, mask):
        dtype = tf.float64 if learned.dtype == tf.float64 else tf.float32
        self._taught = tf.stop_gradient(tf.cast(taught, dtype))
        self._learned = tf.cast(learned, dtype)
        shape = tf.shape(self._taught)[:-1]
        self._weights = (tf.ones(shape, dtype) if mask is None else tf.cast(mask, dtype))[..., tf.newaxis]

    def tokens_and_sum(self):
        """The number of tokens, a scalar, and the sum of the teacher's values over them: [features]."""
        return tf.reduce_sum(self._weights), self._summed(self._taught * self._weights)

    def deviations(self, mean):
        """The sum of squares of the teacher's values about their mean [features]."""
        return tf.reduce_sum(tf.square((self._taught - mean) * self._weights))

    def errors(self):
        """The sum of squares of the student's errors."""
        return tf.reduce_sum(tf.square((self._learned - self._taught) * self._weights))

    def _summed(self, values):
        return tf.reduce_sum(values, axis=list(range(values.shape.rank - 1)))


def _over_replicas(tensors):
    """A nest of tensors, each summed over the replicas that make this step together."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return tensors
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tensors)


class UnexplainedShares(tf.keras.metrics.Metric):
    """The unexplained share of each of several tensors, over all steps since the last reset: {"NAME_unexplained": share}.

    Errors and deviations are summed before they are divided.
    """

    def __init__(self, names, name="unexplained", **kwargs):
        super().__init__(name=name, **kwargs)
        self._names = list(names)
        self.errors = self.add_weight("errors", (len(names),), initializer="zeros")
        self.deviations = self.add_weight("deviations", (len(names),), initializer="zeros")

    def update_state(self, errors, deviations):
        """Takes lists of scalars, the sums of squares of a step."""
        for variable, values in ((self.errors, errors), (self.deviations, deviations)):
            variable.assign_add(tf.cast(tf.stop_gradient(tf.stack(values)), variable.dtype))

    def result(self):
        shares = tf.math.divide_no_nan(self.errors, self.deviations)
        return {f"{name}_unexplained": share for name, share in zip(self._names, tf.unstack(shares), strict=True)}

    def reset_state(self):
        for variable in self.variables:
            variable.assign(tf.zeros_like(variable))


def _taught(student, lesson):
    """A model of the student's layers, with its weights in their order, that also learns from a teacher in `fit`."""
    kind = type(type(student).__name__, (_Taught, type(student)), {})
    model = kind(inputs=student.input, outputs=student.output, name=student.name)
    object.__setattr__(model, "_lesson", lesson)  # untracked: neither the teacher nor the metric is saved with the model
    return model


class _Taught:
    """Mixin, to stand before the class of a functional Keras model: adds the loss of a Lesson to each step."""

    @property
    def metrics(self):
        return [*super().metrics, self._lesson.shares]

    def train_step(self, data):
        with self._lesson.watch(self):
            return super().train_step(data)

    def test_step(self, data):
        with self._lesson.watch(self):
            return super().test_step(data)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
        """The loss on the labels, if there is one, those that layers add, such as balance losses, and that of the lesson.

        All of them are in the metric "loss" this way, as Keras computes it.
        """
        named = self.by_name(y_pred) if hasattr(self, "by_name") else y_pred
        added = [*self.losses, self._lesson.loss(self, x, y_pred)]
        return self.compiled_loss(y if self.loss else None, named, sample_weight, regularization_losses=added)
