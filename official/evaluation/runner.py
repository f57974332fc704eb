"""Runs a model over a split, batch by batch, and writes the files of the evaluation."""

import tensorflow as tf

from official.files.summary import write_summary
from official.files.workdir import METRICS_JSON

METRICS_FILE = {METRICS_JSON: "metrics, versions and the full config"}


def run_model(call, dataset, evaluation):
    """Adds all batches of a dataset to an official.task.Evaluation.

    Args:
      call: function of a batch's inputs to outputs, and int32 [batch, blocks, E] or None.
      dataset: a tf.data.Dataset of (inputs, labels).

    Raises:
      ValueError: an empty dataset, or outputs and labels that the evaluation refuses.
    """

    @tf.function(input_signature=dataset.element_spec)
    def outputs_of(inputs, labels):
        outputs, assignments = call(inputs)
        return evaluation.reduce(inputs, labels, outputs), assignments

    for inputs, labels in dataset:
        batch = (inputs, labels, *outputs_of(inputs, labels))
        evaluation.add(*tf.nest.map_structure(lambda tensor: None if tensor is None else tensor.numpy(), batch))
    if not evaluation.examples:
        raise ValueError("the split has no examples")


def write_evaluation(folder, evaluation, **fields):
    """Writes an evaluation's files, in place of those of an earlier one.

    Args:
      folder: a pathlib.Path; made if it does not exist.
      evaluation: an official.task.Evaluation that has all its batches.
      **fields: more entries of metrics.json, about the model and the split.

    Returns:
      The content of metrics.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in {**METRICS_FILE, **evaluation.files}:
        (folder / name).unlink(missing_ok=True)
    metrics = evaluation.write(folder)
    return write_summary(folder / METRICS_JSON, examples=evaluation.examples, metrics=metrics, **fields)
