"""The loss with in-batch negatives against its definition in NumPy and float64, and which rows are negatives."""

import numpy as np
import pytest
import tensorflow as tf

from bert.sentences.loss import InBatchNegatives, PartnerAccuracy

SCALE = 20.0


def unit_rows(rows, width=5, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(rows, width))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def partner_of(row):
    return row ^ 1


def negatives_of(row, labels):
    """The rows on the partner's side with another text than the row's and its partner's."""
    own = {labels[row], labels[partner_of(row)]}
    return [other for other in range(partner_of(row) % 2, len(labels), 2) if labels[other] not in own]


def expected_losses(labels, vectors, scale=SCALE):
    """float64 [2B]: -log of the share of exp(scale * cosine) that is the partner's."""
    losses = []
    for row in range(len(labels)):
        right = np.exp(scale * (vectors[row] @ vectors[partner_of(row)]))
        wrong = sum(np.exp(scale * (vectors[row] @ vectors[other])) for other in negatives_of(row, labels))
        losses.append(-np.log(right / (right + wrong)))
    return np.array(losses)


@pytest.mark.parametrize(
    "labels",
    [
        [0, 1, 2, 3, 4, 5, 6, 7],  # pairs of different texts
        [0, 0, 1, 1, 2, 2, 3, 3],  # two views of a text
        [0, 1, 0, 2, 3, 1, 2, 4],  # texts that are in several pairs, on either side
        [0, 0, 1, 1, 0, 0, 1, 1],
    ],
)
def test_loss_is_that_of_its_definition(labels):
    """Of each row; 1e-5 relative for float32 logits of up to 20."""
    vectors = unit_rows(len(labels))
    losses = InBatchNegatives(SCALE, reduction="none")(tf.constant(labels), tf.constant(vectors, tf.float32))
    np.testing.assert_allclose(losses, expected_losses(labels, vectors), rtol=1e-5, atol=1e-6)
    mean = InBatchNegatives(SCALE)(tf.constant(labels)[:, tf.newaxis], tf.constant(vectors, tf.float32))  # as Keras gives labels
    np.testing.assert_allclose(mean, expected_losses(labels, vectors).mean(), rtol=1e-5)


def test_two_orthogonal_pairs():
    """By hand: log(1 + exp(-scale)) where partners are equal, and scale more than that where they are exchanged."""
    x, y = [1.0, 0.0], [0.0, 1.0]
    for rows, expected in (([x, x, y, y], np.log1p(np.exp(-3))), ([x, y, y, x], 3 + np.log1p(np.exp(-3)))):
        loss = InBatchNegatives(3.0)(tf.constant([0, 1, 2, 3]), tf.constant(rows))
        assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_accuracy():
    """Rows whose partner is nearer than all negatives, over batches of several sizes; one example alone is always found."""
    metric, found, rows = PartnerAccuracy(), 0, 0
    for seed, labels in enumerate(([0, 1, 2, 3, 4, 5], [0, 1, 0, 2], [7, 8])):
        vectors = unit_rows(len(labels), width=2, seed=seed)
        metric.update_state(tf.constant(labels), tf.constant(vectors, tf.float32))
        for row in range(len(labels)):
            own = vectors[row] @ vectors[partner_of(row)]
            found += all(vectors[row] @ vectors[other] < own for other in negatives_of(row, labels))
        rows += len(labels)
    assert 0 < found < rows
    assert float(metric.result()) == pytest.approx(found / rows)


def test_a_batch_without_examples():
    """As a replica may have in evaluation."""
    empty = tf.zeros([0], tf.int64), tf.zeros([0, 4])
    assert float(InBatchNegatives()(*empty)) == float(PartnerAccuracy()(*empty)) == 0


def test_equal_embeddings_find_no_partner():
    assert float(PartnerAccuracy()(tf.range(6), tf.ones([6, 4]) / 2)) == 0


def test_scale_is_saved():
    loss = InBatchNegatives(7.0)
    assert tf.keras.losses.deserialize(tf.keras.losses.serialize(loss)).scale == 7.0
