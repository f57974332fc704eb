"""Metrics of classifiers against scikit-learn, NumPy in float64 and numbers computed by hand."""

import numpy as np
import pytest
from sklearn import metrics

from official.evaluation.metrics import (
    assignments_by_class,
    calibration,
    classification_metrics,
    confusion_matrix,
    expected_calibration_error,
    expert_shares,
    join_predictions,
    predictions,
)


def softmax(logits):
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def random_scores(classes, examples=400):
    random = np.random.default_rng(classes)
    return random.normal(scale=3, size=(examples, classes)), random.integers(0, classes, examples)


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("classes", [2, 5, 6, 10, 100])
def test_against_scikit_learn(classes, from_logits):
    """Accuracies exactly, losses to the rounding of float64; the top five say nothing where there are but five classes."""
    logits, labels = random_scores(classes)
    probabilities, known = softmax(logits), np.arange(classes)
    found = predictions(logits if from_logits else probabilities, labels, from_logits)
    measured = classification_metrics(found, classes)
    assert measured["top_1"] == metrics.accuracy_score(labels, probabilities.argmax(axis=-1))
    assert ("top_5" in measured) == (classes > 5)
    if classes > 5:
        assert measured["top_5"] == metrics.top_k_accuracy_score(labels, probabilities, k=5, labels=known)
    assert measured["loss"] == pytest.approx(metrics.log_loss(labels, probabilities, labels=known), rel=1e-12)
    np.testing.assert_allclose(found.confidences, probabilities.max(axis=-1), rtol=1e-12)
    matrix = confusion_matrix(found, classes)
    assert matrix.sum() == 400
    for true, taken in ((0, 0), (0, 1), (classes - 1, 0)):
        assert matrix[true, taken] == np.sum((labels == true) & (logits.argmax(axis=-1) == taken))


def test_batches_in_any_number():
    """Joined batches say what one batch says."""
    logits, labels = random_scores(10)
    whole = predictions(logits, labels)
    joined = join_predictions(
        [predictions(logits[part], labels[part]) for part in (slice(0, 7), slice(7, 300), slice(300, None))]
    )
    for one, other in zip(whole, joined, strict=True):
        np.testing.assert_array_equal(one, other)


def test_extreme_logits():
    """A softmax in float32 would give loss inf; by hand: 1000 and, of two equal classes, log 2."""
    found = predictions(np.float32([[1000, 0, 0], [-1000, 5, 5]]), [1, 2])
    np.testing.assert_allclose(found.losses, [1000, np.log(2)], rtol=1e-12)
    np.testing.assert_allclose(found.confidences, [1, 0.5], rtol=1e-12)


def test_ties_go_to_the_first_class():
    """As argmax has it: of equal scores one is right, not all. Ranks by hand."""
    found = predictions(np.zeros([4, 8]), [0, 1, 4, 5])
    np.testing.assert_array_equal(found.predicted, 0)
    np.testing.assert_array_equal(found.ranks, [0, 1, 4, 5])
    measured = classification_metrics(found, 8)
    assert (measured["top_1"], measured["top_5"]) == (0.25, 0.75)


def test_probability_zero():
    """Of the true class: the loss is that of 2^-52, as scikit-learn has it, and not inf."""
    probabilities = np.array([[1.0, 0.0], [0.5, 0.5]])
    found = predictions(probabilities, [1, 0], from_logits=False)
    np.testing.assert_allclose(found.losses, [52 * np.log(2), np.log(2)], rtol=1e-12)
    assert np.mean(found.losses) == pytest.approx(metrics.log_loss([1, 0], probabilities), rel=1e-12)


def test_labels_that_are_distributions():
    """The loss is to the distribution, the class its largest entry; a one-hot label is the class itself."""
    logits, labels = random_scores(6)
    for one, other in zip(predictions(logits, labels), predictions(logits, np.eye(6)[labels]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    smooth = 0.9 * np.eye(6)[labels] + 0.1 / 6
    found = predictions(logits, smooth)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_allclose(found.losses, -(smooth * np.log(softmax(logits))).sum(axis=-1), rtol=1e-9)


@pytest.mark.parametrize(
    "scores, labels, from_logits, message",
    [
        ([[0, 1], [0, np.nan]], [0, 0], True, "example 1 of the batch: its scores are not finite"),
        ([[0, 1], [0, 1]], [0, 2], True, "example 1 of the batch: its label must be from 0 to 1"),
        ([[0, 1], [0, 1]], [-1, 0], True, "example 0 of the batch: its label"),
        ([[0.5, 0.5], [3.0, -2.0]], [0, 1], False, "example 1 of the batch: its probabilities"),
        ([[0.5, 0.5], [0.5, 0.6]], [0, 1], False, "example 1 of the batch: its probabilities"),
        ([[0, 1], [0, 1]], [[0, 1], [0.5, 0.2]], True, "example 1 of the batch: its label must be a class"),
    ],
)
def test_refusals(scores, labels, from_logits, message):
    with pytest.raises(ValueError, match=message):
        predictions(np.array(scores, float), np.array(labels), from_logits)


class TestCalibration:
    def test_by_hand(self):
        """Five bins. (0, 0.2]: 0.1 and 0.2, one right: 2 of |0.5 - 0.15|; (0.4, 0.6]: 0.5, wrong; (0.8, 1]: 0.9 and 1, right.

        (2 * 0.35 + 0.5 + 2 * 0.05) / 5 = 0.26; two bins are empty. A confidence on an edge is of the bin below.
        """
        found = calibration(np.array([0.1, 0.2, 0.5, 0.9, 1.0]), np.array([True, False, False, True, True]), bins=5)
        np.testing.assert_array_equal(found.counts, [2, 0, 1, 0, 2])
        np.testing.assert_allclose(found.confidences, [0.15, 0, 0.5, 0, 0.95])
        np.testing.assert_allclose(found.accuracies, [0.5, 0, 0, 0, 1])
        assert expected_calibration_error(found) == pytest.approx(0.26)

    def test_perfect_and_worst(self):
        """70 % right at confidence 0.7 is perfect; always wrong and always certain is the worst."""
        right = np.arange(10) < 7
        assert expected_calibration_error(calibration(np.full(10, 0.7), right)) == pytest.approx(0, abs=1e-12)
        assert expected_calibration_error(calibration(np.ones(10), np.zeros(10, bool))) == 1

    def test_against_a_loop(self):
        """15 bins, an example at a time, edges included."""
        random = np.random.default_rng(0)
        confidences = np.concatenate([random.uniform(size=300), np.arange(16) / 15, [1e-9]])
        correct = random.uniform(size=len(confidences)) < confidences
        bins = [[] for _ in range(15)]
        for confidence, is_right in zip(confidences, correct, strict=True):
            place = next(b for b in range(15) if confidence <= np.linspace(0, 1, 16)[b + 1])
            bins[place].append((confidence, is_right))
        gaps = [abs(sum(c for c, _ in b) - sum(r for _, r in b)) for b in bins]
        error = expected_calibration_error(calibration(confidences, correct))
        assert error == pytest.approx(sum(gaps) / len(confidences), rel=1e-12)


def test_expert_shares_by_hand():
    """Two blocks, three experts; examples weigh by their tokens, class 1 has none and stays unknown."""
    assignments = np.array([[[2, 0, 0], [0, 1, 1]], [[0, 4, 2], [3, 3, 0]], [[1, 0, 0], [0, 0, 1]]])
    totals = assignments_by_class(assignments, np.array([0, 0, 2]), 3)
    np.testing.assert_array_equal(totals[0], [[2, 4, 2], [3, 4, 1]])
    assert not totals[1].any()
    shares = expert_shares(totals)
    assert shares.shape == (2, 3, 3)
    np.testing.assert_allclose(shares[0], [[0.25, 0.5, 0.25], [np.nan] * 3, [1, 0, 0]])
    np.testing.assert_allclose(shares[1], [[0.375, 0.5, 0.125], [np.nan] * 3, [0, 0, 1]])
