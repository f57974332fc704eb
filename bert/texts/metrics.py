"""Metrics of text tasks: of all predictions at once, and as Keras metrics during training.

Where a formula divides by zero because all predictions or all labels are equal, both give 0, as scikit-learn does for F1 and
Matthews. SciPy's correlations would give nan, which cannot select a best checkpoint.

With two classes, F1 is that of class 1, as in GLUE; otherwise it is the mean over all classes.
"""

import warnings

import numpy as np
import tensorflow as tf
from scipy import stats
from sklearn import metrics

CLASSIFICATION = ("accuracy", "f1", "matthews")
REGRESSION = ("pearson", "spearman")

register = tf.keras.saving.register_keras_serializable(package="widenet")


def classification_scores(names, labels, predicted, classes):
    """Computes metrics of classes with scikit-learn.

    Args:
      names: some of CLASSIFICATION.
      labels, predicted: int [N], classes.
      classes: number of classes.

    Returns:
      Dict of floats.
    """
    average = dict(average="binary") if classes == 2 else dict(average="macro", labels=np.arange(classes))
    compute = {
        "accuracy": lambda: metrics.accuracy_score(labels, predicted),
        "f1": lambda: metrics.f1_score(labels, predicted, zero_division=0, **average),
        "matthews": lambda: metrics.matthews_corrcoef(labels, predicted),
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="A single label was found", category=UserWarning)
        return {name: float(compute[name]()) for name in names}


def regression_scores(names, labels, predicted):
    """Computes metrics of scores with SciPy.

    Args:
      names: some of REGRESSION.
      labels, predicted: float [N].

    Returns:
      Dict of floats.
    """
    labels, predicted = np.asarray(labels, np.float64), np.asarray(predicted, np.float64)
    if np.ptp(labels) == 0 or np.ptp(predicted) == 0:
        return dict.fromkeys(names, 0.0)
    compute = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.NearConstantInputWarning)
        return {name: float(compute[name](labels, predicted).statistic) for name in names}


class Confusions(tf.keras.metrics.Metric):
    """A confusion matrix; its float32 counts are exact up to 2**24 examples per entry.

    Args:
      classes: number of classes.
    """

    def __init__(self, classes, name, **kwargs):
        super().__init__(name=name, **kwargs)
        self.classes = classes
        self.counts = self.add_weight("counts", (classes, classes), initializer="zeros", dtype=tf.float32)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch.

        Args:
          y_true: int [N] or [N, 1], classes.
          y_pred: float [N, classes], scores.
          sample_weight: float that broadcasts to [N], or None.
        """
        labels = tf.reshape(tf.cast(y_true, tf.int32), [-1])
        pairs = labels * self.classes + tf.argmax(y_pred, axis=-1, output_type=tf.int32)
        weights = tf.ones_like(pairs, tf.float32)
        if sample_weight is not None:
            weights *= tf.reshape(tf.cast(sample_weight, tf.float32), [-1])
        counts = tf.math.unsorted_segment_sum(weights, pairs, self.classes**2)
        self.counts.assign_add(tf.reshape(counts, [self.classes, self.classes]))

    def reset_state(self):
        self.counts.assign(tf.zeros_like(self.counts))

    def get_config(self):
        return {**super().get_config(), "classes": self.classes}


@register
class F1(Confusions):
    """F1 of all examples since the last reset: of class 1 if there are two classes, else the mean over the classes."""

    def __init__(self, classes, name="f1", **kwargs):
        super().__init__(classes, name, **kwargs)

    def result(self):
        right = tf.linalg.diag_part(self.counts)
        scores = tf.math.divide_no_nan(2 * right, tf.reduce_sum(self.counts, axis=0) + tf.reduce_sum(self.counts, axis=1))
        return scores[1] if self.classes == 2 else tf.reduce_mean(scores)


@register
class Matthews(Confusions):
    """Matthews correlation of all examples since the last reset, for any number of classes."""

    def __init__(self, classes, name="matthews", **kwargs):
        super().__init__(classes, name, **kwargs)

    def result(self):
        # Shares, because products of counts overflow float32.
        shares = tf.math.divide_no_nan(self.counts, tf.reduce_sum(self.counts))
        labels, predicted = tf.reduce_sum(shares, axis=1), tf.reduce_sum(shares, axis=0)
        covariance = tf.linalg.trace(shares) - tf.reduce_sum(labels * predicted)
        variances = (1 - tf.reduce_sum(labels**2)) * (1 - tf.reduce_sum(predicted**2))
        return tf.math.divide_no_nan(covariance, tf.sqrt(tf.maximum(variances, 0.0)))


@register
class Pearson(tf.keras.metrics.Metric):
    """Pearson correlation of scores and labels since the last reset, from float64 sums of powers."""

    def __init__(self, name="pearson", **kwargs):
        super().__init__(name=name, **kwargs)
        # The number of examples, then the sums of x, y, x * x, y * y and x * y.
        self.sums = self.add_weight("sums", (6,), initializer="zeros", dtype=tf.float64)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch of labels and scores, float [N] or [N, 1]; sample_weight is float that broadcasts to [N], or None."""
        x, y = (tf.reshape(tf.cast(values, tf.float64), [-1]) for values in (y_true, y_pred))
        powers = tf.stack([tf.ones_like(x), x, y, x * x, y * y, x * y])
        if sample_weight is not None:
            powers *= tf.reshape(tf.cast(sample_weight, tf.float64), [-1])
        self.sums.assign_add(tf.reduce_sum(powers, axis=1))

    def reset_state(self):
        self.sums.assign(tf.zeros_like(self.sums))

    def result(self):
        examples, x, y, xx, yy, xy = tf.unstack(self.sums)
        x, y, xx, yy, xy = (tf.math.divide_no_nan(total, examples) for total in (x, y, xx, yy, xy))
        variances = xx - x * x, yy - y * y
        # Rounding may leave equal values with a variance slightly above 0.
        varies = [variance > 1e-12 * mean for variance, mean in zip(variances, (xx, yy), strict=True)]
        correlation = tf.math.divide_no_nan(xy - x * y, tf.sqrt(tf.maximum(variances[0] * variances[1], 0)))
        return tf.cast(tf.where(varies[0] & varies[1], correlation, tf.zeros_like(correlation)), tf.float32)


def keras_metrics(names, classes):
    """Makes the Keras metrics of some names, without "spearman", which cannot be computed batch by batch.

    Args:
      names: some of CLASSIFICATION or of REGRESSION.
      classes: of the model; 1 for regression.
    """
    make = {
        "accuracy": lambda: tf.keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
        "f1": lambda: F1(classes),
        "matthews": lambda: Matthews(classes),
        "pearson": Pearson,
    }
    return [make[name]() for name in names if name in make]
