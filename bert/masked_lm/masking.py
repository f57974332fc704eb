"""Masking of n-grams of whole words as in ALBERT (arXiv:1909.11942, section 4.1): n up to 3, probability proportional to 1/n.

Everything works on batches of static shape and is a function of the uniform numbers that are passed in. Axes: B examples, L
positions, P predictions. A word is a token that starts a word and the tokens that continue it; special tokens are not in words.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

RANDOM_SHARE = 0.1  # of the predicted tokens, replaced by a random token
KEPT_SHARE = 0.1  # of the predicted tokens, left unchanged; the others become [MASK]
DRAWS = 4  # uniform numbers per position


class Masked(NamedTuple):
    """A batch with masked words.

    Attributes:
      ids: int32 [B, L], the tokens that the model sees.
      positions: int32 [B, P], increasing; 0 for unused slots.
      labels: int32 [B, P], the original tokens; -1 for unused slots.
    """

    ids: tf.Tensor
    positions: tf.Tensor
    labels: tf.Tensor


class Masking:
    """Chooses the words to predict and masks them.

    Args:
      tokenizer: a bert.tokenizer.Tokenizer.
      rate: share of the tokens to predict.
      max_ngram: most words that are masked together.
      predictions: P, prediction slots of an example.
    """

    def __init__(self, tokenizer, rate, max_ngram, predictions):
        self._rate = rate
        self._predictions = predictions
        self._mask = tokenizer.ids.mask
        weights = 1 / np.arange(1, max_ngram + 1)
        self._ngram_bounds = np.cumsum(weights / weights.sum())[:-1].astype(np.float32)
        self._continues, self._special = tokenizer.continues, tokenizer.special
        self._ordinary = np.flatnonzero(~tokenizer.special).astype(np.int32)

    def __call__(self, ids, draws):
        """Masks words of a batch.

        Args:
          ids: int32 [B, L].
          draws: float32 [B, DRAWS, L], uniform in [0, 1).

        Returns:
          Masked. Of an example with T tokens that are not special, max(1, round(rate * T)) are predicted, at most P, and fewer if
          all remaining words have too many tokens.
        """
        ngram_draws, order_draws, replace_draws, token_draws = tf.unstack(draws, axis=1)
        is_text = ~tf.gather(self._special, ids)
        after_special = ~tf.pad(is_text, [[0, 0], [1, 0]])[:, :-1]
        begins = is_text & (after_special | ~tf.gather(self._continues, ids))
        words = tf.cumsum(tf.cast(begins, tf.int32), axis=1) - 1
        ngrams = divide(words, is_text, self._lengths(ngram_draws))
        chosen = choose(words, ngrams, is_text, order_draws, self._budget(is_text))
        hidden = tf.where(chosen, self._replaced(ids, replace_draws, token_draws), ids)
        return Masked(hidden, *self._targets(ids, chosen))

    def _lengths(self, draws):
        """The lengths of consecutive n-grams, in words: int32 [B, L]."""
        return 1 + tf.add_n([tf.cast(draws >= bound, tf.int32) for bound in [*self._ngram_bounds, 1.0]])

    def _budget(self, is_text):
        """The most tokens to predict: int32 [B, 1]."""
        tokens = tf.reduce_sum(tf.cast(is_text, tf.float32), axis=1, keepdims=True)
        return tf.minimum(tf.maximum(tf.cast(tf.floor(self._rate * tokens + 0.5), tf.int32), 1), self._predictions)

    def _replaced(self, ids, draws, token_draws):
        """What each token becomes if it is chosen: int32 [B, L]."""
        number = len(self._ordinary)
        drawn = tf.minimum(tf.cast(token_draws * number, tf.int32), number - 1)
        others = tf.where(draws < RANDOM_SHARE + KEPT_SHARE, ids, self._mask)
        return tf.where(draws < RANDOM_SHARE, tf.gather(self._ordinary, drawn), others)

    def _targets(self, ids, chosen):
        """Positions and labels of Masked."""
        length = ids.shape[1]
        places = tf.sort(tf.where(chosen, tf.range(length), length), axis=1)[:, : self._predictions]
        is_real = places < length
        positions = tf.where(is_real, places, 0)
        return positions, tf.where(is_real, tf.gather(ids, positions, batch_dims=1), -1)


def divide(words, is_text, lengths):
    """Splits the words into consecutive n-grams; a special token ends an n-gram.

    Args:
      words: int32 [B, L], the index of each token's word; any value for special tokens.
      is_text: bool [B, L], False for special tokens.
      lengths: int32 [B, L], at least 1: the number of words in the first n-gram, in the second, and so on.

    Returns:
      int32 [B, L], the index of each token's n-gram, from 0 to L - 1; any value for special tokens.
    """
    ngrams = tf.searchsorted(tf.cumsum(lengths, axis=1), words, side="right")
    specials = tf.cumsum(tf.cast(~is_text, tf.int32), axis=1)
    return ngrams + specials


def choose(words, ngrams, is_text, draws, budget):
    """Chooses n-grams in a random order, word by word, and skips words that do not fit.

    Args:
      words, ngrams: int32 [B, L], increasing indices of each token's word and n-gram.
      is_text: bool [B, L], the tokens that may be chosen.
      draws: float32 [B, L], of n-gram i at position i.
      budget: int32 [B, 1], most tokens to choose.

    Returns:
      bool [B, L], True of all tokens of words that were taken.
    """
    batch, length = tf.unstack(tf.shape(words))
    word = tf.where(is_text, words, 0) + length * tf.range(batch)[:, tf.newaxis]
    tokens = tf.math.unsorted_segment_sum(tf.cast(is_text, tf.int32), word, batch * length)
    begins = is_text & (words > tf.pad(words, [[0, 0], [1, 0]], constant_values=-1)[:, :-1])
    order_of_ngram = tf.gather(draws, tf.minimum(ngrams, length - 1), batch_dims=1)
    # Of equal numbers the first in the text comes first: so an n-gram's words stay together and in order.
    order = tf.argsort(tf.where(is_text, order_of_ngram, np.inf), axis=1, stable=True)
    lengths = tf.where(begins, tf.gather(tokens, word), 0)  # of a word, at its first token
    taken = tf.gather(_fitting(tf.gather(lengths, order, batch_dims=1), budget), tf.argsort(order, axis=1), batch_dims=1)
    taken = tf.math.unsorted_segment_max(tf.cast(taken & begins, tf.int32), word, batch * length)
    return is_text & (tf.gather(taken, word) > 0)


def _fitting(lengths, budget):
    """Which items fit, if they are taken in order as long as there is room: bool [B, L].

    Args:
      lengths: int32 [B, L], of the items; 0 for no item.
      budget: int32 [B, 1].
    """

    def used(lengths):
        total = tf.cumsum(lengths, axis=1)
        return total, tf.reduce_max(tf.where(total <= budget, total, 0), axis=1, keepdims=True)

    def is_not_done(lengths):
        return tf.reduce_any(used(lengths)[0] > budget)

    def pass_over(lengths):
        """All items before the first that does not fit are taken. Later ones longer than the remaining room never fit."""
        total, before = used(lengths)
        return [tf.where((total > budget) & (lengths > budget - before), 0, lengths)]

    (lengths,) = tf.while_loop(is_not_done, pass_over, [lengths])
    return lengths > 0
