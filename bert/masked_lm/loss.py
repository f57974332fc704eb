"""Loss and metrics of masked words, of which an example has as many as it has; labels of -1 are no words."""

import tensorflow as tf

register = tf.keras.saving.register_keras_serializable


@register(package="bert", name="MaskedWordLoss")  # the names in saved models
class MaskedLMLoss(tf.keras.losses.Loss):
    """Mean cross-entropy in nats of the real words, over all replicas together.

    Labels int [batch, predictions], logits float [batch, predictions, vocabulary].
    """

    def call(self, labels, logits):
        is_real, losses = word_losses(labels, logits)
        share = tf.reduce_mean(is_real)
        replica = tf.distribute.get_replica_context()
        if replica is not None:
            # Keras takes the mean of the replicas' means; one with more words must count for more.
            share = replica.all_reduce(tf.distribute.ReduceOp.MEAN, share)
        return losses / tf.maximum(share, 1 / 2**30)


@register(package="bert", name="MaskedWordAccuracy")
class MaskedLMAccuracy(tf.keras.metrics.Mean):
    """The share of all real words whose logit is the largest; labels and logits as of MaskedLMLoss."""

    def __init__(self, name="accuracy", dtype=None):
        super().__init__(name, dtype)

    def update_state(self, labels, logits, sample_weight=None):
        del sample_weight
        hits = tf.argmax(logits, axis=-1, output_type=labels.dtype) == labels
        return super().update_state(tf.cast(hits, tf.float32), sample_weight=labels >= 0)


def word_losses(labels, logits):
    """What each word costs.

    Args:
      labels: int [batch, predictions], -1 where there is no word.
      logits: float [batch, predictions, vocabulary].

    Returns:
      (float32 [batch, predictions], 1 where there is a word and else 0; float32 [batch, predictions], the cross-entropy in nats,
      and 0 where there is none).
    """
    is_real = tf.cast(labels >= 0, tf.float32)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(labels, 0), tf.cast(logits, tf.float32))
    return is_real, losses * is_real
