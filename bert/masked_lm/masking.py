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
          fewer where all words that are left have too many.
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
    """Takes n-grams in a random order, word by word; a word for which there is no room is passed over.

    Args:
      words, ngrams: int32 [B, L], increasing numbers of each token's word and n-gram.
      is_text: bool [B, L], the tokens that may be taken.
      draws: float32 [B, L], of n-gram i at place i.
      budget: int32 [B, 1], room for so many tokens.

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
    """Which things, taken one after the other where there still is room, find room: bool [B, L].

    Args:
      lengths: int32 [B, L]; 0 is no thing.
      budget: int32 [B, 1].
    """

    def used(lengths):
        total = tf.cumsum(lengths, axis=1)
        return total, tf.reduce_max(tf.where(total <= budget, total, 0), axis=1, keepdims=True)

    def is_not_done(lengths):
        return tf.reduce_any(used(lengths)[0] > budget)

    def pass_over(lengths):
        """Before the first that does not fit all do. What is behind and longer than the room that is left never will."""
        total, before = used(lengths)
        return [tf.where((total > budget) & (lengths > budget - before), 0, lengths)]

    (lengths,) = tf.while_loop(is_not_done, pass_over, [lengths])
    return lengths > 0
