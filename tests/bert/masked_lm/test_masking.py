"""Masked words: as written down by hand, as in a plain loop over words, and in the shares that were asked for."""

import types

import numpy as np
import pytest
import tensorflow as tf

from bert.masked_lm.masking import DRAWS, Masking, choose, divide

PAD, UNK, CLS, SEP, MASK = range(5)
SIZE = 40
CONTINUES = np.arange(SIZE) % 3 == 2  # 5, 8, 11, ... continue a word
SPECIAL = np.arange(SIZE) < 5
TOKENIZER = types.SimpleNamespace(
    ids=types.SimpleNamespace(pad=PAD, unk=UNK, cls=CLS, sep=SEP, mask=MASK), size=SIZE, continues=CONTINUES, special=SPECIAL
)
ROWS, LENGTH, PREDICTIONS = 150, 64, 10


def examples(random, rows=ROWS, length=LENGTH):
    """int32 [rows, length]: [CLS] a [SEP] b [SEP] [PAD]... of any lengths, some of them [UNK]."""
    ids = np.full([rows, length], PAD, np.int32)
    for row in ids:
        first, second = random.integers(1, length // 2 - 1, 2)
        text = [random.choice([UNK, *range(5, SIZE)], n, p=[0.05] + [0.95 / (SIZE - 5)] * (SIZE - 5)) for n in (first, second)]
        content = [CLS, *text[0], SEP, *text[1], SEP]
        row[: len(content)] = content
    return ids


def random_draws(random, rows=ROWS, length=LENGTH):
    return random.random([rows, DRAWS, length], np.float32)


def reference(ids, draws, rate, max_ngram, predictions):
    """One example, word by word: (ids, positions, labels)."""
    text = [i for i, token in enumerate(ids) if not SPECIAL[token]]
    words = []  # lists of positions
    for i in text:
        if CONTINUES[ids[i]] and i - 1 in text:
            words[-1].append(i)
        else:
            words.append([i])
    weights = np.cumsum([1 / n for n in range(1, max_ngram + 1)])
    lengths = [1 + int(np.sum(draw >= (weights / weights[-1]).astype(np.float32)[:-1])) for draw in draws[0]]
    ngram_of_word = [k for k, n in enumerate(lengths) for _ in range(n)][: len(words)]
    ngrams = {}  # (the n-gram's number, special tokens before it): its words
    for word, number in zip(words, ngram_of_word, strict=True):
        specials = sum(SPECIAL[ids[: word[0]]])
        ngrams.setdefault(number + specials, []).append(word)
    room = min(predictions, max(1, int(np.floor(np.float32(rate) * np.float32(len(text)) + np.float32(0.5)))))
    chosen = []
    for number in sorted(ngrams, key=lambda number: draws[1][number]):
        for word in ngrams[number]:
            if len(word) <= room:
                chosen += word
                room -= len(word)
    hidden = ids.copy()
    ordinary = np.flatnonzero(~SPECIAL)
    for i in chosen:
        if draws[2][i] < 0.1:
            hidden[i] = ordinary[int(draws[3][i] * len(ordinary))]
        elif draws[2][i] >= 0.2:
            hidden[i] = MASK
    positions = sorted(chosen) + [0] * (predictions - len(chosen))
    labels = [*ids[sorted(chosen)], *[-1] * (predictions - len(chosen))]
    return hidden, positions, labels


@pytest.mark.parametrize("rate, max_ngram, predictions", [(0.15, 3, PREDICTIONS), (0.15, 1, 4), (0.5, 5, LENGTH)])
def test_as_word_by_word(rate, max_ngram, predictions):
    """The same tokens, positions and labels in every example, whichever way they are computed."""
    random = np.random.default_rng(0)
    ids, draws = examples(random), random_draws(random)
    found = Masking(TOKENIZER, rate, max_ngram, predictions)(ids, draws)
    for row in range(ROWS):
        hidden, positions, labels = reference(ids[row], draws[row], rate, max_ngram, predictions)
        np.testing.assert_array_equal(found.positions[row], positions)
        np.testing.assert_array_equal(found.labels[row], labels)
        np.testing.assert_array_equal(found.ids[row], hidden)


def test_by_hand():
    """Words A, B b, C | D d, E: the n-gram of two words goes first, then B b, A and C; what does not fit is passed over."""
    ids = np.array([[CLS, 6, 7, 8, 9, SEP, 10, 11, 12, SEP, PAD]])
    words = [[-1, 0, 1, 1, 2, 2, 3, 3, 4, 4, 4]]
    is_text = ~SPECIAL[ids]
    lengths = [[1, 1, 1, 2] + [1] * 7]
    ngrams = divide(words, is_text, lengths).numpy()
    assert ngrams[is_text].tolist() == [1, 2, 2, 3, 5, 5, 5]
    draws = np.full([1, 11], 0.9, np.float32)
    draws[0, [5, 2, 1]] = 0.1, 0.2, 0.3
    for room, expected in (
        (1, [8]),
        (2, [6, 7]),
        (3, [6, 7, 8]),
        (4, [1, 6, 7, 8]),
        (5, [2, 3, 6, 7, 8]),
        (9, [1, 2, 3, 4, 6, 7, 8]),
    ):
        chosen = choose(tf.constant(words), ngrams, is_text, draws, [[room]])
        assert np.flatnonzero(chosen[0]).tolist() == expected


def test_an_ngram_ends_with_its_segment():
    """Of three words after each other one stands behind [SEP]: it is an n-gram of its own."""
    ids = np.array([[CLS, 6, 7, SEP, 9, SEP]])
    ngrams = divide([[-1, 0, 1, 1, 2, 2]], ~SPECIAL[ids], [[3, 1, 1, 1, 1, 1]]).numpy()[~SPECIAL[ids]]
    assert ngrams[0] == ngrams[1] != ngrams[2]


@pytest.fixture(scope="module")
def large():
    """Many examples of words of one token: (ids, Masked), as NumPy arrays."""
    random = np.random.default_rng(1)
    rows, length = 2000, 100
    ids = random.choice(np.flatnonzero(~SPECIAL & ~CONTINUES), [rows, length]).astype(np.int32)
    ids[:, [0, 50, 99]] = CLS, SEP, SEP
    return ids, [x.numpy() for x in Masking(TOKENIZER, 0.15, 3, 20)(ids, random_draws(random, rows, length))]


def test_share_of_tokens(large):
    """15 % of 97 are 14.55, so 15 in every example: single tokens always fit."""
    _, (_, _, labels) = large
    np.testing.assert_array_equal((labels >= 0).sum(axis=1), 15)


def test_what_is_hidden_and_how(large):
    """80, 10 and 10 % of 30,000 tokens; the tolerance is four standard errors. Random tokens are any but special ones."""
    ids, (hidden, positions, labels) = large
    is_real = labels >= 0
    seen = np.take_along_axis(hidden, positions, axis=1)[is_real]
    labels = labels[is_real]
    n, number = len(labels), SIZE - 5
    for share, expected in (
        ((seen == MASK).mean(), 0.8),
        ((seen == labels).mean(), 0.1 + 0.1 / number),
        (((seen != MASK) & (seen != labels)).mean(), 0.1 * (1 - 1 / number)),
    ):
        assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / n)
    others = seen[(seen != MASK) & (seen != labels)]
    assert set(others) == set(np.flatnonzero(~SPECIAL))
    untouched = np.ones_like(ids, bool)
    np.put_along_axis(untouched, positions, False, axis=1)
    np.testing.assert_array_equal(hidden[untouched], ids[untouched])


def test_lengths_of_ngrams():
    """1, 2 and 3 words with probabilities 6/11, 3/11 and 2/11 (four standard errors)."""
    lengths = Masking(TOKENIZER, 0.15, 3, 20)._lengths(np.random.default_rng(0).random([100, 100], np.float32)).numpy()
    for n, expected in ((1, 6 / 11), (2, 3 / 11), (3, 2 / 11)):
        assert abs((lengths == n).mean() - expected) < 4 * np.sqrt(expected * (1 - expected) / lengths.size)


def test_every_place_is_as_likely(large):
    """Each place of the text is hidden as often as the others (five standard errors of a share)."""
    ids, (_, positions, labels) = large
    share = np.bincount(positions[labels >= 0], minlength=ids.shape[1]) / len(ids)
    share = np.delete(share, [0, 50, 99])
    assert np.abs(share - 15 / 97).max() < 5 * np.sqrt(15 / 97 * 82 / 97 / len(ids))


def test_whole_words_and_no_special_token():
    random = np.random.default_rng(2)
    ids = examples(random)
    found = Masking(TOKENIZER, 0.3, 3, 20)(ids, random_draws(random))
    chosen = np.zeros([ROWS, LENGTH + 1], bool)
    np.put_along_axis(chosen, np.where(found.labels >= 0, found.positions, LENGTH), True, axis=1)
    chosen = chosen[:, :-1]
    assert chosen.any()
    assert not chosen[SPECIAL[ids]].any()
    inside = CONTINUES[ids[:, 1:]] & ~SPECIAL[ids[:, :-1]]
    np.testing.assert_array_equal(chosen[:, 1:][inside], chosen[:, :-1][inside])


def test_nothing_to_hide():
    """An example of special tokens alone has no prediction, and one that is all unknown words neither."""
    ids = np.array([[CLS, SEP, SEP, PAD], [CLS, UNK, SEP, UNK]], np.int32)
    found = Masking(TOKENIZER, 0.15, 3, 2)(ids, random_draws(np.random.default_rng(0), 2, 4))
    np.testing.assert_array_equal(found.ids, ids)
    np.testing.assert_array_equal(found.labels, -np.ones([2, 2]))
    np.testing.assert_array_equal(found.positions, np.zeros([2, 2]))


def test_static_shapes():
    """In a graph, of batches of any size."""
    masking = Masking(TOKENIZER, 0.15, 3, PREDICTIONS)
    specs = tf.TensorSpec([8, LENGTH], tf.int32), tf.TensorSpec([8, DRAWS, LENGTH], tf.float32)
    found = tf.function(masking.__call__).get_concrete_function(*specs).structured_outputs
    assert [x.shape.as_list() for x in found] == [[8, LENGTH], [8, PREDICTIONS], [8, PREDICTIONS]]
