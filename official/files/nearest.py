"""Which inputs are nearest to each other, of the embeddings that official.predict has written."""

import itertools
from typing import NamedTuple

import numpy as np

from official.files.checked_json import NUMBER, parse_json
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

    Raises:
      ValueError: a line of something else; names the file.
    """
    with path.open(encoding="utf-8") as file:
        texts = enumerate(itertools.islice(file, COMPARED), start=1)
        found = [parse_json(text, f"{path}, line {number},", keys={f"{VECTOR}?": list}).get(VECTOR) for number, text in texts]
    numbers = [number for number, vector in enumerate(found) if vector and None not in vector]
    if len(numbers) < 2:
        return ""
    vectors = [found[number] for number in numbers]
    if len(set(map(len, vectors))) > 1 or not all(isinstance(value, NUMBER) for vector in vectors for value in vector):
        raise ValueError(f"{path} cannot be read: each {VECTOR} must be a list of numbers, of the same length as the others")
    vectors = np.array(vectors, np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    cosines = vectors[:SHOWN] @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    names = [" ".join(name_of(number).split())[:WIDTH] for number in numbers]
    nearest = np.argmax(cosines, axis=1).tolist()
    return text_table([Row(names[i], names[j], f"{cosines[i, j]:.2f}") for i, j in enumerate(nearest)])
