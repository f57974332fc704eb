"""What all tokenizers share: special ids, normalization, and offsets into the original text."""

import abc
from typing import NamedTuple

import numpy as np
import tensorflow as tf


class SpecialIds(NamedTuple):
    """Ids of the tokens that every vocabulary must have."""

    pad: int
    unk: int
    cls: int
    sep: int
    mask: int


class Tokenizer(tf.Module, abc.ABC):
    """What open_tokenizer returns.

    Its methods of tensors are TensorFlow operations: they work in tf.data, in a tf.function and in a SavedModel, which must track
    the tokenizer and is loaded after `import tensorflow_text`.

    A text is UTF-8; bytes of it that are not are left out.

    Args:
      tokens: list of str.
      ids: a SpecialIds.
      special: bool [size].
      continues: bool [size].
      normalizer: a tensorflow_text.FastBertNormalizer.

    Attributes:
      size: int, how many tokens there are.
      ids: a SpecialIds.
      special: NumPy bool [size], True of the special tokens and of those that no text has, such as [unused0].
      continues: NumPy bool [size], True of what continues the word of the token before it.
    """

    def __init__(self, tokens, ids, special, continues, normalizer):
        super().__init__()
        self.size = len(tokens)
        self.special = np.array(special)
        self.continues = np.array(continues)
        self._ids = np.array(ids)  # of a tuple tf.Module would make something else
        self._tokens = np.array(tokens, object)
        self._normalizer = normalizer

    @property
    def ids(self):
        return SpecialIds(*self._ids.tolist())

    def tokenize(self, texts):
        """string [N] to RaggedTensor int32 [N, (tokens)], without [CLS] and [SEP]."""
        return self._split(self._normalizer.normalize(self._prepared(texts)))

    def tokenize_with_offsets(self, texts):
        """Tokens, and where in the text each of them was.

        Args:
          texts: string [N].

        Returns:
          ids, starts, ends: RaggedTensors int32, int64 and int64 [N, (tokens)]; token i of text n was its bytes from starts[n, i]
          up to, not including, ends[n, i]. Part of a character, as a jamo of a Hangul syllable, has the whole character's place.
        """
        texts = self._prepared(texts)
        normalized, origins = self._normalizer.normalize_with_offsets(texts)
        ids, starts, ends = self._split_with_offsets(normalized)
        starts, ends = _places_in_origin(starts, ends, origins)
        return ids, starts, ends

    def to_tokens(self, ids):
        """The tokens, a list of str, of a list of ids."""
        return self._tokens[np.asarray(ids, int)].tolist()

    def _prepared(self, texts):
        """What the normalizer cannot do, byte for byte."""
        return texts

    @abc.abstractmethod
    def _split(self, texts):
        """Normalized string [N] to RaggedTensor int32 [N, (tokens)]."""

    @abc.abstractmethod
    def _split_with_offsets(self, texts):
        """The same with starts and ends, RaggedTensors int64 [N, (tokens)], of bytes in `texts`."""


def _places_in_origin(starts, ends, origins):
    """Offsets in the text that was normalized.

    Args:
      starts, ends: RaggedTensor int64 [N, (tokens)], offsets in the normalized text.
      origins: RaggedTensor int64 [N, (bytes + 1)], the offset of each byte in the original text, and at last its length.
    """
    row = tf.repeat(tf.range(starts.nrows()), starts.row_lengths())
    first = tf.gather(origins.row_starts(), row)
    places = origins.flat_values
    begin, end = tf.gather(places, first + starts.flat_values), tf.gather(places, first + ends.flat_values)
    last = tf.gather(places, first + tf.maximum(ends.flat_values - 1, 0))
    # A character that became several, all of them from its own first byte, and a token that ends among them.
    is_inside = (last == end) & (starts.flat_values < ends.flat_values)

    def after_the_character():
        room = tf.reduce_max(places) + 1
        increasing = places + origins.value_rowids() * room
        following = tf.searchsorted(increasing, last + row * room, side="right", out_type=tf.int64)
        return tf.where(is_inside, tf.gather(places, tf.where(is_inside, following, 0)), end)

    end = tf.cond(tf.reduce_any(is_inside), after_the_character, lambda: end)
    return starts.with_flat_values(begin), ends.with_flat_values(end)
