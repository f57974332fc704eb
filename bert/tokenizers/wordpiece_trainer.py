"""Learns a WordPiece vocabulary that, unlike TensorFlow Text's, has exactly the requested size; it also needs fewer tokens.

The algorithm is the top-down one of TensorFlow Text's guide to subword tokenizers. Count every substring of every word. From the
longest to the shortest, keep a substring with at least a minimum count, and subtract its count from its prefixes. Repeat three
times, counting only substrings that start where the kept ones split the words. The minimum count is searched so that the
vocabulary has the requested size. Single characters are always kept.

All suffixes of the words are in a trie made of NumPy arrays, so a round is a few sums from its deepest level up. The result
depends only on the word counts.
"""

import collections

import numpy as np

ROUNDS = 4
CONTINUES = "##"
MAX_WORD_CHARS = 50  # longer words are ignored
MIN_COUNT = 2
# The most frequent characters are kept until they make up COVERAGE of the text, but at most MAX_CHARACTERS or a quarter of the
# vocabulary, because a character may take two tokens.
COVERAGE = 0.9999
MAX_CHARACTERS = 1000


def learn_pieces(counts, size, special=()):
    """Learns the tokens of a vocabulary, the most frequent first.

    Args:
      counts: {word: count}, str to int.
      size: number of tokens; there are fewer only if the words have too few pieces that occur twice.
      special: str, tokens that come first and count towards the size.

    Returns:
      List of str; tokens that continue a word begin with "##".

    Raises:
      ValueError: no words, or a size that is too small for their characters.
    """
    characters = frequent_characters(counts, max(MAX_CHARACTERS, size // 4))
    words = sorted(word for word in counts if len(word) <= MAX_WORD_CHARS and characters.issuperset(word))
    if not words:
        raise ValueError("the texts have no words")
    trie = SubwordTrie(words, np.array([counts[word] for word in words], np.int64))
    room = size - len(special)
    few, many = trie.characters() + 1, MIN_COUNT  # minimum counts that give at most `room` pieces, and more
    least = np.count_nonzero(trie.pieces(few)[0])
    if least > room:
        characters = f"{least} for single characters and {len(special)} special ones"
        raise ValueError(f"size={size} is not allowed: it must be at least {least + len(special)}, {characters}")
    kept, count = trie.pieces(many)
    if np.count_nonzero(kept) > room:
        while few - many > 1:
            middle = (few + many) // 2
            if np.count_nonzero(trie.pieces(middle)[0]) > room:
                many = middle
            else:
                few = middle
        kept = trie.pieces(few)[0]
        others, count = trie.pieces(many)
        # Fill up with the most frequent pieces that the next lower minimum count would add.
        others = np.flatnonzero(others & ~kept)
        others = others[np.argsort(-count[others], kind="stable")]
        kept[others[: room - np.count_nonzero(kept)]] = True
    pieces = {trie.text(node): int(count[node]) for node in np.flatnonzero(kept)}
    return [*special, *sorted(pieces, key=lambda piece: (-pieces[piece], piece))]


def frequent_characters(counts, most):
    """The set of characters that words may have, at most `most`."""
    characters = collections.Counter()
    for word, count in counts.items():
        for character in word:
            characters[character] += count
    ranked = sorted(characters, key=lambda character: (-characters[character], character))
    shares = np.cumsum([characters[character] for character in ranked]) / max(1, sum(characters.values()))
    enough = int(np.searchsorted(shares, COVERAGE)) + 1
    return set(ranked[: min(enough, most)])


class SubwordTrie:
    """A trie of all substrings of some words.

    The nodes of depth d are levels[d] to levels[d + 1] - 1. Node 0 is the root of pieces that start a word, node 1 of pieces that
    continue one. A place is a character of a word, where one of its suffixes starts.

    Args:
      words: list of non-empty str.
      counts: int64 [words].
    """

    def __init__(self, words, counts):
        lengths = np.array([len(word) for word in words])
        characters = np.frombuffer("".join(words).encode("utf-32-le"), np.uint32)
        self._alphabet, characters = np.unique(characters, return_inverse=True)
        self._first = np.cumsum(lengths) - lengths  # place
        self._end = self._first + lengths
        word = np.repeat(np.arange(len(words)), lengths)
        self._count = counts[word]  # of each place
        self._levels, self._parents, self._characters = [0, 2], [None], [None]  # of each level
        self._suffix = np.zeros(len(word), np.int64)  # of each place: the node of its suffix
        place = np.arange(len(word))
        node = (place != self._first[word]).astype(np.int64)
        while len(place):
            depth = len(self._levels) - 2
            key, number = np.unique(node * len(self._alphabet) + characters[place + depth], return_inverse=True)
            self._parents.append(key // len(self._alphabet) - self._levels[depth])
            self._characters.append(key % len(self._alphabet))
            node = self._levels[-1] + number
            self._levels.append(self._levels[-1] + len(key))
            self._suffix[place] = node
            continues = place + depth + 1 < self._end[word[place]]
            place, node = place[continues], node[continues]

    def characters(self):
        """The number of characters in all words, repetitions included: an upper bound of all counts."""
        return int(self._count.sum())

    def pieces(self, least_count):
        """bool [nodes], whether a piece is kept, and int64 [nodes], its count."""
        places = np.arange(len(self._suffix))
        for _ in range(ROUNDS - 1):
            places = self._splits(places, least_count)
        return self._kept(places, least_count)

    def _splits(self, places, least_count):
        """The places where words start or are split, longest match first, by what is kept of the pieces at `places`."""
        kept, _ = self._kept(places, least_count)
        longest = np.zeros(self._levels[-1], np.int64)  # length of the longest kept piece that a node begins with
        for depth, level in self._from_the_top():
            longest[level] = np.where(kept[level], depth, longest[self._levels[depth - 1] + self._parents[depth]])
        step = longest[self._suffix]
        is_split = np.zeros(len(step), bool)
        place, end = self._first, self._end
        while len(place):
            is_split[place] = True
            place = place + step[place]
            continues = place < end
            place, end = place[continues], end[continues]
        return np.flatnonzero(is_split)

    def _kept(self, places, least_count):
        """The same as `pieces`, counting only pieces that start at `places`."""
        total = np.bincount(self._suffix[places], self._count[places], self._levels[-1])
        taken = np.zeros_like(total)  # what longer pieces have taken
        kept = np.zeros(len(total), bool)
        for depth, level in reversed(list(self._from_the_top())):
            kept[level] = (total[level] - taken[level] >= least_count) | (depth == 1)
            above = slice(self._levels[depth - 1], self._levels[depth])
            for sums, values in ((total, total[level]), (taken, np.where(kept[level], total[level], taken[level]))):
                sums[above] += np.bincount(self._parents[depth], values, above.stop - above.start)
        return kept, (total - taken).astype(np.int64)

    def _from_the_top(self):
        """Yields (depth, slice of its nodes), starting with depth 1."""
        for depth in range(1, len(self._levels) - 1):
            yield depth, slice(self._levels[depth], self._levels[depth + 1])

    def text(self, node):
        """The piece, str."""
        depth = int(np.searchsorted(self._levels, node, side="right")) - 1
        characters = []
        while depth > 0:
            number = node - self._levels[depth]
            characters.append(chr(self._alphabet[self._characters[depth][number]]))
            depth -= 1
            node = self._levels[depth] + self._parents[depth + 1][number]
        return CONTINUES * int(node) + "".join(reversed(characters))
