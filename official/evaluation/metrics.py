"""Metrics of a classifier: accuracy, loss, calibration, confusion matrix, and each class's shares of the experts.

Axes: examples N, classes, MoE blocks, experts E. All numbers are computed in float64.
"""

from typing import NamedTuple

import numpy as np

CALIBRATION_BINS = 15


class Predictions(NamedTuple):
    """The few numbers that are kept of each example, so that a split of any size fits into memory.

    Attributes:
      labels: int64 [N], the true classes.
      predicted: int64 [N], the classes of the largest score; of equal scores the first class.
      ranks: int64 [N], the number of classes that are ranked before the true one: 0 where it is predicted.
      confidences: float64 [N], the probability of the predicted class.
      losses: float64 [N], the cross-entropy to the label, in nats.
    """

    labels: np.ndarray
    predicted: np.ndarray
    ranks: np.ndarray
    confidences: np.ndarray
    losses: np.ndarray


def predictions(scores, labels, from_logits=True):
    """The Predictions of a batch.

    Args:
      scores: float [N, classes], logits or probabilities.
      labels: int [N], or float distributions [N, classes], of which the largest entry is the true class.
      from_logits: False for probabilities, which are clipped to at least 2^-52 for the loss, as in sklearn.metrics.log_loss.

    Raises:
      ValueError: a score that is not finite, a label out of range, probabilities that do not sum to 1; with the number of the
        first such example in the batch.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    _check(np.all(np.isfinite(scores), axis=-1), "its scores are not finite")
    scores = scores.astype(np.float64)
    classes = scores.shape[-1]
    if from_logits:
        log_probabilities = scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)
    else:
        _check(_is_distribution(scores), "its probabilities must be at least 0 and sum to 1")
        log_probabilities = np.log(np.maximum(scores, np.finfo(np.float64).eps))
    if labels.ndim == 2:
        _check(_is_distribution(labels), "its label must be a class, or at least 0 everywhere and sum to 1")
        losses = -np.sum(labels * log_probabilities, axis=-1)
        labels = np.argmax(labels, axis=-1)
    else:
        _check((labels >= 0) & (labels < classes), f"its label must be from 0 to {classes - 1}")
        losses = -np.take_along_axis(log_probabilities, labels[:, np.newaxis], axis=-1)[:, 0]
    own = np.take_along_axis(scores, labels[:, np.newaxis], axis=-1)
    before = (scores > own) | ((scores == own) & (np.arange(classes) < labels[:, np.newaxis]))
    predicted = np.argmax(scores, axis=-1)
    confidences = np.exp(np.max(log_probabilities, axis=-1))
    return Predictions(labels.astype(np.int64), predicted, np.sum(before, axis=-1), confidences, losses)


def _is_distribution(rows):
    return np.all(rows >= 0, axis=-1) & (np.abs(np.sum(rows, axis=-1) - 1) < 1e-2)  # the tolerance of a sum in bfloat16


def _check(is_right, what):
    if not np.all(is_right):
        raise ValueError(f"example {int(np.argmin(is_right))} of the batch: {what}")


def join_predictions(batches):
    """The Predictions of several batches as one."""
    return Predictions(*(np.concatenate(parts) for parts in zip(*batches, strict=True)))


def classification_metrics(found, classes):
    """Metrics of all examples.

    Args:
      found: Predictions.
      classes: their number. `top_5` is left out for five or fewer, where it would be 1.

    Returns:
      Dict of floats: top_1, top_5, loss (mean cross-entropy in nats), expected_calibration_error.
    """
    return {
        "top_1": float(np.mean(found.ranks < 1)),
        **({"top_5": float(np.mean(found.ranks < 5))} if classes > 5 else {}),
        "loss": float(np.mean(found.losses)),
        "expected_calibration_error": expected_calibration_error(calibration(found.confidences, found.ranks == 0)),
    }


class Calibration(NamedTuple):
    """Examples in B bins by confidence: bin b has confidences above b / B and up to (b + 1) / B.

    Attributes:
      counts: int64 [B], number of examples.
      confidences: float64 [B], mean confidence; 0 in an empty bin.
      accuracies: float64 [B], share of correct predictions; 0 in an empty bin.
    """

    counts: np.ndarray
    confidences: np.ndarray
    accuracies: np.ndarray


def calibration(confidences, correct, bins=CALIBRATION_BINS):
    """The Calibration of examples with confidences float [N] in [0, 1] of which `correct`, bool [N], are right."""
    inner_edges = np.linspace(0, 1, bins + 1)[1:-1]
    places = np.digitize(confidences, inner_edges, right=True)
    counts = np.bincount(places, minlength=bins)
    sums = (np.bincount(places, weights=values, minlength=bins) for values in (confidences, correct))
    return Calibration(counts, *(total / np.maximum(counts, 1) for total in sums))


def expected_calibration_error(found):
    """Mean over examples of |accuracy - confidence| of their bin (arXiv:1706.04599, equation 5)."""
    gaps = np.abs(found.accuracies - found.confidences)
    return float(np.sum(found.counts * gaps) / np.sum(found.counts))


def confusion_matrix(found, classes):
    """int64 [classes, classes] of Predictions: number of examples by true class (rows) and predicted class (columns)."""
    return np.bincount(found.labels * classes + found.predicted, minlength=classes**2).reshape(classes, classes)


def assignments_by_class(assignments, labels, classes):
    """Sums over the examples of each class the number of (token, choice) pairs sent to each expert.

    Args:
      assignments: int [N, blocks, E], of each example.
      labels: int [N].

    Returns:
      int64 [classes, blocks, E].
    """
    totals = np.zeros([classes, *assignments.shape[1:]], np.int64)
    np.add.at(totals, labels, assignments)
    return totals


def expert_shares(totals):
    """Each expert's share of a class's assignments in a block.

    Args:
      totals: int [classes, blocks, E].

    Returns:
      float64 [blocks, classes, E], with sum 1 over the experts; nan for a class without tokens.
    """
    by_block = np.swapaxes(totals, 0, 1).astype(np.float64)
    sums = np.sum(by_block, axis=-1, keepdims=True)
    return np.divide(by_block, sums, out=np.full(by_block.shape, np.nan), where=sums > 0)
