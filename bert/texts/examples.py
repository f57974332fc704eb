"""Examples of texts in memory, and parts of them."""

import hashlib
import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from official.data.tfds import memory_splits, split_parts

SCORE_NAME = "score"  # what the one "class" of a regression is called


class Examples(NamedTuple):
    """The examples of a split.

    Attributes:
      texts: one list of all examples' texts, str or bytes of UTF-8, or for pairs two.
      labels: int64 [N], classes, or float32 [N], scores; None where the split has none.
      numbers: int64 [N], by which predictions name the examples.
      name_of: function of an example's place to its name in messages.
    """

    texts: tuple
    labels: np.ndarray | None
    numbers: np.ndarray
    name_of: Callable


def hash_order(*texts):
    """The order of examples by the SHA-256 of their text in UTF-8; of a pair, of both with a tab between them.

    It has nothing to do with what the texts say, and stays the same whatever order they came in.

    Args:
      *texts: one list of str, or two of the same length.

    Returns:
      List of places.
    """
    digests = [hashlib.sha256("\t".join(parts).encode()).digest() for parts in zip(*texts, strict=True)]
    return sorted(range(len(digests)), key=digests.__getitem__)


def select(examples, places):
    """The Examples at some places of others, in that order."""
    return Examples(
        texts=tuple([texts[place] for place in places] for texts in examples.texts),
        labels=None if examples.labels is None else examples.labels[places],
        numbers=examples.numbers[places],
        name_of=lambda place: examples.name_of(places[place]),
    )


def held_out(places, share):
    """(places but for the last 1 / share of them, those last ones, of which there is at least one)."""
    last = max(len(places) // share, 1)
    return places[:-last], places[-last:]


def part_of(split, splits, name):
    """The Examples of a split in TensorFlow Datasets' syntax, of {name: Examples}.

    Raises:
      ValueError: a split that there is not, or has no examples.
    """
    parts = split_parts(split, memory_splits({key: len(splits[key].numbers) for key in splits}), name)
    chosen = [select(splits[part.splitname], range(len(splits[part.splitname].numbers))[part.from_ : part.to]) for part in parts]
    if len(chosen) == 1:
        return chosen[0]
    if len({part.labels is None for part in chosen}) > 1:
        raise ValueError(f"{split!r} is not a split of {name}: only a part of it has labels")
    ends = np.cumsum([len(part.numbers) for part in chosen])

    def name_of(place):
        number = int(np.searchsorted(ends, place, side="right"))
        return chosen[number].name_of(place - (ends[number] - len(chosen[number].numbers)))

    return Examples(
        texts=tuple(list(itertools.chain(*parts)) for parts in zip(*(part.texts for part in chosen), strict=True)),
        labels=None if chosen[0].labels is None else np.concatenate([part.labels for part in chosen]),
        numbers=np.concatenate([part.numbers for part in chosen]),
        name_of=name_of,
    )
