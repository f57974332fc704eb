"""The record of a pretraining example: two consecutive segments of a document, before masking and without [CLS] and [SEP]."""

import hashlib
import itertools
import random
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from bert.corpus.segments import segment_pairs, sentences

SPECIAL_TOKENS = 3  # [CLS] first [SEP] second [SEP]


class Record(NamedTuple):
    """An example to be written.

    Attributes:
      key: bytes to sort by, a hash of the document and the pair's number in it.
      tokens: int array, those of the first shown segment, then those of the second.
      first: int, the number of tokens in the first shown segment.
      swapped: bool, whether the segments are shown in reverse order.
    """

    key: bytes
    tokens: np.ndarray
    first: int
    swapped: bool


def records_of(documents, tokenizer, max_length, short_share, seed):
    """Makes the examples of some documents.

    Args:
      documents: {bytes, the hash of a document: its text}.
      tokenizer: a bert.tokenizer.Tokenizer.
      max_length: tokens of an example, special ones included.
      short_share: share of examples that may be shorter (bert.corpus.segments.segment_pairs).
      seed: int.

    Returns:
      List of Record.
    """
    found = []
    split = {name: sentences(text) for name, text in documents.items()}
    ragged = tokenizer.tokenize(tf.constant(list(itertools.chain(*split.values())), tf.string))
    ids, bounds = ragged.flat_values.numpy(), ragged.row_splits.numpy()
    last = np.cumsum([0, *map(len, split.values())])
    for place, name in enumerate(split):
        starts = bounds[last[place] : last[place + 1] + 1]
        tokens, starts = ids[starts[0] : starts[-1]], starts - starts[0]
        starts = starts[:-1][np.diff(starts) > 0]  # a sentence may have no tokens
        begins = ~tokenizer.continues[tokens]
        begins[starts] = True
        words = [*np.flatnonzero(begins).tolist(), len(tokens)]
        draw = random.Random(_digest(name, seed)).random
        of_document = segment_pairs(words, starts.tolist(), max_length - SPECIAL_TOKENS, short_share, draw)
        for number, (start, middle, end, swapped) in enumerate(of_document):
            first, second = tokens[start:middle], tokens[middle:end]
            shown = (second, first) if swapped else (first, second)
            found.append(Record(_digest(name, number), np.concatenate(shown), len(shown[0]), swapped))
    return found


def serialize(record):
    """The bytes of a tf.train.Example, always the same for the same record."""
    values = {"tokens": record.tokens, "first": [record.first], "swapped": [int(record.swapped)]}
    features = {key: tf.train.Feature(int64_list=tf.train.Int64List(value=value)) for key, value in values.items()}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)


def parse(serialized):
    """Parses serialized records.

    Args:
      serialized: string [N].

    Returns:
      (tokens RaggedTensor int32 [N, (tokens)], first int32 [N], swapped bool [N]).
    """
    scalar = tf.io.FixedLenFeature([], tf.int64)
    features = {"tokens": tf.io.RaggedFeature(tf.int64), "first": scalar, "swapped": scalar}
    found = tf.io.parse_example(serialized, features)
    tokens = found["tokens"]
    return tokens.with_flat_values(tf.cast(tokens.flat_values, tf.int32)), tf.cast(found["first"], tf.int32), found["swapped"] > 0


def _digest(name, number):
    return hashlib.blake2b(name + number.to_bytes(8, "little", signed=True), digest_size=16).digest()
