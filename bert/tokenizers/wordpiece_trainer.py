"""Learns which pieces of words, so many of them, make the words of a corpus out of few: WordPiece from the top down.

The way is that of TensorFlow Text's guide to subword tokenizers. Every piece of every word is counted. From the longest to the
shortest, a piece with at least some count is kept, and what it counted is taken from the pieces it begins with. The same is done
three times more, counting only pieces that begin where the pieces kept so far divide the words. The least count is the one that
gives as many pieces as asked for. Characters are kept whatever they count.

Words and their ends lie in a trie, as arrays, so that all this is a few sums from its deepest level up.
"""

import collections

import numpy as np

ROUNDS = 4
CONTINUES = "##"
MAX_WORD_CHARS = 50  # characters of a word; others are no words that one learns from
MIN_COUNT = 2
# Characters are kept, from the most frequent on, until that share of a text consists of them; but no more than so many, or than
# a quarter of the vocabulary, since one may take two tokens.
COVERAGE = 0.9999
MAX_CHARACTERS = 1000


def learn_pieces(counts, size, special=()):
    """The tokens of a vocabulary, the most frequent first.

    Args:
      counts: {word: how often}, str to int.
      size: how many tokens; there are fewer only where the words do not have more that occur twice.
      special: str, tokens that come before all others and count too.

    Returns:
      List of str; those that continue a word begin with "##".

    Raises:
      ValueError: no words, or a size that is too small for their characters.
    """
    characters = frequent_characters(counts, max(MAX_CHARACTERS, size // 4))
    words = sorted(word for word in counts if len(word) <= MAX_WORD_CHARS and characters.issuperset(word))
    if not words:
        raise ValueError("there is no word in the texts")
    trie = SubwordTrie(words, np.array([counts[word] for word in words], np.int64))
    room = size - len(special)
    few, many = trie.characters() + 1, MIN_COUNT  # least counts that give at most `room` pieces, and more
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
        # Of what one count less would add, the most frequent.
        others = np.flatnonzero(others & ~kept)
        others = others[np.argsort(-count[others], kind="stable")]
        kept[others[: room - np.count_nonzero(kept)]] = True
    pieces = {trie.text(node): int(count[node]) for node in np.flatnonzero(kept)}
    return [*special, *sorted(pieces, key=lambda piece: (-pieces[piece], piece))]


def frequent_characters(counts, most):
    """The set of characters that words may have, at most so many."""
    characters = collections.Counter()
    for word, count in counts.items():
        for character in word:
            characters[character] += count
    ranked = sorted(characters, key=lambda character: (-characters[character], character))
    shares = np.cumsum([characters[character] for character in ranked]) / max(1, sum(characters.values()))
    enough = int(np.searchsorted(shares, COVERAGE)) + 1
    return set(ranked[: min(enough, most)])


class SubwordTrie:
    """All pieces of some words.

    The nodes of depth d are those from levels[d] up to levels[d + 1]; node 0 is the beginning of a word, node 1 any other place
    in one. Every character of every word is a place, where a suffix of the word begins.

    Args:
      words: list of str, none of them empty.
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
        self._levels, self._parents, self._characters = [0, 2], [None], [None]  # each level's
        self._suffix = np.zeros(len(word), np.int64)  # of each place: the node of all that follows in the word
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
            goes_on = place + depth + 1 < self._end[word[place]]
            place, node = place[goes_on], node[goes_on]

    def characters(self):
        """How many characters all words have as often as they are there: no piece counts more."""
        return int(self._count.sum())

    def pieces(self, least_count):
        """bool [nodes], whether a piece is kept; and int64 [nodes], what it counts."""
        places = np.arange(len(self._suffix))
        for _ in range(ROUNDS - 1):
            places = self._divisions(places, least_count)
        return self._kept(places, least_count)

    def _divisions(self, places, least_count):
        """The places where words begin, and where they are divided by what is kept of pieces at `places`, the longest first."""
        kept, _ = self._kept(places, least_count)
        longest = np.zeros(self._levels[-1], np.int64)  # length of the longest kept piece that a node begins with
        for depth, level in self._from_the_top():
            longest[level] = np.where(kept[level], depth, longest[self._levels[depth - 1] + self._parents[depth]])
        step = longest[self._suffix]
        is_division = np.zeros(len(step), bool)
        place, end = self._first, self._end
        while len(place):
            is_division[place] = True
            place = place + step[place]
            goes_on = place < end
            place, end = place[goes_on], end[goes_on]
        return np.flatnonzero(is_division)

    def _kept(self, places, least_count):
        """As of `pieces`, of those pieces that begin at `places`."""
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
        """Yields (depth, slice of its nodes), from depth 1 on."""
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
