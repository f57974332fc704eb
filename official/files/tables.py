"""CSV tables that a run appends to and that stay correct when it is resumed; tables as text."""

import csv
import re


class Table:
    """A CSV file of rows that each have a `step`.

    Args:
      path: a pathlib.Path.
      first_step: rows of later steps are removed: they were written after the checkpoint from which the run resumes.
    """

    def __init__(self, path, first_step=0):
        self.path = path
        rows = [row for row in read_table(path) if int(row["step"]) <= first_step] if path.exists() else []
        self._columns = list(rows[0]) if rows else None
        if path.exists():
            self._write(rows, "w")

    def append(self, rows):
        """Adds dicts. The first one ever sets the columns; later ones may lack some, and their other keys are dropped."""
        if self._columns is None:
            self._columns = list(rows[0])
        self._write(rows, "a")

    def _write(self, rows, mode):
        with self.path.open(mode, newline="") as file:
            writer = csv.DictWriter(file, self._columns or [], restval="", extrasaction="ignore")
            if file.tell() == 0 and self._columns:
                writer.writeheader()
            writer.writerows(rows)


def read_table(path):
    """The rows of a CSV file, as dicts of strings."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def text_table(rows):
    """Rows as text with a heading, every column but the last as wide as its longest cell.

    Args:
      rows: at least one NamedTuple of strings, all of one type.
    """
    lines = [rows[0]._fields, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def columns_by_block(names):
    """{"NAME": ["block_1_NAME", "block_2_NAME", ...]} of those names of metrics that each block has, in their order."""
    found = {}
    for name in names:
        of_block = re.fullmatch(r"block_\d+_(\w+)", name)
        if of_block:
            found.setdefault(of_block[1], []).append(name)
    return found
