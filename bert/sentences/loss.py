"""The loss with in-batch negatives, and the share of partners that are found.

Rows: a batch of B examples has 2B rows, [a_0, b_0, a_1, b_1, ...]: rows 2i and 2i + 1 are partners, which should be near to each
other. The other rows are negatives: an a is compared with all b of the batch, and a b with all a. Each replica compares the rows
of its own part of the batch.

Labels are the number of each row's text, int [2B]. A row with the text of the compared row or of its partner is not a negative.
"""

import tensorflow as tf

from bert.layers import NEVER

register = tf.keras.saving.register_keras_serializable(package="bert")


@register
class InBatchNegatives(tf.keras.losses.Loss):
    """The cross-entropy, in nats, of finding each row's partner in its batch.

    This is InfoNCE (arXiv:1807.03748, equation 4), with cosines times a scale as the log of f, as in SimCSE (arXiv:2104.08821,
    equation 1) and as the "multiple negatives ranking loss" with a scale of 20. It is symmetric, as in CLIP (arXiv:2103.00020,
    figure 3): both partners look for the other one.

    Labels int [2B], embeddings float [2B, width] of length 1; one value for each row.

    Args:
      scale: factor on the cosines, the inverse of the temperature.
    """

    def __init__(self, scale=20.0, name="in_batch_negatives", **kwargs):
        super().__init__(name=name, **kwargs)
        self.scale = scale

    def call(self, labels, embeddings):
        partners, negatives = compare(labels, embeddings, self.scale)
        # -log(exp(p) / (exp(p) + sum of exp(n))), also of an empty batch, which no softmax takes.
        return tf.nn.softplus(tf.reduce_logsumexp(negatives, axis=-1) - partners)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


@register
class PartnerAccuracy(tf.keras.metrics.Mean):
    """Share of rows to which no negative is nearer than the partner; labels and embeddings as of InBatchNegatives."""

    def __init__(self, name="accuracy", dtype=None):
        super().__init__(name, dtype)

    def update_state(self, labels, embeddings, sample_weight=None):
        partners, negatives = compare(labels, embeddings)
        return super().update_state(tf.reduce_max(negatives, axis=-1) < partners, sample_weight)


def compare(labels, embeddings, scale=1.0):
    """The cosines of each row with its partner and with its negatives.

    Args:
      labels: int [2B] or [2B, 1].
      embeddings: float [2B, width].
      scale: factor on the cosines.

    Returns:
      float [2B], and float [2B, B], NEVER where a row is not a negative.
    """
    sides, texts = _split(embeddings), _split(tf.reshape(labels, [-1]))
    cosines = scale * tf.matmul(sides[0], sides[1], transpose_b=True)
    examples = tf.shape(cosines)[0]
    negatives = []
    for values, candidates in ((cosines, texts[1]), (tf.transpose(cosines), texts[0])):
        same = tf.reduce_any([side[:, tf.newaxis] == candidates for side in texts], axis=0)
        negatives.append(tf.where(same, tf.constant(NEVER, values.dtype), values))
    partners = tf.repeat(tf.linalg.diag_part(cosines), 2)
    return partners, tf.reshape(tf.stack(negatives, axis=1), [2 * examples, examples])


def _split(rows):
    """The rows of the first and of the second partners."""
    return rows[0::2], rows[1::2]
