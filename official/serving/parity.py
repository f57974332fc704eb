"""Whether two runtimes give the same answers, but for tokens that are nearly as well sent to another expert."""

from typing import NamedTuple

import numpy as np

LIMIT = 1e-4  # the largest difference of an output
NEAR_TIE = 1e-6  # experts whose probabilities are as near may change places in another runtime's arithmetic


class Agreement(NamedTuple):
    """How far the outputs of two runtimes lie apart.

    Attributes:
      examples: how many were compared.
      largest: the largest absolute difference of an output, over the examples that do not flip.
      near_ties: how many examples have a token whose K-th and next expert lie within NEAR_TIE; None where that is not known.
      flipped: how many of these differ by more than LIMIT.
    """

    examples: int
    largest: float
    near_ties: int | None
    flipped: int

    def __str__(self):
        ties = "not known" if self.near_ties is None else f"{self.near_ties:,}"
        return (
            f"largest difference {self.largest:.2g} in {self.examples:,} examples; within {NEAR_TIE:g} of another expert: "
            f"{ties}, of which flipped: {self.flipped:,}"
        )


class Comparison:
    """Compares outputs batch by batch.

    Args:
      limit: the largest difference allowed to an example that is no near tie; None for any, which then never flips.
    """

    def __init__(self, limit=LIMIT):
        self._limit = limit
        self._differences, self._margins, self._shared = [], [], []

    def add(self, reference, other, margins=None):
        """Takes a batch.

        Args:
          reference, other: {name: array}, outputs of the same names and shapes. Those without a batch axis are of all
            examples.
          margins: float [batch], by how much the K-th expert of some token is ahead of the next one at least; None if unknown.

        Raises:
          ValueError: outputs of other names or shapes.
        """
        shapes = [{name: np.shape(array) for name, array in outputs.items()} for outputs in (reference, other)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"the outputs are {shapes[1]} and must be {shapes[0]}")
        apart = {name: _difference(reference[name], other[name]) for name in reference}
        by_example = [array.reshape(len(array), -1).max(axis=1, initial=0) for array in apart.values() if array.ndim]
        self._differences.append(np.max(by_example, axis=0))
        self._shared += [float(array) for array in apart.values() if not array.ndim]
        self._margins.append(None if margins is None else np.asarray(margins))

    def result(self, what):
        """The Agreement of all batches.

        Args:
          what: whose outputs these are, for the message.

        Raises:
          ValueError: an example that differs by more than the limit and is no near tie, naming the first.
        """
        differences = np.concatenate(self._differences)
        known = all(margins is not None for margins in self._margins)
        margins = np.concatenate(self._margins) if known else np.full(len(differences), np.inf)
        near = margins <= NEAR_TIE
        flipped = near & (differences > self._limit) if self._limit is not None else np.zeros(len(near), bool)
        # What all examples of a batch share is not held against a runtime where one of them may have flipped.
        shared = [] if np.any(flipped) else self._shared
        largest = max([0.0, *differences[~flipped], *shared])
        if self._limit is not None and not largest <= self._limit:
            place = int(np.argmax(np.where(flipped, -1, differences)))
            apart = f"; its K-th and next expert lie {margins[place]:.2g} apart" if known else ""
            raise ValueError(
                f"{what} differ by {largest:.2g} from the SavedModel's, and {self._limit:g} is allowed: most in example {place} "
                f"(of {len(differences)}, from 0){apart}"
            )
        return Agreement(len(differences), float(largest), int(np.sum(near)) if known else None, int(np.sum(flipped)))


def _difference(reference, other):
    """float64 |reference - other|, 0 where both are the same infinity or not a number, infinity where only one is."""
    reference, other = np.asarray(reference, np.float64), np.asarray(other, np.float64)
    same = (reference == other) | (np.isnan(reference) & np.isnan(other))
    with np.errstate(invalid="ignore"):
        apart = np.abs(reference - other)
    return np.where(same, 0.0, np.where(np.isnan(apart), np.inf, apart))
