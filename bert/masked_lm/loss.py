"""Masked-LM loss and accuracy. Label -1 marks unused prediction slots."""

import tensorflow as tf

register = tf.keras.saving.register_keras_serializable


@register(package="bert", name="MaskedWordLoss")  # the names in saved models
class MaskedLMLoss(tf.keras.losses.Loss):
    """Mean cross-entropy in nats over the masked words of all replicas.

    Labels int [batch, predictions], logits float [batch, predictions, vocabulary].
    """

    def call(self, labels, logits):
        is_real, losses = word_losses(labels, logits)
        share = tf.reduce_mean(is_real)
        replica = tf.distribute.get_replica_context()
        if replica is not None:
            # Keras averages the means of the replicas, but a replica with more words must have more weight.
            share = replica.all_reduce(tf.distribute.ReduceOp.MEAN, share)
        return losses / tf.maximum(share, 1 / 2**30)


@register(package="bert", name="MaskedWordAccuracy")
class MaskedLMAccuracy(tf.keras.metrics.Mean):
    """Share of masked words that have the largest logit; labels and logits as of MaskedLMLoss."""

    def __init__(self, name="accuracy", dtype=None):
        super().__init__(name, dtype)

    def update_state(self, labels, logits, sample_weight=None):
        del sample_weight
        hits = tf.argmax(logits, axis=-1, output_type=labels.dtype) == labels
        return super().update_state(tf.cast(hits, tf.float32), sample_weight=labels >= 0)


def word_losses(labels, logits):
    """The cross-entropy of each word.

    Args:
      labels: int [batch, predictions], -1 for unused slots.
      logits: float [batch, predictions, vocabulary].

    Returns:
      Two float32 [batch, predictions]: 1 for words and 0 for unused slots; the cross-entropy in nats, 0 for unused slots.
    """
    is_real = tf.cast(labels >= 0, tf.float32)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(labels, 0), tf.cast(logits, tf.float32))
    return is_real, losses * is_real
