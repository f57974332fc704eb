"""Batches of masked sequences and swapped segments; the batch of any step can be made without those before it."""

import tensorflow as tf

from bert.corpus.records import SPECIAL_TOKENS, parse
from bert.masked_lm.masking import DRAWS, Masking
from official.data.batches import evaluation_batches, example_seed, train_batches


class PretrainingPipeline:
    """Makes batches of the records of a source.

    Inputs are a dict of int32: input_word_ids, input_mask and input_type_ids [batch, max_length], and masked_lm_positions [batch,
    predictions], 0 for unused slots. Labels are a dict with the names of the model's outputs: mlm_logits, int32 [batch,
    predictions], the masked words, -1 for unused slots; next_sentence, int32 [batch], 1 if the segments are swapped.

    Args:
      source: of official.data.sources, whose examples are serialized records (bert.corpus.records).
      tokenizer: a bert.tokenizer.Tokenizer.
      data: the recipe's `data` settings (bert.masked_lm.settings).
    """

    def __init__(self, source, tokenizer, data):
        self._source = source
        self._ids = tokenizer.ids
        self._length = data.max_length
        self._dynamic = data.masking == "dynamic"
        self._masking = Masking(tokenizer, data.mask_rate, data.max_ngram, data.predictions)

    def train_batches(self, batch_size, seed, start_step):
        """Endless training batches of static shape.

        Masked tokens and the order of the segments are drawn again in every epoch, unless masking is static.

        Args:
          batch_size, seed, start_step: as of official.data.batches.train_batches.

        Returns:
          tf.data.Dataset of (inputs, labels).
        """

        def draw(epoch, index, record):
            draws, flip = self._draws(example_seed(seed, epoch if self._dynamic else tf.zeros_like(epoch), index))
            return record, draws, flip & self._dynamic

        return train_batches(self._source, seed, start_step, batch_size, self._finish, draw)

    def evaluation_batches(self, batch_size):
        """Every example once and in order, masked the same way in every run; the last batch may be smaller.

        Returns:
          tf.data.Dataset as of `train_batches`, with a known number of batches.
        """

        def draw(index, record):
            return record, self._draws(example_seed(0, 0, index))[0], False

        return evaluation_batches(self._source, batch_size, self._finish, draw)

    def _draws(self, seed):
        """float32 [DRAWS, max_length] in [0, 1), for masking, and a bool that is True with probability 1/2."""
        drawn = tf.random.stateless_uniform([DRAWS * self._length + 1], seed)
        return tf.reshape(drawn[1:], [DRAWS, self._length]), drawn[0] < 0.5

    def _finish(self, records, draws, flip):
        tokens, first, swapped = parse(records)
        inputs = arrange(tokens, first, flip, self._ids, self._length)
        ids = tf.ensure_shape(inputs["input_word_ids"], [records.shape[0], self._length])
        masked = self._masking(ids, draws)
        inputs |= {"input_word_ids": masked.ids, "masked_lm_positions": masked.positions}
        return inputs, {"mlm_logits": masked.labels, "next_sentence": tf.cast(swapped ^ flip, tf.int32)}


def arrange(tokens, first, flip, ids, length):
    """Arranges two segments as [CLS] first [SEP] second [SEP] [PAD]..., or in reverse order.

    Args:
      tokens: RaggedTensor int32 [N, (tokens)], those of the first segment, then those of the second; at most length -
        SPECIAL_TOKENS per example.
      first: int32 [N], number of tokens of the first segment.
      flip: bool [N], whether the second segment comes first.
      ids: a bert.tokenizer.SpecialIds.
      length: tokens of every example.

    Returns:
      Dict of int32 [N, length]: input_word_ids, input_mask, input_type_ids.
    """
    number = tf.cast(tokens.row_lengths(), tf.int32)[:, tf.newaxis]
    shift = tf.where(flip, first, 0)[:, tf.newaxis]
    before = tf.where(flip, number[:, 0] - first, first)[:, tf.newaxis]  # tokens of what is shown first
    place = tf.range(length)
    is_second = place > before + 1
    is_text = ((place > 0) & (place <= before)) | (is_second & (place < number + SPECIAL_TOKENS - 1))
    # The index in `tokens` of each position; with flip, the second segment's tokens come before the first one's.
    text = tf.where(is_text, place - tf.where(is_second, 2, 1) + shift, 0)
    text = tf.where(text >= number, text - number, text)
    values = tf.gather(tokens.flat_values, tf.where(is_text, text + tf.cast(tokens.row_starts(), tf.int32)[:, tf.newaxis], 0))
    is_token = place < number + SPECIAL_TOKENS
    word_ids = tf.where(is_text, values, tf.where(place == 0, ids.cls, tf.where(is_token, ids.sep, ids.pad)))
    is_second &= is_token
    return {
        "input_word_ids": word_ids,
        "input_mask": tf.cast(is_token, tf.int32),
        "input_type_ids": tf.cast(is_second, tf.int32),
    }
