"""BERT's WordPiece tokenizer."""

import codecs
import re

import numpy as np
import tensorflow as tf

from bert.tokenizers.base import SpecialIds, Tokenizer
from bert.tokenizers.normalizer import normalizer
from official.cli.text_ops import text_ops

SPECIAL = SpecialIds(pad="[PAD]", unk="[UNK]", cls="[CLS]", sep="[SEP]", mask="[MASK]")
UNUSED = re.compile(r"\[unused\d+\]")
CONTINUES = "##"
MAX_WORD_CHARS = 100  # a longer word becomes [UNK]
MAX_TOKEN_BYTES = 256  # limit of TensorFlow Text


class WordPiece(Tokenizer):
    """BERT's tokenizer, made of TensorFlow Text's FastBertNormalizer (with BERT's own table) and FastWordpieceTokenizer.

    Args:
      content: bytes of a vocab.txt, one token a line, UTF-8.
      lower_case: whether texts become lower case and lose their accents.
      path: of the file, for errors.

    Raises:
      ValueError: an invalid file; names the file and the line.
    """

    def __init__(self, content, lower_case, path):
        tokens = read_vocabulary(content, path)
        ids = SpecialIds(*map(tokens.index, SPECIAL))
        special = [token in SPECIAL or UNUSED.fullmatch(token) is not None for token in tokens]
        continues = [token.startswith(CONTINUES) and token != CONTINUES for token in tokens]
        super().__init__(tokens, ids, special, continues, normalizer("bert", lower_case))
        characters = [len(token) - len(CONTINUES) * more for token, more in zip(tokens, continues, strict=True)]
        characters[ids.unk] = 0  # it stands for a whole word already
        with tf.init_scope(), tf.device("CPU:0"):
            # The limit is in bytes, up to 4 a character; _without_long_words counts characters.
            most = 4 * MAX_WORD_CHARS
            self._pieces = text_ops().FastWordpieceTokenizer(tokens, max_bytes_per_word=most, token_out_type=tf.int32)
            self._characters = tf.constant(np.array(characters, np.int32))
            self._begins = tf.constant(~self.continues)

    def _split(self, texts):
        return self._without_long_words(self._pieces.tokenize(texts))[0]

    def _split_with_offsets(self, texts):
        return self._without_long_words(*self._pieces.tokenize_with_offsets(texts))

    def _without_long_words(self, ids, starts=None, ends=None):
        """Replaces words of too many characters by [UNK] in Ragged [N, (tokens)]: ids alone, or ids, starts and ends."""
        begins = tf.gather(self._begins, ids.flat_values)
        word = tf.cumsum(tf.cast(begins, tf.int32)) - 1
        is_long = tf.math.segment_sum(tf.gather(self._characters, ids.flat_values), word) > MAX_WORD_CHARS
        unchanged = [ids] if starts is None else [ids, starts, ends]

        def shortened():
            in_long = tf.gather(is_long, word)
            values = [tf.where(in_long, self.ids.unk, ids.flat_values)]
            if starts is not None:
                end_of_word = tf.gather(tf.math.segment_max(ends.flat_values, word), word)
                values += [starts.flat_values, tf.where(in_long, end_of_word, ends.flat_values)]
            keep = ids.with_flat_values(begins | ~in_long)
            return [tf.ragged.boolean_mask(ids.with_flat_values(value), keep) for value in values]

        return tf.cond(tf.reduce_any(is_long), shortened, lambda: unchanged)


def read_vocabulary(content, path):
    """Reads the tokens of a BERT vocab.txt, a list of str.

    Args:
      content: bytes of the file.
      path: of the file, for errors.

    Raises:
      ValueError: the file is not such a vocabulary; names the file and the line.
    """
    tokens, line_of = [], {}
    for number, line in enumerate(content.removeprefix(codecs.BOM_UTF8).removesuffix(b"\n").split(b"\n"), start=1):
        try:
            token = line.strip(b" \t\r").decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}, line {number}: it is not UTF-8 ({error.reason} at byte {error.start + 1})") from None
        problem = None
        if not token:
            problem = "it has no token"
        elif "\0" in token:
            problem = f"{token!r} has a null character, which is removed from all texts"
        elif token in line_of:
            problem = f"{token} is a duplicate of line {line_of[token]}"
        elif len(token.encode()) > MAX_TOKEN_BYTES:
            problem = f"a token of {len(token.encode())} bytes is too long: at most {MAX_TOKEN_BYTES}"
        if problem:
            raise ValueError(f"{path}, line {number}: {problem}")
        line_of[token] = number
        tokens.append(token)
    missing = [token for token in SPECIAL if token not in line_of]
    if missing:
        raise ValueError(f"{path}: {', '.join(missing)} is missing; a vocabulary must have {', '.join(SPECIAL)}")
    return tokens
