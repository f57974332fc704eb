"""Metrics against scikit-learn and SciPy: on random inputs, in batches, and where they have no value by the formula."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from sklearn import metrics

from bert.texts.metrics import CLASSIFICATION, REGRESSION, Pearson, classification_scores, keras_metrics, regression_scores


def random_classes(classes, examples=301, seed=0):
    """(labels, scores whose largest is right more often than not)"""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, examples)
    return labels, random.normal(size=(examples, classes)) + 0.8 * np.eye(classes)[labels]


def streamed(metric, labels, scores, batch=50):
    for start in range(0, len(labels), batch):
        metric.update_state(labels[start : start + batch, np.newaxis], scores[start : start + batch])
    return float(metric.result())


def expected_classification(labels, predicted, classes):
    """By scikit-learn's own words for what GLUE reports."""
    f1 = metrics.f1_score(labels, predicted) if classes == 2 else metrics.f1_score(labels, predicted, average="macro")
    return {
        "accuracy": np.mean(labels == predicted),
        "f1": f1,
        "matthews": metrics.matthews_corrcoef(labels, predicted),
    }


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("seed", range(3))
def test_classification(classes, seed):
    """All at once in float64, and batch by batch in float32 (1e-6), are scikit-learn's."""
    labels, scores = random_classes(classes, seed=seed)
    expected = expected_classification(labels, scores.argmax(axis=-1), classes)
    assert classification_scores(CLASSIFICATION, labels, scores.argmax(axis=-1), classes) == pytest.approx(expected, rel=1e-12)
    for metric in keras_metrics(CLASSIFICATION, classes):
        assert streamed(metric, labels, scores) == pytest.approx(expected[metric.name], abs=1e-6), metric.name


@pytest.mark.parametrize(
    "labels, predicted, f1, matthews",
    [
        ([0, 1, 1, 0], [0, 0, 0, 0], 0, 0),
        ([0, 1, 1, 0], [1, 1, 1, 1], 2 / 3, 0),
        ([1, 1, 1, 1], [0, 1, 1, 0], 2 / 3, 0),
        ([0, 0, 0, 0], [0, 0, 0, 0], 0, 0),
        ([1, 1, 1, 1], [1, 1, 1, 1], 1, 0),
        ([0, 1, 0, 1], [1, 0, 1, 0], 0, -1),
    ],
    ids=["never predicted", "always predicted", "one label", "never at all", "always right", "always wrong"],
)
def test_degenerate_classification(labels, predicted, f1, matthews):
    """Where all are of one class: by hand, and the same from both."""
    labels, predicted = np.array(labels), np.array(predicted)
    found = classification_scores(("f1", "matthews"), labels, predicted, 2)
    assert found == pytest.approx({"f1": f1, "matthews": matthews})
    for metric in keras_metrics(("f1", "matthews"), 2):
        assert streamed(metric, labels, np.eye(2)[predicted], batch=3) == pytest.approx(found[metric.name], abs=1e-6)


def test_a_class_that_there_is_not_counts_in_the_mean():
    """F1 over three classes of which one is neither a label nor predicted: (1 + 1 + 0) / 3."""
    labels = np.array([0, 1, 1])
    assert classification_scores(("f1",), labels, labels, 3)["f1"] == pytest.approx(2 / 3)
    (metric,) = keras_metrics(("f1",), 3)
    assert streamed(metric, labels, np.eye(3)[labels]) == pytest.approx(2 / 3)


@pytest.mark.parametrize("scale, shift", [(1, 0), (1e-3, 0), (0.5, 1000), (-2, -7)])
def test_regression(scale, shift):
    """Scores of any size and place, with ties, are SciPy's: 1e-6 for the streamed one's float32 result."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 26, 301) / 5
    scores = scale * (labels + random.normal(size=301)).round(1) + shift
    expected = {"pearson": stats.pearsonr(labels, scores)[0], "spearman": stats.spearmanr(labels, scores)[0]}
    assert regression_scores(REGRESSION, labels, scores) == pytest.approx(expected, rel=1e-12)
    (pearson,) = keras_metrics(REGRESSION, 1)
    assert streamed(pearson, labels, scores[:, np.newaxis]) == pytest.approx(expected["pearson"], abs=1e-6)


@pytest.mark.parametrize(
    "labels, scores",
    [([1.0, 2.0, 3.0], [0.1, 0.1, 0.1]), ([0.3, 0.3, 0.3], [1.0, 2.0, 3.0]), ([0.7] * 3, [0.7] * 3)],
    ids=["constant scores", "constant labels", "both"],
)
def test_degenerate_regression(labels, scores):
    """No correlation is defined: 0, and never nan. Of 903 times 0.7 the variance by sums is not quite 0, and below."""
    labels, scores = np.array(labels * 301, np.float32), np.array(scores * 301, np.float32)
    for examples in (1, len(labels)):
        found = regression_scores(REGRESSION, labels[:examples], scores[:examples])
        assert found == {"pearson": 0.0, "spearman": 0.0}
    assert streamed(Pearson(), labels[:1], scores[:1]) == 0
    assert streamed(Pearson(), labels, scores) == 0


def test_nothing_seen_yet():
    """As at the very beginning of an epoch: 0, and no nan."""
    for metric in (*keras_metrics(CLASSIFICATION, 2), *keras_metrics(REGRESSION, 1)):
        assert float(metric.result()) == 0


def test_weights_and_reset():
    """An example of weight two counts as two; a reset forgets everything."""
    labels, scores = random_classes(2)
    weights = np.random.default_rng(1).integers(0, 3, len(labels))
    f1, matthews = keras_metrics(("f1", "matthews"), 2)
    for metric in (f1, matthews):
        metric.update_state(labels, scores)
        metric.reset_state()
        metric.update_state(labels, scores, sample_weight=weights)
    predicted = scores.argmax(axis=-1)
    assert float(f1.result()) == pytest.approx(metrics.f1_score(labels, predicted, sample_weight=weights), abs=1e-6)
    expected = metrics.matthews_corrcoef(labels, predicted, sample_weight=weights)
    assert float(matthews.result()) == pytest.approx(expected, abs=1e-6)
    pearson = Pearson()
    pearson.update_state(labels, scores[:, 0], sample_weight=weights)
    repeated = (np.repeat(values, weights) for values in (labels, scores[:, 0]))
    assert float(pearson.result()) == pytest.approx(stats.pearsonr(*repeated)[0], abs=1e-6)


def test_over_two_replicas():
    """Each replica's counts are added up: the metric is that of all examples, not the mean of two."""
    labels, scores = random_classes(2, examples=64)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        found = [*keras_metrics(("f1", "matthews"), 2), Pearson()]
    half = tf.constant(labels.reshape(2, 32)), tf.constant(scores.reshape(2, 32, 2))

    @tf.function
    def update():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        for metric in found[:2]:
            metric.update_state(half[0][replica], half[1][replica])
        found[2].update_state(half[0][replica], half[1][replica][:, 0])

    strategy.run(update)
    expected = expected_classification(labels, scores.argmax(axis=-1), 2)
    assert float(found[0].result()) == pytest.approx(expected["f1"], abs=1e-6)
    assert float(found[1].result()) == pytest.approx(expected["matthews"], abs=1e-6)
    assert float(found[2].result()) == pytest.approx(stats.pearsonr(labels, scores[:, 0])[0], abs=1e-6)
