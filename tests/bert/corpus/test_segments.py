"""Sentences, and the pairs of segments that they make."""

import itertools
import random

import pytest

from bert.corpus.segments import MIN_PAIR_TOKENS, segment_pairs, sentences

SPLIT = [
    ("He met Dr. Smith. She left!", ["He met Dr. Smith.", "She left!"]),
    ('"Really?" she asked. (Nobody.) Then:', ['"Really?" she asked.', "(Nobody.)", "Then:"]),
    ("J. R. R. Tolkien of the U.S. Army paid $3.50 for it.", ["J. R. R. Tolkien of the U.S. Army paid $3.50 for it."]),
    ("It was 5 p.m. in Rome ... And then? 'Yes.' Well…", ["It was 5 p.m. in Rome ...", "And then?", "'Yes.'", "Well…"]),
    ("a line\nthat goes on. a new one.\nends with its line.\n\nA title\n\nText", None),
    ("\u4eca\u65e5\u306f\u3002\u660e\u65e5\uff01", ["\u4eca\u65e5\u306f\u3002", "\u660e\u65e5\uff01"]),
    ("", []),
    (" \n\n ", []),
    ("...", ["..."]),
    ("No mark at all", ["No mark at all"]),
]


@pytest.mark.parametrize("text, expected", SPLIT)
def test_sentences(text, expected):
    """White space within a sentence stays; a blank line always ends one, a line's end only after a mark."""
    if expected is None:
        expected = ["a line\nthat goes on. a new one.", "ends with its line.", "A title", "Text"]
    assert sentences(text) == expected


def test_no_text_is_lost():
    """Of random text of marks, letters and spaces all but white space is in the sentences, in order."""
    draw = random.Random(0)
    for _ in range(500):
        text = "".join(draw.choice("aB1 .!?\n\"')…\u3002") for _ in range(draw.randrange(60)))
        assert "".join("".join(sentences(text)).split()) == "".join(text.split())


def random_document(draw, tokens):
    """Where words and sentences begin."""
    words = [0, *sorted(draw.sample(range(1, tokens), int(0.8 * (tokens - 1)))), tokens] if tokens > 1 else [0, tokens]
    inner = words[1:-1]
    return words, sorted({0, *draw.sample(inner, len(inner) // 12)})


def divided(seed, tokens, max_tokens, short_share):
    draw = random.Random(seed)
    words, starts = random_document(draw, tokens)
    return words, starts, segment_pairs(words, starts, max_tokens, short_share, draw.random)


@pytest.mark.parametrize("short_share", [0, 0.1, 1])
def test_every_token_once(short_share):
    """Stretches follow each other, and only an end of the document that is too short is in none."""
    for seed in range(200):
        tokens = random.Random(seed).randrange(1, 400)
        words, _, found = divided(seed, tokens, 61, short_share)
        end = 0
        for stretch in found:
            assert stretch.start == end < stretch.middle < stretch.end <= end + 61
            assert stretch.start in words and stretch.middle in words and stretch.end in words
            end = stretch.end
        assert tokens - end < MIN_PAIR_TOKENS


def test_lengths():
    """Without short ones each is at least seven eighths full and ends with a sentence if it is not full, but for the last."""
    for seed in range(100):
        words, starts, found = divided(seed, 500, 64, 0)
        longest_word = max(b - a for a, b in itertools.pairwise(words))
        for stretch in found[:-1]:
            length = stretch.end - stretch.start
            assert length >= 56 - longest_word
            if length <= 64 - longest_word:
                assert stretch.end in starts


def test_short_ones():
    """A tenth of them; their lengths are of all sizes."""
    lengths = [stretch.end - stretch.start for seed in range(30) for stretch in divided(seed, 20_000, 128, 0.1)[2]]
    short = [length for length in lengths if length < 128 * 7 / 8 - 8]
    assert 0.07 < len(short) / len(lengths) < 0.11  # of those drawn a tenth are nearly full
    assert min(short) < 20 and max(short) > 95


def test_half_are_swapped():
    found = [stretch for seed in range(50) for stretch in divided(seed, 5000, 128, 0.1)[2]]
    share = sum(stretch.swapped for stretch in found) / len(found)
    assert abs(share - 0.5) < 4 * 0.5 / len(found) ** 0.5


def test_segments_meet_between_sentences():
    """Anywhere where one begins inside; without any, at the word nearest to the middle."""
    found = {segment_pairs([*range(31)], [0, 5, 20], 40, 0, random.Random(seed).random)[0].middle for seed in range(20)}
    assert found == {5, 20}
    (stretch,) = segment_pairs([0, 3, 8, 20], [0], 40, 0, random.Random(0).random)
    assert stretch.middle == 8


@pytest.mark.parametrize(
    "words, expected", [([0, 100], []), ([*range(10), 40], [(0, 4, 9)]), ([0, 2, 5], []), ([0, 2, 8], [(0, 2, 8)]), ([0], [])]
)
def test_hard_documents(words, expected):
    """Of at most 30 tokens: a word that is too long has no place, a single one makes no pair, and too little makes nothing."""
    found = segment_pairs(words, [0], 30, 0, random.Random(0).random)
    assert [(stretch.start, stretch.middle, stretch.end) for stretch in found] == expected
