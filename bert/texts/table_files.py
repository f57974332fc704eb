"""Reads examples from the user's TSV or JSONL files; errors name file and line.

A TSV file starts with the names of its columns. Columns are separated by tabs, every line is an example, and quotes have no
special meaning. A JSONL file has one object per line. Both are UTF-8; empty lines are skipped.
"""

import json
import math
import pathlib
from typing import NamedTuple

TSV, JSONL = (".tsv", ".tab", ".txt"), (".jsonl", ".ndjson", ".json")


class Columns(NamedTuple):
    """Names of the columns; "" disables one. A file need not have all of them."""

    text: str = "text"
    text_pair: str = "text_pair"
    label: str = "label"
    score: str = "score"


class TableFile:
    """One file of examples.

    Args:
      path: of a file whose name ends in one of TSV or JSONL.
      setting: the setting that gave the path, for messages ("data.train_file").
      columns: a Columns.

    Attributes:
      path: a pathlib.Path.
      has: {field of Columns: whether the file has that column}; in JSONL the first object decides.

    Raises:
      ValueError: a file that does not exist, another suffix, no text column, or two columns of one name.
    """

    def __init__(self, path, setting, columns):
        self.path = pathlib.Path(path).expanduser()
        self._columns = columns
        if self.path.suffix.lower() not in (*TSV, *JSONL):
            raise ValueError(f"{setting}={str(path)!r} is not allowed: its name must end in {', '.join((*TSV, *JSONL))}")
        if not self.path.is_file():
            raise ValueError(f"{setting}={str(path)!r} is not allowed: the file does not exist")
        self._is_json = self.path.suffix.lower() in JSONL
        first, names = self._first()
        self.has = {field: bool(name) and name in names for field, name in columns._asdict().items()}
        if not self.has["text"]:
            raise self._missing(first, "text", names)
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"{self.path}, line {first}: two columns are called {twice!r}")
        self._names, self._header = names, None if self._is_json else first

    def need(self, field, instead=None):
        """Refuses a file that lacks a column.

        Args:
          field: of Columns.
          instead: another field that would do, for the message, or None.

        Raises:
          ValueError: names the file, the line and its columns.
        """
        if not self.has[field]:
            raise self._missing(self._first()[0], field, self._names, instead)

    def rows(self, fields, bad_examples):
        """Yields (line, {field: value}) of every good example.

        Args:
          fields: of Columns; every example needs all of them.
          bad_examples: an official.data.bad_examples.BadExamples, which gets invalid lines.

        Raises:
          ValueError: for the first invalid line, if `bad_examples` refuses.
        """
        for line, content in self._lines():
            if line == self._header:
                continue
            try:
                yield line, self._parse(content, fields)
            except ValueError as error:
                bad_examples.add(self.name_of(line), str(error))

    def name_of(self, line):
        """The name of an example in messages."""
        return f"{self.path}, line {line}"

    def _lines(self):
        """Yields (number, bytes) of all non-empty lines."""
        with self.path.open("rb") as file:
            for line, content in enumerate(file, start=1):
                content = content.removeprefix(b"\xef\xbb\xbf") if line == 1 else content  # the byte order mark that Excel writes
                content = content.removesuffix(b"\n").removesuffix(b"\r")
                if content.strip(b" \r"):
                    yield line, content

    def _first(self):
        """(line, names of the columns) of the header or of the first object."""
        for line, content in self._lines():
            try:
                return line, list(_json_object(content)) if self._is_json else _decode(content).split("\t")
            except ValueError as error:
                raise ValueError(f"{self.path}, line {line}: {error}") from error
        raise ValueError(f"{self.path} has no examples")

    def _missing(self, line, field, names, instead=None):
        wanted = " or ".join(repr(getattr(self._columns, name)) for name in (field, instead) if name)
        return ValueError(f"{self.path}, line {line}: it has no column {wanted}; its columns are {', '.join(map(repr, names))}")

    def _parse(self, content, fields):
        if self._is_json:
            found = _json_object(content)
        else:
            values = _decode(content).split("\t")
            if len(values) != len(self._names):
                raise ValueError(f"it has {len(values)} columns, and line {self._header} names {len(self._names)}")
            found = dict(zip(self._names, values, strict=True))
        return {field: self._value(found, field) for field in fields}

    def _value(self, found, field):
        name = getattr(self._columns, field)
        if name not in found:
            raise ValueError(f"it has no {name!r}")
        return CHECKS[field](found[name], name)


def _decode(content):
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8: {error.reason} at byte {error.start}") from error


def _json_object(content):
    try:
        found = json.loads(_decode(content))
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("it is JSON that is nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError(f"it must be a JSON object, not {json.dumps(found)[:40]}")
    return found


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
    if not isinstance(value, str) or not value:
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
