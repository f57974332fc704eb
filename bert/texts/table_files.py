"""Columns of the user's TSV, CSV or JSON files (official.data.rows) as examples; errors name file and line."""

import json
import math
import pathlib
from typing import NamedTuple

from official.data.rows import ENDINGS, Rows, is_table


class Columns(NamedTuple):
    """Names of the columns; "" disables one. A file need not have all of them."""

    text: str = "text"
    text_pair: str = "text_pair"
    label: str = "label"
    score: str = "score"


class TableFile:
    """One file of examples.

    Args:
      path: of a file whose name has one of official.data.rows.ENDINGS.
      setting: the setting that gave the path, for messages ("data.train_file").
      columns: a Columns.

    Attributes:
      path: a pathlib.Path.
      has: {field of Columns: whether the file has that column}; in JSON the first object decides.
      stripped: the lines whose labels had white space around them, of the last `rows`.

    Raises:
      ValueError: a file that does not exist, another ending, no text column, or two columns of one name.
    """

    def __init__(self, path, setting, columns):
        self.path = pathlib.Path(path).expanduser()
        self._columns = columns
        if not is_table(self.path):
            raise ValueError(f"{setting}={str(path)!r} is not allowed: its name must end in {', '.join(ENDINGS)}")
        if not self.path.is_file():
            raise ValueError(f"{setting}={str(path)!r} is not allowed: the file does not exist")
        self._rows = Rows(self.path)
        self._first, self._names = self._rows.columns()
        self.stripped = []
        self.has = {field: bool(name) and name in self._names for field, name in columns._asdict().items()}
        self.need("text")

    def need(self, field, instead=None):
        """Refuses a file that lacks a column.

        Args:
          field: of Columns.
          instead: another field that would do, for the message, or None.

        Raises:
          ValueError: names the file, the line and its columns.
        """
        if not self.has[field]:
            wanted = " or ".join(repr(getattr(self._columns, name)) for name in (field, instead) if name)
            columns = ", ".join(map(repr, self._names))
            setting = "pair_column" if field == "text_pair" else f"{field}_column"
            raise ValueError(
                f"{self.name_of(self._first)}: it has no column {wanted}; its columns are {columns} "
                f"(data.{setting} names another one)"
            )

    def rows(self, fields, bad_examples):
        """Yields (line, {field: value}) of every good example, without white space around labels.

        Args:
          fields: of Columns; every example needs all of them.
          bad_examples: an official.data.bad_examples.BadExamples, which gets invalid lines.

        Raises:
          ValueError: for the first invalid line, if `bad_examples` refuses.
        """
        self.stripped = []
        for line, found in self._rows:
            try:
                if isinstance(found, ValueError):
                    raise found
                row = {field: self._value(found, field) for field in fields}
            except ValueError as error:
                bad_examples.add(self.name_of(line), str(error))
                continue
            if "label" in row and row["label"] != row["label"].strip():
                self.stripped.append(line)
                row["label"] = row["label"].strip()
            yield line, row

    def name_of(self, line):
        """The name of an example in messages."""
        return self._rows.name_of(line)

    def _value(self, found, field):
        name = getattr(self._columns, field)
        if name not in found:
            raise ValueError(f"it has no {name!r}")
        return CHECKS[field](found[name], name)


def _text(value, name):
    if not isinstance(value, str):
        raise ValueError(f"its {name!r} must be a string, not {json.dumps(value)[:40]}")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # such as "\\ud83d" in JSON
        raise ValueError(f"its {name!r} has half of a surrogate pair at character {error.start}") from error
    return value


def _label(value, name):
    """A string; JSON integers, true and false count as their text."""
    if isinstance(value, (bool, int)):
        value = json.dumps(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"its {name!r} must be the name of a class, not {json.dumps(value)[:40]}")
    return _text(value, name)


def _score(value, name):
    try:
        score = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError, OverflowError):
        score = math.nan
    if not math.isfinite(score):
        raise ValueError(f"its {name!r} must be a number, not {json.dumps(value)[:40]}")
    return score


CHECKS = {"text": _text, "text_pair": _text, "label": _label, "score": _score}
