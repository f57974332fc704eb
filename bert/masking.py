"""Masked words, as ALBERT has them: n-grams of up to three whole words, n with a probability in proportion to 1/n.

Everything works on batches of static shape and follows from the uniform numbers that are passed in. Axes: B examples, L
positions, P predictions. A word is a token that begins one and those that continue it; special tokens belong to none.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

RANDOM_SHARE = 0.1  # of what is to be predicted is replaced by a random token,
KEPT_SHARE = 0.1  # and as much left as it is
DRAWS = 4  # uniform numbers a position


class Masked(NamedTuple):
    """A batch with masked words.

    Attributes:
      ids: int32 [B, L], the tokens that the model sees.
      positions: int32 [B, P], increasing; 0 where fewer are to be predicted.
      labels: int32 [B, P], the tokens that were there; -1 where fewer are to be predicted.
    """

    ids: tf.Tensor
    positions: tf.Tensor
    labels: tf.Tensor


class Masking:
    """Chooses words to predict and hides them.

    Args:
      tokenizer: of bert.tokenizer.
      rate: share of the tokens that are to be predicted.
      max_ngram: words that are hidden together, at most.
      predictions: P, the most of one example.
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
        """Hides words of a batch.

        Args:
          ids: int32 [B, L].
          draws: float32 [B, DRAWS, L], uniform in [0, 1).

        Returns:
          Masked. Of each example's T tokens that are not special, max(1, round(rate * T)) are to be predicted, but at most P, and
          somewhat fewer where the next word has too many.
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
        """int32 [B, L], in words, of one n-gram after the other."""
        return 1 + tf.add_n([tf.cast(draws >= bound, tf.int32) for bound in [*self._ngram_bounds, 1.0]])

    def _budget(self, is_text):
        """int32 [B, 1]: so many tokens are to be predicted at most."""
        tokens = tf.reduce_sum(tf.cast(is_text, tf.float32), axis=1, keepdims=True)
        return tf.minimum(tf.maximum(tf.cast(tf.floor(self._rate * tokens + 0.5), tf.int32), 1), self._predictions)

    def _replaced(self, ids, draws, token_draws):
        """int32 [B, L]: what each token becomes if it is chosen."""
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
    """Divides the words into n-grams, one after the other; none has words on both sides of a special token.

    Args:
      words: int32 [B, L], the number of each token's word; of a special token, whatever.
      is_text: bool [B, L], False of special tokens.
      lengths: int32 [B, L], at least 1: the words of the first n-gram, of the second, ...; a special token ends one before that.

    Returns:
      int32 [B, L], a number for each token that those of its n-gram share, from 0 to L - 1; of a special token, whatever.
    """
    ngrams = tf.searchsorted(tf.cumsum(lengths, axis=1), words, side="right")
    specials = tf.cumsum(tf.cast(~is_text, tf.int32), axis=1)
    return ngrams + specials


def choose(words, ngrams, is_text, draws, budget):
    """Takes n-grams in a random order, and of the last one as many words as there is room for.

    Args:
      words, ngrams: int32 [B, L], increasing numbers of each token's word and n-gram.
      is_text: bool [B, L], the tokens that may be taken.
      draws: float32 [B, L], of n-gram i at place i.
      budget: int32 [B, 1], room for so many tokens.

    Returns:
      bool [B, L], True of all tokens of words that were taken.
    """
    batch, length = tf.unstack(tf.shape(words))
    order_of_ngram = tf.gather(draws, tf.minimum(ngrams, length - 1), batch_dims=1)
    # Of equal numbers the first in the text comes first: so an n-gram's tokens stay together and in order.
    order = tf.argsort(tf.where(is_text, order_of_ngram, np.inf), axis=1, stable=True)
    rank = tf.argsort(order, axis=1)
    word = tf.where(is_text, words, 0) + length * tf.range(batch)[:, tf.newaxis]
    last_rank = tf.math.unsorted_segment_max(tf.where(is_text, rank, 0), word, batch * length)
    return is_text & (tf.gather(last_rank, word) < budget)
