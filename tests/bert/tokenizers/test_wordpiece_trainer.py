"""Learning pieces: against a plain implementation with dictionaries, by hand, and against TensorFlow Text's learner."""

import collections
import itertools
import random

import numpy as np
import pytest
import tensorflow_text
from tensorflow_text.tools.wordpiece_vocab import wordpiece_tokenizer_learner_lib

from bert.corpus.movie_reviews import read_reviews
from bert.tokenizers.wordpiece_trainer import ROUNDS, SubwordTrie, frequent_characters, learn_pieces
from bert.vocabulary import count_words
from tests.bert.tokenizer_references import SPECIAL


def plain_pieces(counts, least_count):
    """{piece: what it counts} by the algorithm that bert/tokenizers/wordpiece_trainer.py describes, word by word."""
    kept = None
    for _ in range(ROUNDS):
        found = collections.Counter()
        for word, count in counts.items():
            places = range(len(word)) if kept is None else divided(word, kept)
            for start in places:
                for end in range(start + 1, len(word) + 1):
                    found["##" * (start > 0) + word[start:end]] += count
        kept = {"##" * (place > 0) + word[place]: 0 for word in counts for place in range(len(word))}
        for piece in sorted(found, key=lambda piece: -len(piece.removeprefix("##"))):
            body = piece.removeprefix("##")
            if found[piece] >= least_count or len(body) == 1:
                kept[piece] = found[piece]
            if found[piece] >= least_count:
                for end in range(1, len(body)):
                    found[piece[: len(piece) - len(body) + end]] -= found[piece]
    return kept


def kept_pieces(counts, least_count):
    """The same by SubwordTrie."""
    words = sorted(counts)
    trie = SubwordTrie(words, np.array([counts[word] for word in words]))
    kept, count = trie.pieces(least_count)
    return {trie.text(node): count[node] for node in np.flatnonzero(kept)}


def divided(word, kept):
    """The places where a word begins and where it is divided."""
    place, places = 0, []
    while place < len(word):
        places.append(place)
        ends = [end for end in range(place + 1, len(word) + 1) if "##" * (place > 0) + word[place:end] in kept]
        place = max(ends)
    return places


def random_words(seed, words=300, alphabet="abcd中é"):
    draw = random.Random(seed)
    stems = ["".join(draw.choices(alphabet, k=draw.randrange(1, 6))) for _ in range(30)]
    endings = ["", "", "a", "bc", "dda", "é"]
    return {draw.choice(stems) * draw.choice([1, 1, 2]) + draw.choice(endings): draw.randrange(1, 50) for _ in range(words)}


@pytest.mark.parametrize("least_count", [1, 2, 5, 20, 60, 200, 10_000])
def test_against_a_plain_implementation(least_count):
    counts = random_words(0)
    assert kept_pieces(counts, least_count) == plain_pieces(counts, least_count)


def test_by_hand():
    """Least count 5: "walk" keeps what its longer forms do not take, and "##ing" is kept for the words that are too rare."""
    counts = {"walk": 5, "walking": 9, "talking": 3, "baking": 3}
    pieces = kept_pieces(counts, 5)
    assert pieces["walking"] == 9
    assert pieces["walk"] == 5
    assert pieces["##king"] == 6
    assert "talk" not in pieces
    assert "wal" not in pieces


def test_size_is_exact():
    """All of what is kept for some least count, and the most frequent of what is kept for one less."""
    counts = {word: count % 5 + 1 for word, count in random_words(1, words=60).items()}
    sets = [set(kept_pieces(counts, least)) for least in range(2, 120)]
    assert len(sets[-1]) < 20 < 40 < len(sets[0])
    for size in (22, 30, 41):
        pieces = learn_pieces(counts, size, ["[PAD]", "[UNK]"])
        assert len(pieces) == len(set(pieces)) == size
        assert pieces[:2] == ["[PAD]", "[UNK]"]
        assert any(few <= set(pieces[2:]) <= few | many for many, few in itertools.pairwise(sets))


def test_order_is_free():
    counts = random_words(2)
    shuffled = list(counts.items())
    random.Random(0).shuffle(shuffled)
    assert learn_pieces(dict(shuffled), 60) == learn_pieces(counts, 60)


def test_more_than_there_is():
    """What occurs once is not learned, whatever the size."""
    pieces = learn_pieces({"abc": 2, "xyz": 1, "abd": 1}, 1000)
    assert set(pieces) == {"abc", "ab", "a", "##b", "##c", "##d", "x", "##y", "##z", "##bc"} & set(pieces)
    assert "abc" in pieces
    assert "xyz" not in pieces


def test_long_words_are_left_out():
    assert set(learn_pieces({"a" * 51: 10, "b": 1}, 100)) == {"b"}


def test_refusals():
    with pytest.raises(ValueError, match="^the texts have no words$"):
        learn_pieces({}, 100)
    expected = "^size=5 is not allowed: it must be at least 6, 4 for single characters and 2 special ones$"
    with pytest.raises(ValueError, match=expected):
        learn_pieces({"ab": 5, "ba": 5}, 5, ["[PAD]", "[UNK]"])
    assert len(learn_pieces({"ab": 5, "ba": 5}, 6, ["[PAD]", "[UNK]"])) == 6


def test_frequent_characters():
    """All but one in ten thousand; and at most a thousand or a quarter of the vocabulary."""
    assert frequent_characters({"ab": 10_000, "c": 2, "d": 1}, 9) == {"a", "b", "c"}
    assert frequent_characters({"ab": 1, "c": 1, "d": 1}, 9) == {"a", "b", "c", "d"}
    assert frequent_characters({"ab": 2, "c": 1, "d": 1}, 3) == {"a", "b", "c"}
    many = {chr(0x4E00 + i): 2000 - i for i in range(1500)}
    assert set(learn_pieces(many, 1200)) == {chr(0x4E00 + i) for i in range(1000)}
    assert set(learn_pieces(many, 4800)) == {chr(0x4E00 + i) for i in range(1200)}


def test_fewer_tokens_than_tensorflow_text():
    """On other texts than it learned from, at the same size; both know all words."""
    reviews = [text for text, _ in read_reviews("imdb")]
    counts, others = count_words(reviews[:40])[0], count_words(reviews[-100:])[0]
    theirs = wordpiece_tokenizer_learner_lib.learn(counts, 700, SPECIAL, max_unique_chars=200)
    ours = learn_pieces(counts, len(theirs), SPECIAL)
    words, times = list(others), np.array(list(others.values()))

    def tokens_of_a_word(vocabulary):
        pieces = tensorflow_text.FastWordpieceTokenizer(vocabulary, no_pretokenization=True).tokenize(words)
        return (pieces.row_lengths().numpy() * times).sum() / times.sum()

    assert len(ours) == len(theirs)
    assert tokens_of_a_word(ours) < 0.99 * tokens_of_a_word(theirs)
