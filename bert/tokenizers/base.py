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
    """Splits texts into tokens; bert.tokenizer.open_tokenizer makes one.

    The methods that take tensors consist of TensorFlow operations. They work in tf.data, in a tf.function and in a SavedModel,
    which must track the tokenizer and must be loaded after `import tensorflow_text`.

    Texts are UTF-8; invalid bytes are dropped.

    Args:
      tokens: list of str.
      ids: a SpecialIds.
      special: bool [size].
      continues: bool [size].
      normalizer: a tensorflow_text.FastBertNormalizer.

    Attributes:
      size: int, the number of tokens.
      ids: a SpecialIds.
      special: NumPy bool [size], True for special tokens and for tokens that no text has, such as [unused0].
      continues: NumPy bool [size], True for tokens that continue the word of the token before them.
    """

    def __init__(self, tokens, ids, special, continues, normalizer):
        super().__init__()
        self.size = len(tokens)
        self.special = np.array(special)
        self.continues = np.array(continues)
        self._ids = np.array(ids)  # tf.Module would wrap a tuple
        self._tokens = np.array(tokens, object)
        self._normalizer = normalizer

    @property
    def ids(self):
        return SpecialIds(*self._ids.tolist())

    def tokenize(self, texts):
        """Tokenizes string [N] to RaggedTensor int32 [N, (tokens)], without [CLS] and [SEP]."""
        return self._split(self._normalizer.normalize(self._prepared(texts)))

    def tokenize_with_offsets(self, texts):
        """Tokenizes texts and finds each token's bytes in them.

        Args:
          texts: string [N].

        Returns:
          ids, starts, ends: RaggedTensors int32, int64 and int64 [N, (tokens)]. Token i of text n comes from its bytes
          [starts[n, i], ends[n, i]). A part of a character, such as a jamo of a Hangul syllable, has the bytes of the whole one.
        """
        texts = self._prepared(texts)
        normalized, origins = self._normalizer.normalize_with_offsets(texts)
        ids, starts, ends = self._split_with_offsets(normalized)
        starts, ends = _places_in_origin(starts, ends, origins)
        return ids, starts, ends

    def to_tokens(self, ids):
        """The tokens of a list of ids, a list of str."""
        return self._tokens[np.asarray(ids, int)].tolist()

    def _prepared(self, texts):
        """Changes that the normalizer cannot make; they must keep the number of bytes, for the offsets."""
        return texts

    @abc.abstractmethod
    def _split(self, texts):
        """Tokenizes normalized string [N] to RaggedTensor int32 [N, (tokens)]."""

    @abc.abstractmethod
    def _split_with_offsets(self, texts):
        """The same with the bytes in `texts` where tokens start and end, RaggedTensors int64 [N, (tokens)]."""


def _places_in_origin(starts, ends, origins):
    """Maps offsets in the normalized text to offsets in the original text.

    Args:
      starts, ends: RaggedTensor int64 [N, (tokens)], offsets in the normalized text.
      origins: RaggedTensor int64 [N, (bytes + 1)], the offset of each byte in the original text, followed by its length.
    """
    row = tf.repeat(tf.range(starts.nrows()), starts.row_lengths())
    first = tf.gather(origins.row_starts(), row)
    places = origins.flat_values
    begin, end = tf.gather(places, first + starts.flat_values), tf.gather(places, first + ends.flat_values)
    last = tf.gather(places, first + tf.maximum(ends.flat_values - 1, 0))
    # The token ends inside what one character became: all of that has the offset of the character's first byte.
    is_inside = (last == end) & (starts.flat_values < ends.flat_values)

    def after_the_character():
        room = tf.reduce_max(places) + 1
        increasing = places + origins.value_rowids() * room
        following = tf.searchsorted(increasing, last + row * room, side="right", out_type=tf.int64)
        return tf.where(is_inside, tf.gather(places, tf.where(is_inside, following, 0)), end)

    end = tf.cond(tf.reduce_any(is_inside), after_the_character, lambda: end)
    return starts.with_flat_values(begin), ends.with_flat_values(end)
