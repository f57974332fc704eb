"""From a document to training examples: sentences, and pairs of consecutive segments made of them.

A document's tokens are divided into stretches of as many as an example takes, or somewhat fewer where a sentence ends there; a
stretch is divided into two segments where one of its sentences begins. So each token of a document is in exactly one example,
but for an end that is too short for one, or a word that fills one alone.
"""

import bisect
import re
from typing import NamedTuple

SHORTEST_STRETCH = 8  # tokens; an end of a document that is shorter is left out

UNSPACED_MARKS = "\u3002\uff01\uff1f\u0964\u061f"  # of sentences in Chinese and Japanese, Hindi, Arabic: no space need follow
MARKS = ".!?\u2026" + UNSPACED_MARKS
CLOSING = "\"')\\]\u201d\u2019\u00bb\u300d\u300f"  # quotes and brackets; as in a set of a regular expression

_PARAGRAPH = re.compile(r"\n\s*\n")
_MARK = re.compile(rf"([{MARKS}])[{MARKS}{CLOSING}]*(\s*)")  # a sentence's mark and what closes with it
_LAST_WORD = re.compile("[^\\s(\\[\"'\u201c\u2018]*$")
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")  # "J" of J. Doe, and "U.S"
# Before whose full stop a sentence does not end.
ABBREVIATIONS = frozenset(
    """Mr Mrs Ms Dr Prof Rev Hon St Sr Jr Gen Brig Col Lt Maj Capt Sgt Gov Sen Rep Pres Mt Ft No vs cf ca approx Vol vol pp
    ed eds trans fig Fig Inc Ltd Co Corp Bros Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec viz al""".split()
)


def sentences(text):
    """The sentences of a text, in order and without white space at their ends; none is empty.

    A sentence ends at a blank line; after UNSPACED_MARKS; after the other MARKS where the line ends; and after these before white
    space, unless the next word begins with a small letter or the last one is an abbreviation or an initial.

    Args:
      text: str.

    Returns:
      List of str.
    """
    found = []
    for paragraph in _PARAGRAPH.split(text):
        start = 0
        for mark in _MARK.finditer(paragraph):
            if _ends_sentence(paragraph, mark):
                found.append(paragraph[start : mark.end()])
                start = mark.end()
        found.append(paragraph[start:])
    return [sentence for sentence in map(str.strip, found) if sentence]


def _ends_sentence(text, mark):
    first, space = mark.groups()
    if first in UNSPACED_MARKS or "\n" in space:
        return True
    if not space or text[mark.end() : mark.end() + 1].islower():
        return False
    word = _LAST_WORD.search(text, max(0, mark.start() - 20), mark.start()).group() if first == "." else ""
    return word not in ABBREVIATIONS and not _INITIALS.fullmatch(word)


class Stretch(NamedTuple):
    """Tokens [start, end) of a document, of which those before `middle` are the first segment; `swapped`: in the other order."""

    start: int
    middle: int
    end: int
    swapped: bool


def stretches(words, sentence_starts, max_tokens, short_share, random):
    """Divides a document into pairs of consecutive segments.

    Args:
      words: increasing list of int, the token that each word begins with, and at its end the number of tokens; begins with 0.
      sentence_starts: increasing list of int, the token that each sentence begins with; begins with 0.
      max_tokens: of an example's two segments together, at least 2.
      short_share: share of stretches that may be shorter, of a length drawn between SHORTEST_STRETCH and max_tokens.
      random: function without arguments to the next random number in [0, 1).

    Returns:
      List of Stretch.
    """
    tokens = words[-1]
    found, start = [], 0
    while start < tokens:
        longest = max_tokens
        if random() < short_share:
            longest = SHORTEST_STRETCH + int(random() * (max_tokens + 1 - SHORTEST_STRETCH))
        limit = start + longest
        if limit >= tokens:
            end = tokens
        else:
            end = _last(sentence_starts, limit - longest // 8, limit) or _last(words, start, limit) or limit
        swapped = random() < 0.5
        middle = _middle(words, sentence_starts, start, end, random())
        if middle and (end < tokens or end - start >= SHORTEST_STRETCH):
            found.append(Stretch(start, middle, end, swapped))
        start = end
    return found


def _last(starts, above, limit):
    """The last of the sorted `starts` that is above `above` and at most `limit`; None where there is none."""
    place = bisect.bisect_right(starts, limit) - 1
    return starts[place] if starts[place] > above else None


def _middle(words, sentence_starts, start, end, draw):
    """Any of the sentences that begin inside a stretch, else the word nearest to its middle; None for a single word."""
    first, last = bisect.bisect_right(sentence_starts, start), bisect.bisect_left(sentence_starts, end)
    if first < last:
        return sentence_starts[first + int(draw * (last - first))]
    first, last = bisect.bisect_right(words, start), bisect.bisect_left(words, end)
    return min(words[first:last], key=lambda word: abs(2 * word - start - end), default=None)
