"""The evaluation of a classifier: metrics, confusion matrix, calibration, and each class's shares of the experts.

Axes: examples N, classes, MoE blocks, experts E.
"""

import csv
import io

import numpy as np
import tensorflow as tf

from official.evaluation.metrics import (
    assignments_by_class,
    calibration,
    classification_metrics,
    confusion_matrix,
    expert_shares,
    join_predictions,
    predictions,
)
from official.evaluation.plots import draw_confusion_matrix, draw_expert_shares, draw_reliability
from official.task import Evaluation

FILES = {
    "confusion_matrix.csv": "examples by true class (rows) and predicted class (columns)",
    "confusion_matrix.png": "its picture, in shares of the true class",
    "reliability.png": "accuracy by confidence",
    "expert_share_per_class.csv": "each expert's share of a class's tokens, by MoE block",
    "expert_share_per_class.png": "its picture",
}


class ClassificationEvaluation(Evaluation):
    """An official.task.Evaluation of a single-label classifier, of images or of text.

    The model's outputs are logits float [N, classes]; labels are int [N] or float distributions [N, classes].

    Args:
      class_names: list of str, in the order of the logits.
      title: of the pictures (official.task.evaluation_title).
    """

    files = FILES

    def __init__(self, class_names, title=""):
        self.class_names = class_names
        self._title = title
        self._batches = []
        self._assignments = None

    @property
    def examples(self):
        return sum(len(batch.labels) for batch in self._batches)

    @property
    def predictions(self):
        """official.evaluation.metrics.Predictions of all examples so far."""
        return join_predictions(self._batches)

    def add(self, inputs, labels, outputs, assignments):
        del inputs
        classes = len(self.class_names)
        if outputs.shape[-1] != classes:
            raise ValueError(f"the model has {outputs.shape[-1]} outputs and the task {classes} classes")
        self._batches.append(predictions(outputs, labels))
        if assignments is not None:
            of_batch = assignments_by_class(assignments, self._batches[-1].labels, classes)
            self._assignments = of_batch if self._assignments is None else self._assignments + of_batch

    def confusion_picture(self):
        """The content of confusion_matrix.png."""
        content = io.BytesIO()
        matrix = confusion_matrix(self.predictions, len(self.class_names))
        draw_confusion_matrix(content, matrix, self.class_names, self._title)
        return content.getvalue()

    def write(self, folder):
        """Writes `files`, those about experts only for a model with experts; returns `classification_metrics`."""
        found, names = self.predictions, self.class_names
        matrix = confusion_matrix(found, len(names))
        _write_confusion_matrix(folder / "confusion_matrix.csv", matrix, names)
        draw_confusion_matrix(folder / "confusion_matrix.png", matrix, names, self._title)
        draw_reliability(folder / "reliability.png", calibration(found.confidences, found.ranks == 0), self._title)
        if self._assignments is not None:
            shares = expert_shares(self._assignments)
            _write_expert_shares(folder / "expert_share_per_class.csv", shares, names)
            draw_expert_shares(folder / "expert_share_per_class.png", shares, names, self._title)
        return classification_metrics(found, len(names))


def pictures_of(task, part):
    """`pictures` of an official.task.Task whose Evaluation has `confusion_picture`, for a part that gives "logits"."""
    evaluation = task.evaluation("validation")
    for inputs, labels in task.evaluation_dataset("validation"):
        logits = part.module.call(inputs)["logits"]  # the export has traced this
        evaluation.add(*tf.nest.map_structure(lambda tensor: tensor.numpy(), (inputs, labels, logits)), None)
    return {"confusion_matrix": evaluation.confusion_picture()}


def _write_confusion_matrix(path, matrix, names):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["true class", *names])
        writer.writerows([name, *map(int, row)] for name, row in zip(names, matrix, strict=True))


def _write_expert_shares(path, shares, names):
    """A row for each block and class; empty shares for a class without examples."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["block", "class", *(f"expert_{e}" for e in range(shares.shape[-1]))])
        for block, of_classes in enumerate(shares):
            for name, row in zip(names, of_classes, strict=True):
                writer.writerow([block, name, *("" if np.isnan(share) else float(share) for share in row)])
