"""Runs a model over a split, batch by batch, and writes the files of the evaluation."""

import os

import tensorflow as tf

from official.files.checked_json import read_json
from official.files.layout import METRICS_JSON, check_output
from official.files.summary import write_summary

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


def check_folder(folder, evaluation):
    """Refuses a folder with files of the names that an evaluation writes, unless an earlier evaluation wrote them.

    Args:
      folder: a pathlib.Path.
      evaluation: an official.task.Evaluation.

    Raises:
      ValueError: names the folder.
    """
    names = [name for name in {**METRICS_FILE, **evaluation.files} if os.path.lexists(folder / name)]
    is_own = folder.is_dir() and (not names or _is_evaluation(folder / METRICS_JSON))
    found = f", and {', '.join(names)} may be of something else" if names else ""
    check_output(folder, is_own, f"a folder that an evaluation may write into{found}")


def _is_evaluation(path):
    try:
        return {"evaluated", "split", "metrics"} <= set(read_json(path))
    except (OSError, ValueError):
        return False


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
