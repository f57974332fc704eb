"""Examples of texts in memory, and how they are split."""

import hashlib
import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from official.data.tfds import memory_splits, split_parts

SCORE_NAME = "score"  # name of the only "class" of a regression


class Examples(NamedTuple):
    """The examples of a split.

    Attributes:
      texts: a list with the text of each example, str or UTF-8 bytes; two lists for pairs.
      labels: int64 [N], classes, or float32 [N], scores; None if the split has no labels.
      numbers: int64 [N], identify the examples in predictions.
      name_of: function of an example's index that returns its name for messages.
    """

    texts: tuple
    labels: np.ndarray | None
    numbers: np.ndarray
    name_of: Callable


def hash_order(*texts):
    """Sorts examples by the SHA-256 of their text in UTF-8; the texts of a pair are joined by a tab.

    The order is unrelated to the content of the texts and independent of the order of the input.

    Args:
      *texts: one list of str, or two of the same length.

    Returns:
      List of indices.
    """
    digests = [hashlib.sha256("\t".join(parts).encode()).digest() for parts in zip(*texts, strict=True)]
    return sorted(range(len(digests)), key=digests.__getitem__)


def select(examples, places):
    """The Examples at some indices, in that order."""
    return Examples(
        texts=tuple([texts[place] for place in places] for texts in examples.texts),
        labels=None if examples.labels is None else examples.labels[places],
        numbers=examples.numbers[places],
        name_of=lambda place: examples.name_of(places[place]),
    )


def held_out(places, share):
    """Splits off the last 1 / share of the indices, at least one: (the others, those)."""
    last = max(len(places) // share, 1)
    return places[:-last], places[-last:]


def part_of(split, splits, name):
    """The Examples of a split in TensorFlow Datasets' syntax.

    Args:
      split: such as "train[:90%]+test".
      splits: {name: Examples}.
      name: of the data set, for messages.

    Raises:
      ValueError: an unknown split, or one without examples.
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
