"""BERT's and ALBERT's rules as tables for FastBertNormalizer; its built-in table differs from BERT's and keeps invalid UTF-8.

For example, the built-in table turns control characters into spaces, which BERT removes, and there is none for ALBERT. TensorFlow
Text cannot build such tables, so this module writes the double-array trie and the flatbuffer that the operation reads.
"""

import functools
import re
import sys
import unicodedata

import flatbuffers
import numpy as np
import tensorflow as tf

from official.cli.text_ops import text_ops

# Units of the double array. A node holds the byte that leads to it, the bit HAS_VALUE if it has a value, and the offset of its
# base. A value has the bit LEAF.
HAS_VALUE = 1 << 8
OFFSET_BITS = 10
LEAF = 1 << 31
# A value replaces the character by bytes of a pool: their number in the lowest bits, their position in the bits above.
REPLACED = 1 << 30
LENGTH_BITS = 6


def bert_character(character, lower_case):
    """Normalizes a character as BERT's basic tokenization does before it splits at white space, punctuation and ideographs.

    Control characters are removed (except tabs and line ends) and white space becomes a space. With `lower_case` the character
    also becomes lower case, is decomposed (NFD) and loses its accents (category Mn).
    """
    category = unicodedata.category(character)
    if character in "\t\n\r" or category == "Zs":
        return " "
    if character in "\0\ufffd" or category in ("Cc", "Cf"):
        return ""
    if character.isspace():
        return " "
    if not lower_case:
        return character
    return "".join(c for c in unicodedata.normalize("NFD", character.lower()) if unicodedata.category(c) != "Mn")


def albert_character(character, lower_case):
    """Normalizes a character as ALBERT's preprocessing does: white space becomes a space; NFKD without combining marks."""
    if character == "\0":
        return ""
    if character.isspace():
        return " "
    kept = "".join(c for c in unicodedata.normalize("NFKD", character) if not unicodedata.combining(c))
    return kept.lower() if lower_case else kept


PUNCTUATION_ENDS = 0x20000  # Unicode has no punctuation from here on
# Ideographs; each is a word.
IDEOGRAPHS = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)


def words_of(text):
    """Splits a normalized text into words, a list of str, as BERT does: at spaces, and around punctuation and ideographs."""
    return _word_pattern().findall(text)


@functools.lru_cache
def _word_pattern():
    alone = "".join(re.escape(c) for c in map(chr, range(33, PUNCTUATION_ENDS)) if _is_punctuation(c))
    alone += "".join(f"{chr(first)}-{chr(last)}" for first, last in IDEOGRAPHS)
    return re.compile(f"[{alone}]|[^ {alone}]+")


def _is_punctuation(character):
    is_ascii_sign = character.isascii() and character.isprintable() and not character.isalnum() and character != " "
    return is_ascii_sign or unicodedata.category(character).startswith("P")


RULES = {"bert": bert_character, "albert": albert_character}


@functools.lru_cache
def normalizer(rule, lower_case):
    """Makes a tensorflow_text.FastBertNormalizer that follows one of RULES and drops bytes that are not UTF-8.

    Args:
      rule: "bert" or "albert".
      lower_case: bool.
    """
    replacements = {}
    for character in map(chr, range(sys.maxunicode + 1)):
        if _may_change(character):
            replacement = RULES[rule](character, lower_case)
            if replacement != character:
                replacements[character.encode()] = replacement.encode()
    with tf.init_scope(), tf.device("CPU:0"):
        if rule == "bert":
            replacements |= {c.encode(): f" {c} ".encode() for c in _unknown_punctuation()}
        model = np.frombuffer(_model(replacements, lower_case), np.uint8)
        return text_ops().FastBertNormalizer(model_buffer=tf.constant(model))


def _may_change(character):
    """False for most code points (ideographs, private and unassigned ones), which saves a second."""
    code = ord(character)
    if 0xD800 <= code < 0xE000 or 0x3400 <= code < 0xA000:
        return False
    return code < 0x20000 or 0x2F800 <= code < 0x2FA20 or 0xE0000 <= code < 0xE0200


def _unknown_punctuation():
    """Punctuation of Python's Unicode at which TensorFlow Text, with an older Unicode, does not split."""
    found = [c for c in map(chr, range(128, PUNCTUATION_ENDS)) if unicodedata.category(c).startswith("P")]
    words = text_ops().FastWordpieceTokenizer(["[UNK]", "a"]).tokenize([f"a{c}a" for c in found])
    return [c for c, parts in zip(found, words.row_lengths().numpy(), strict=True) if parts == 1]


def _model(replacements, lower_case):
    """Writes the table {UTF-8 bytes of a character: its replacement} as FastBertNormalizer's flatbuffer."""
    pool = bytearray()
    data = {}
    for replacement in sorted({b"", *replacements.values()}):
        data[replacement] = REPLACED | len(pool) << LENGTH_BITS | len(replacement)
        pool += replacement
    values = dict.fromkeys(_not_utf8(), data[b""])
    values |= {character: data[replacement] for character, replacement in replacements.items() if character != b"\0"}
    builder = flatbuffers.Builder()
    trie = builder.CreateNumpyVector(_trie(values))
    texts = builder.CreateNumpyVector(np.frombuffer(bytes(pool), np.uint8))
    builder.StartObject(4)
    builder.PrependBoolSlot(0, lower_case, False)
    builder.PrependUOffsetTRelativeSlot(1, trie, 0)
    builder.PrependInt32Slot(2, data[b""], 0)  # of the character 0
    builder.PrependUOffsetTRelativeSlot(3, texts, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def _not_utf8():
    """Bytes that the operation reads as a character if a text is not UTF-8: a character cut short, or a stray byte."""
    whole = [chr(code).encode() for code in range(0x80, sys.maxunicode, 0x40) if not 0xD800 <= code < 0xE000]
    return {bytes([byte]) for byte in range(0x80, 0x100)} | {key[:end] for key in whole for end in range(1, len(key))}


def _trie(values):
    """A double-array trie in the layout of Darts-clone, not optimized for size.

    A node has a base. Its child for a byte is at base ^ byte, and its own value at base. The bytes after a character's first one
    are 0x80 to 0xBF, so two nodes share a block of 256 units: one with base 0 of the block, one with base 0x40.

    Args:
      values: {key: int}; keys are non-empty bytes without zeros.

    Returns:
      uint32 [units].
    """
    inner = sorted({key[:end] for key in values for end in range(1, len(key))})
    base_of = {b"": 256, **{key: 512 + number // 2 * 256 + number % 2 * 64 for number, key in enumerate(inner)}}
    first_leaf = 512 + (len(inner) + 1) // 2 * 256
    # A node without children needs a base only for its value; nodes of equal value share one.
    leaf_of = {value: first_leaf + number for number, value in enumerate(sorted(set(values.values())))}
    units = np.zeros(first_leaf + len(leaf_of), np.uint32)
    units[0] = base_of[b""] << OFFSET_BITS
    for key in {*inner, *values}:
        place = base_of[key[:-1]] ^ key[-1]
        base = base_of[key] if key in base_of else leaf_of[values[key]]
        units[place] = (place ^ base) << OFFSET_BITS | HAS_VALUE * (key in values) | key[-1]
        if key in values:
            units[base] = LEAF | values[key]
    return units
