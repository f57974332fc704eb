"""ALBERT's SentencePiece tokenizer."""

import hashlib
import unicodedata

import numpy as np
import tensorflow as tf

from bert.tokenizers.base import SpecialIds, Tokenizer
from bert.tokenizers.normalizer import normalizer
from bert.tokenizers.sentencepiece_model import BYTE, CONTROL, NORMAL, SPECIAL, UNKNOWN, UNUSED, read_model
from official.cli.text_ops import text_ops

WORD_START = "\N{LOWER ONE EIGHTH BLOCK}"


class SentencePiece(Tokenizer):
    """ALBERT's preprocessing, followed by TensorFlow Text's SentencepieceTokenizer.

    The preprocessing turns runs of white space into one space and `` and '' into ", removes combining marks (after NFKD), and
    splits the comma off a piece such as "9,". The normalization inside the model follows.

    Args:
      content: bytes of the model.
      lower_case: whether texts become lower case too.
      path: of the file, for errors.

    Raises:
      ValueError: the file is not a SentencePiece model, or lacks a special token.
    """

    def __init__(self, content, lower_case, path):
        model, pieces, types = read_model(content, path)
        pad, cls, sep, mask = map(pieces.index, SPECIAL)
        ids = SpecialIds(pad=pad, unk=types.index(UNKNOWN), cls=cls, sep=sep, mask=mask)
        special = [kind in (UNKNOWN, CONTROL, UNUSED) for kind in types]
        # The first piece of a word starts with WORD_START; punctuation is not part of a word.
        in_word = [unicodedata.category(piece[0])[0] in "LNM" or kind == BYTE for piece, kind in zip(pieces, types, strict=True)]
        continues = np.array(in_word) & ~np.array(special)
        super().__init__(pieces, ids, special, continues, normalizer("albert", lower_case))
        with tf.init_scope(), tf.device("CPU:0"):
            try:
                self._pieces = _lasting_tokenizer(model)
            except tf.errors.OpError as error:
                raise ValueError(f"{path}: it is not a SentencePiece model: {error.message.split(' [Op:')[0]}") from None
            self._numbers = _Numbers(pieces, types, self._pieces, ids.unk)

    def _prepared(self, texts):
        # The zero, which the normalizer drops, keeps the length for the offsets.
        return tf.strings.regex_replace(texts, "``|''", '"\0')

    def _split(self, texts):
        return self._numbers.split(self._pieces.tokenize(texts))

    def _split_with_offsets(self, texts):
        ids, starts, ends = self._pieces.tokenize_with_offsets(texts)
        starts, ends = (tf.cast(offsets, tf.int64) for offsets in (starts, ends))
        return self._numbers.split_with_offsets(ids, _after_spaces(texts, starts, ends), ends)


def _lasting_tokenizer(model):
    """A tensorflow_text.SentencepieceTokenizer of a model's bytes that outlives tf.keras.backend.clear_session.

    The tokenizer's own resource belongs to a kernel and is lost when Keras clears its session; a named resource stays.
    """
    module = text_ops()
    from tensorflow_text.python.ops.sentencepiece_tokenizer import gen_sentencepiece_tokenizer

    class Resource(tf.saved_model.experimental.TrackableResource):
        def __init__(self):
            super().__init__()
            self._resource_handle = self._create_resource()  # now, not in the first graph that uses it

        def _create_resource(self):
            name = f"sentencepiece {hashlib.sha256(model).hexdigest()}"
            return gen_sentencepiece_tokenizer.sentencepiece_op(model=model, shared_name=name)

    tokenizer = module.SentencepieceTokenizer(model)
    tokenizer._model_resource = Resource()
    return tokenizer


class _Numbers(tf.Module):
    """Splits the comma off pieces that end with a digit and a comma.

    Args:
      pieces, types: of the model.
      tokenizer: a tensorflow_text.SentencepieceTokenizer.
      unknown: id.
    """

    def __init__(self, pieces, types, tokenizer, unknown):
        super().__init__()
        id_of = {piece: i for i, piece in enumerate(pieces)}
        parts = [[piece] for piece in pieces]
        self._is_number = np.zeros(len(pieces), bool)
        numbers = [
            i
            for i, (piece, kind) in enumerate(zip(pieces, types, strict=True))
            if kind == NORMAL and piece.endswith(",") and piece[-2:-1].isdigit()
        ]
        texts = [pieces[i][:-1].replace(WORD_START, "") for i in numbers]
        for i, found in zip(numbers, tokenizer.tokenize(tf.constant(texts, tf.string)).to_list(), strict=True):
            split = [pieces[part] for part in found]
            if not pieces[i].startswith(WORD_START):
                split[0] = split[0].removeprefix(WORD_START)
            parts[i] = [*filter(None, split), ","]
            self._is_number[i] = True
        self._parts = tf.ragged.constant([[id_of.get(part, unknown) for part in split] for split in parts], tf.int32)
        lengths = [[len(part.removeprefix(WORD_START).encode()) for part in split] for split in parts]
        self._ends = tf.ragged.constant([np.cumsum(row).tolist() for row in lengths], tf.int64)

    def split(self, ids):
        """RaggedTensor int32 [N, (tokens)]."""
        if not self._is_number.any():
            return ids
        return tf.gather(self._parts, ids).merge_dims(1, 2)

    def split_with_offsets(self, ids, starts, ends):
        """The same with offsets, RaggedTensors int64; parts of a piece that differs in length from its text have its offsets."""
        if not self._is_number.any():
            return ids, starts, ends
        part_ends = tf.gather(self._ends, ids.flat_values)
        part_starts = tf.concat([tf.zeros_like(part_ends[:, :1]), part_ends[:, :-1]], axis=1)
        is_number = tf.gather(self._is_number, ids.flat_values)
        exact = is_number & (ends.flat_values - starts.flat_values == tf.gather(self._ends[:, -1:].flat_values, ids.flat_values))
        of_part = part_ends.value_rowids()
        begin, end = tf.gather(starts.flat_values, of_part), tf.gather(ends.flat_values, of_part)
        exact = tf.gather(exact, of_part)
        ends = tf.where(exact, begin + part_ends.flat_values, end)
        starts = tf.where(exact, begin + part_starts.flat_values, begin)
        ids = self.split(ids)
        return ids, ids.with_flat_values(starts), ids.with_flat_values(ends)


def _after_spaces(texts, starts, ends):
    """Moves the starts of tokens behind the spaces that SentencePiece counts as part of the next word.

    Args:
      texts: string [N], whose only white space is spaces.
      starts, ends: RaggedTensor int64 [N, (tokens)].
    """
    first = tf.cumsum(tf.cast(tf.strings.length(texts), tf.int64), exclusive=True)
    first = tf.repeat(first, starts.row_lengths())
    is_text = tf.io.decode_raw(tf.strings.reduce_join(texts), tf.uint8) != ord(" ")
    # A sentinel beyond the end.
    place = tf.concat([tf.where(is_text)[:, 0], [tf.size(is_text, tf.int64)]], axis=0)
    following = tf.gather(place, tf.searchsorted(place, first + starts.flat_values, out_type=tf.int64)) - first
    return starts.with_flat_values(tf.minimum(following, ends.flat_values))
