"""Fills [MASK]s in texts with the words that a pretrained model finds most likely."""

import tensorflow as tf

from bert.tokenizers.packing import beginning, pack

GAP = "[MASK]"
GUESSES = 5


class MaskFiller:
    """Fills GAPs in texts, in TensorFlow operations.

    Args:
      tokenizer: a bert.tokenizer.Tokenizer.
      max_length: tokens to which a text is cut.
    """

    def __init__(self, tokenizer, max_length):
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._tokens = tokenizer.to_tokens(range(tokenizer.size))

    def inputs(self, texts):
        """Makes the model's inputs of texts in which each GAP is one token to predict.

        Args:
          texts: string [N].

        Returns:
          (dict of int32 [N, length] and `masked_lm_positions`, int32 [N, gaps], padded with 0; bool [N, gaps], whether real).
        """
        parts = tf.strings.split(beginning(texts, self._max_length), GAP)
        tokens = self._tokenizer.tokenize(parts.flat_values)
        gap = tf.fill([tokens.nrows(), 1], self._tokenizer.ids.mask)
        with_gaps = parts.with_flat_values(tf.concat([tokens, gap], axis=1)).merge_dims(1, 2)
        with_gaps = with_gaps[:, :-1]  # the last part has no gap behind it
        inputs = pack(self._tokenizer, [with_gaps], self._max_length, pad=False)
        is_gap = inputs["input_word_ids"] == self._tokenizer.ids.mask
        gaps = tf.reduce_max(tf.reduce_sum(tf.cast(is_gap, tf.int32), axis=1))
        positions = tf.argsort(tf.cast(~is_gap, tf.int32), axis=1, stable=True)[:, :gaps]
        is_real = tf.gather(is_gap, positions, batch_dims=1)
        return {**inputs, "masked_lm_positions": tf.where(is_real, positions, 0)}, is_real

    def fill(self, model, texts):
        """Predicts the most likely words for each gap.

        Args:
          model: of the task "pretraining".
          texts: string [N].

        Returns:
          Dict of `words`, string [N, gaps, GUESSES], best first, and `probabilities`, float32 of the same shape; texts with fewer
          gaps are padded with "" and 0.
        """
        inputs, is_real = self.inputs(texts)
        probabilities = tf.nn.softmax(tf.cast(model(inputs, training=False)["mlm_logits"], tf.float32))
        best, ids = tf.math.top_k(probabilities, GUESSES)
        is_real = is_real[..., tf.newaxis]
        return {"words": tf.where(is_real, tf.gather(self._tokens, ids), ""), "probabilities": tf.where(is_real, best, 0)}
