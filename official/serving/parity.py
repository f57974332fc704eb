"""Numerical parity of two runtimes: do they give the same outputs, apart from routing flips?

Two runtimes round differently. Where a router's K-th and next expert are nearly tied, they may send a token to different experts,
which changes the output far more than rounding does. Such a routing flip is counted and not an error.
"""

from typing import NamedTuple

import numpy as np

LIMIT = 1e-4  # the largest difference of an output that is allowed
NEAR_TIE = 1e-6  # experts whose probabilities differ by at most this may change places


class ParityReport(NamedTuple):
    """How far the outputs of two runtimes differ. The names are also keys of official.serving.runtimes.REPORT_FILE.

    Attributes:
      examples: number of compared examples.
      largest: the largest absolute difference of an output, over the examples without a routing flip.
      near_ties: number of examples with a token whose K-th and next expert are within NEAR_TIE; None if unknown.
      flipped: number of routing flips: near ties that differ by more than the limit.
    """

    examples: int
    largest: float
    near_ties: int | None
    flipped: int

    def __str__(self):
        ties = "unknown" if self.near_ties is None else f"{self.near_ties:,}"
        return (
            f"largest difference {self.largest:.2g} in {self.examples:,} examples; near ties of experts (within {NEAR_TIE:g}): "
            f"{ties}, routing flips: {self.flipped:,}"
        )


class ParityCheck:
    """Compares outputs batch by batch.

    Args:
      limit: the largest allowed difference of an example that is not a near tie; None to allow any and count no flips.
    """

    def __init__(self, limit=LIMIT):
        self._limit = limit
        self._differences, self._margins, self._scalars = [], [], []

    def add(self, reference, other, margins=None):
        """Adds a batch.

        Args:
          reference, other: {name: array}, outputs of the same names and shapes; scalars belong to the whole batch.
          margins: float [batch], the smallest lead of a K-th expert over the next one among an example's tokens; None if unknown.

        Raises:
          ValueError: outputs of different names or shapes.
        """
        shapes = [{name: np.shape(array) for name, array in outputs.items()} for outputs in (reference, other)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"the outputs are {shapes[1]} and must be {shapes[0]}")
        differences = [_difference(reference[name], other[name]) for name in reference]
        by_example = [array.reshape(len(array), -1).max(axis=1, initial=0) for array in differences if array.ndim]
        self._differences.append(np.max(by_example, axis=0))
        self._scalars += [float(array) for array in differences if not array.ndim]
        self._margins.append(None if margins is None else np.asarray(margins))

    def result(self, what):
        """The ParityReport of all batches.

        Args:
          what: the subject of the message, such as "The outputs of ONNX".

        Raises:
          ValueError: an example that is not a near tie differs by more than the limit.
        """
        differences = np.concatenate(self._differences)
        known = all(margins is not None for margins in self._margins)
        margins = np.concatenate(self._margins) if known else np.full(len(differences), np.inf)
        near = margins <= NEAR_TIE
        flipped = near & (differences > self._limit) if self._limit is not None else np.zeros(len(near), bool)
        # A flip changes the scalars of its batch too.
        scalars = [] if np.any(flipped) else self._scalars
        largest = max([0.0, *differences[~flipped], *scalars])
        if self._limit is not None and not largest <= self._limit:
            worst = int(np.argmax(np.where(flipped, -1, differences)))
            margin = f"; its K-th and next expert lie {margins[worst]:.2g} apart" if known else ""
            raise ValueError(
                f"{what} differ by {largest:.2g} from the SavedModel's, and {self._limit:g} is allowed: most in example {worst} "
                f"(of {len(differences)}, from 0){margin}"
            )
        return ParityReport(len(differences), float(largest), int(np.sum(near)) if known else None, int(np.sum(flipped)))


def _difference(reference, other):
    """float64 |reference - other|; 0 where both are NaN or the same infinity, infinity where only one is NaN."""
    reference, other = np.asarray(reference, np.float64), np.asarray(other, np.float64)
    same = (reference == other) | (np.isnan(reference) & np.isnan(other))
    with np.errstate(invalid="ignore"):
        difference = np.abs(reference - other)
    return np.where(same, 0.0, np.where(np.isnan(difference), np.inf, difference))
