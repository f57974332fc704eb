"""CSV tables that a run appends to and that stay correct when it is resumed; tables as text."""

import csv
import io
import os
import re

from official.files.atomic import atomic_write, naming


class Table:
    """A CSV file of rows that each have a `step`.

    Args:
      path: a pathlib.Path.
      first_step: rows of later steps are removed: they were written after the checkpoint from which the run resumes. So is a
        last row that was cut off.

    Raises:
      OSError: the file cannot be written, here or in `append`.
    """

    def __init__(self, path, first_step=0):
        self.path = path
        rows = [row for row in read_table(path) if int(row["step"]) <= first_step] if path.exists() else []
        self._columns = list(rows[0]) if rows else None
        if path.exists():
            atomic_write(path, self._text(rows, header=True).encode())

    def append(self, rows):
        """Adds dicts. The first one ever sets the columns; later ones may lack some, and their other keys are dropped."""
        if self._columns is None:
            self._columns = list(rows[0])
        # Before the checkpoint of this step, which says that the rows are there; also after a power cut.
        with naming(self.path), self.path.open("a", newline="", encoding="utf-8") as file:
            file.write(self._text(rows, header=file.tell() == 0))
            file.flush()
            os.fsync(file.fileno())

    def _text(self, rows, header):
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns or [], restval="", extrasaction="ignore")
        if header and self._columns:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()


def read_table(path):
    """The rows of a CSV file, as dicts of strings; without a last one that was cut off, as where the disk was full."""
    lines = io.StringIO(path.read_bytes().decode(errors="replace"), newline="")
    # Every row ends its line. After a power cut a file may end in zeros.
    rows = csv.DictReader(line for line in lines if line.endswith("\n") and "\0" not in line)
    return [row for row in rows if None not in row.values()]


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
