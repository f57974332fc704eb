"""Which inputs are nearest to each other, of the embeddings that official.predict has written."""

import json
from typing import NamedTuple

import numpy as np

from official.files.tables import text_table

VECTOR = "embedding"  # the field of a line
COMPARED = 1000  # lines that are compared
SHOWN = 10
WIDTH = 60  # characters of an input that are shown


class Row(NamedTuple):
    """An input, the nearest other one, and the cosine of their embeddings."""

    input: str
    nearest: str
    cosine: str


def nearest_table(path, name_of):
    """A table of the first SHOWN inputs and the nearest other input of each, among the first COMPARED lines.

    Args:
      path: a pathlib.Path of a file with a line of JSON for each input, where the embedding is a list of numbers.
      name_of: function of an input's number, from 0, that returns what is shown of it.

    Returns:
      Its lines, a string; "" for a file with fewer than two embeddings.
    """
    with path.open(encoding="utf-8") as file:
        lines = [json.loads(line) for line, _ in zip(file, range(COMPARED), strict=False)]
    numbers = [number for number, line in enumerate(lines) if VECTOR in line and None not in line[VECTOR]]
    if len(numbers) < 2:
        return ""
    vectors = np.array([lines[number][VECTOR] for number in numbers])
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    cosines = vectors[:SHOWN] @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    names = [" ".join(name_of(number).split())[:WIDTH] for number in numbers]
    nearest = np.argmax(cosines, axis=1).tolist()
    return text_table([Row(names[i], names[j], f"{cosines[i, j]:.2f}") for i, j in enumerate(nearest)])
