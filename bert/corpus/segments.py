"""From a document to training examples: sentences, and pairs of consecutive segments made of them.

A document's tokens are split into pieces that fill an example, or somewhat less where that ends at a sentence. Each piece is
split into two segments at the start of one of its sentences. So every token of a document is in exactly one example, except for
an end that is too short and a single word that fills an example.
"""

import bisect
import re
from typing import NamedTuple

TOKENIZE_BATCH = 8192  # sentences that are tokenized in one call
MIN_PAIR_TOKENS = 8  # a shorter end of a document is left out

UNSPACED_MARKS = "\u3002\uff01\uff1f\u0964\u061f"  # Chinese, Japanese, Hindi, Arabic; no space need follow
MARKS = ".!?\u2026" + UNSPACED_MARKS
CLOSING = "\"')\\]\u201d\u2019\u00bb\u300d\u300f"  # quotes and brackets, escaped for a set in a regular expression

_PARAGRAPH = re.compile(r"\n\s*\n")
_MARK = re.compile(rf"([{MARKS}])[{MARKS}{CLOSING}]*(\s*)")  # the end of a sentence, closing quotes and brackets included
_LAST_WORD = re.compile("[^\\s(\\[\"'\u201c\u2018]*$")
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")  # "J" of J. Doe, and "U.S"
# A full stop after one of these does not end a sentence.
ABBREVIATIONS = frozenset(
    """Mr Mrs Ms Dr Prof Rev Hon St Sr Jr Gen Brig Col Lt Maj Capt Sgt Gov Sen Rep Pres Mt Ft No vs cf ca approx Vol vol pp
    ed eds trans fig Fig Inc Ltd Co Corp Bros Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec viz al""".split()
)


def sentences(text):
    """Splits a text into its sentences, in order, without white space at their ends and without empty ones.

    A sentence ends at a blank line, after UNSPACED_MARKS, and after the other MARKS at the end of a line or before white space.
    Before white space it does not end if the next word begins with a lower-case letter, or if the last word is an abbreviation or
    an initial.

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


def text_segments(documents, tokenizer, max_tokens):
    """Cuts documents into segments: consecutive sentences of one document with at most `max_tokens` tokens together.

    A sentence that is longer is a segment by itself.

    Args:
      documents: list of str.
      tokenizer: a bert.tokenizer.Tokenizer.
      max_tokens: int.

    Returns:
      List of str, sentences with a space between them.
    """
    parts = [(document, sentence) for document, text in enumerate(documents) for sentence in sentences(text)]
    lengths = []
    for start in range(0, len(parts), TOKENIZE_BATCH):
        batch = [sentence for _, sentence in parts[start : start + TOKENIZE_BATCH]]
        lengths.extend(tokenizer.tokenize(batch).row_lengths().numpy().tolist())
    segments, before, room = [], None, 0
    for (document, sentence), tokens in zip(parts, lengths, strict=True):
        if document == before and tokens <= room:
            segments[-1].append(sentence)
        else:
            segments.append([sentence])
            before, room = document, max_tokens
        room -= tokens
    return list(map(" ".join, segments))


class SegmentPair(NamedTuple):
    """Tokens [start, middle) and [middle, end) of a document; `swapped` if the example shows the second segment first."""

    start: int
    middle: int
    end: int
    swapped: bool


def segment_pairs(words, sentence_starts, max_tokens, short_share, random):
    """Splits a document into pairs of consecutive segments.

    Args:
      words: increasing list of int, the first token of each word, starting with 0, followed by the number of tokens.
      sentence_starts: increasing list of int, the first token of each sentence, starting with 0.
      max_tokens: of the two segments together, at least 2.
      short_share: share of pairs that may be shorter, of a length drawn between MIN_PAIR_TOKENS and max_tokens.
      random: function without arguments that returns the next random number in [0, 1).

    Returns:
      List of SegmentPair.
    """
    tokens = words[-1]
    found, start = [], 0
    while start < tokens:
        longest = max_tokens
        if random() < short_share:
            longest = MIN_PAIR_TOKENS + int(random() * (max_tokens + 1 - MIN_PAIR_TOKENS))
        limit = start + longest
        if limit >= tokens:
            end = tokens
        else:
            end = _last(sentence_starts, limit - longest // 8, limit) or _last(words, start, limit) or limit
        swapped = random() < 0.5
        middle = _middle(words, sentence_starts, start, end, random())
        if middle and (end < tokens or end - start >= MIN_PAIR_TOKENS):
            found.append(SegmentPair(start, middle, end, swapped))
        start = end
    return found


def _last(starts, above, limit):
    """The largest of the sorted `starts` that is above `above` and at most `limit`, or None."""
    place = bisect.bisect_right(starts, limit) - 1
    return starts[place] if starts[place] > above else None


def _middle(words, sentence_starts, start, end, draw):
    """A random start of a sentence inside tokens [start, end), else the start of a word nearest to the middle, or None."""
    first, last = bisect.bisect_right(sentence_starts, start), bisect.bisect_left(sentence_starts, end)
    if first < last:
        return sentence_starts[first + int(draw * (last - first))]
    first, last = bisect.bisect_right(words, start), bisect.bisect_left(words, end)
    return min(words[first:last], key=lambda word: abs(2 * word - start - end), default=None)
