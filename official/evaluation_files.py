"""The files of an evaluation: numbers as JSON and CSV, and their pictures."""

import csv
from typing import NamedTuple

import numpy as np

from official.evaluation import Predictions, calibration, classification_metrics, confusion_matrix, expert_shares
from official.evaluation_pictures import draw_confusion_matrix, draw_expert_shares, draw_reliability
from official.summary import write_summary

FILES = {
    "metrics.json": "metrics, versions and the full config",
    "confusion_matrix.csv": "true classes (rows) and what they were taken for (columns)",
    "confusion_matrix.png": "its picture, in shares of the true class",
    "reliability.png": "accuracy by confidence",
    "expert_share_per_class.csv": "each expert's share of a class's tokens, by MoE block",
    "expert_share_per_class.png": "its picture",
}


class Evaluation(NamedTuple):
    """A model's outputs on a split.

    Attributes:
      predictions: official.evaluation.Predictions of all examples.
      class_names: list of str.
      assignments: int64 [classes, blocks, E], (token, choice) of each class and expert; None where there are no experts.
    """

    predictions: Predictions
    class_names: list
    assignments: np.ndarray | None


def write_evaluation(directory, evaluation, **fields):
    """Writes FILES, those of experts only where there are any, in place of those of an earlier evaluation.

    Args:
      directory: a pathlib.Path; made if it does not exist.
      evaluation: an Evaluation.
      **fields: what metrics.json says besides, of the model and the split.

    Returns:
      What metrics.json holds.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (directory / name).unlink(missing_ok=True)
    found, names = evaluation.predictions, evaluation.class_names
    matrix = confusion_matrix(found, len(names))
    _write_confusion_matrix(directory / "confusion_matrix.csv", matrix, names)
    draw_confusion_matrix(directory / "confusion_matrix.png", matrix, names)
    draw_reliability(directory / "reliability.png", calibration(found.confidences, found.ranks == 0))
    if evaluation.assignments is not None:
        shares = expert_shares(evaluation.assignments)
        _write_expert_shares(directory / "expert_share_per_class.csv", shares, names)
        draw_expert_shares(directory / "expert_share_per_class.png", shares, names)
    measured = classification_metrics(found, len(names))
    return write_summary(directory / "metrics.json", examples=len(found.labels), metrics=measured, **fields)


def _write_confusion_matrix(path, matrix, names):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["true class", *names])
        writer.writerows([name, *map(int, row)] for name, row in zip(names, matrix, strict=True))


def _write_expert_shares(path, shares, names):
    """A row for each block and class; no shares for a class that the split has no example of."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["block", "class", *(f"expert_{e}" for e in range(shares.shape[-1]))])
        for block, of_classes in enumerate(shares):
            for name, row in zip(names, of_classes, strict=True):
                writer.writerow([block, name, *("" if np.isnan(share) else float(share) for share in row)])
