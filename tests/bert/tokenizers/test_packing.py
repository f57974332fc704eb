"""Packing against Hugging Face's longest-first truncation, and by hand."""

from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from transformers import BertTokenizer

from bert.tokenizers.packing import pack
from tests.bert.tokenizer_references import write_vocabulary

PAD, CLS, SEP = 0, 2, 3


class Vocabulary(NamedTuple):
    """All that packing needs of a tokenizer."""

    class Ids(NamedTuple):
        pad: int = PAD
        cls: int = CLS
        sep: int = SEP

    ids: Ids = Ids()


def ragged(*rows):
    return tf.RaggedTensor.from_row_lengths(tf.constant([i for row in rows for i in row], tf.int32), [len(row) for row in rows])


def packed(*arguments, **settings):
    """As lists, each checked to be int32."""
    inputs = pack(Vocabulary(), *arguments, **settings)
    assert list(inputs) == ["input_word_ids", "input_mask", "input_type_ids"]
    assert all(value.dtype == tf.int32 for value in inputs.values())
    return [value.numpy().tolist() for value in inputs.values()]


def test_one_segment_by_hand():
    assert packed([ragged([7, 8], [], [7, 8, 9, 10])], 5) == [
        [[CLS, 7, 8, SEP, PAD], [CLS, SEP, PAD, PAD, PAD], [CLS, 7, 8, 9, SEP]],
        [[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 1]],
        [[0] * 5] * 3,
    ]


def test_two_segments_by_hand():
    assert packed([ragged([7], [7, 8, 9]), ragged([11, 12], [])], 7) == [
        [[CLS, 7, SEP, 11, 12, SEP, PAD], [CLS, 7, 8, 9, SEP, SEP, PAD]],
        [[1, 1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1, 0]],
        [[0, 0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 0, 1, 0]],
    ]


@pytest.mark.parametrize("max_length", [5, 6, 11, 12, 20])
def test_longest_is_cut_first(tmp_path, max_length):
    """As Hugging Face does, for every pair of lengths."""
    reference = BertTokenizer(str(write_vocabulary(tmp_path / "vocab.txt")))
    pairs = [(a, b) for a in range(15) for b in range(15)]
    firsts = [list(range(100, 100 + a)) for a, _ in pairs]
    seconds = [list(range(200, 200 + b)) for _, b in pairs]
    ids, mask, types = packed([ragged(*firsts), ragged(*seconds)], max_length)
    settings = dict(truncation="longest_first", max_length=max_length, padding="max_length", verbose=False)
    for *found, first, second in zip(ids, mask, types, firsts, seconds, strict=True):
        expected = reference.prepare_for_model(first, second, **settings)
        assert found == [expected["input_ids"], expected["attention_mask"], expected["token_type_ids"]], (first, second)


def test_padding_to_the_longest():
    """The same tokens, and no column of nothing but padding."""
    segments = [ragged([7], [7, 8, 9], [])]
    short, full = packed(segments, 16, pad=False), packed(segments, 16)
    assert np.shape(short) == (3, 3, 5)
    np.testing.assert_array_equal(short, np.array(full)[:, :, :5])
    assert not np.any(np.array(full)[:, :, 5:])


def test_no_examples():
    assert packed([ragged(), ragged()], 8) == [[], [], []]


@pytest.mark.parametrize("pad, length", [(True, 8), (False, None)])
def test_static_shapes(pad, length):
    spec = tf.RaggedTensorSpec([None, None], tf.int32)

    @tf.function(input_signature=[spec, spec])
    def function(a, b):
        return pack(Vocabulary(), [a, b], 8, pad)

    shapes = function.get_concrete_function().output_shapes
    assert [shape.as_list() for shape in shapes.values()] == [[None, length]] * 3
    assert function(ragged([7]), ragged([]))["input_mask"].numpy().sum() == 4


@pytest.mark.parametrize("segments, least", [(1, 3), (2, 5)])
def test_no_room(segments, least):
    given = [ragged([7, 8])] * segments
    with pytest.raises(ValueError, match=rf"^max_length={least - 1} is not allowed: it must be at least {least}$"):
        pack(Vocabulary(), given, least - 1)
    assert np.shape(packed(given, least)) == (3, 1, least)


@pytest.mark.parametrize("count", [0, 3])
def test_count_of_segments(count):
    with pytest.raises(ValueError, match=f"^{count} segments are not allowed: there must be 1 or 2$"):
        pack(Vocabulary(), [ragged([7])] * count, 16)
