"""Reads the rows of the user's TSV, CSV and JSON files, for training and for official.predict.

The ending of the name, in any case, tells the kind. All are UTF-8, with or without a byte order mark; empty lines are skipped.

JSONL (.jsonl, .ndjson, .json): an object on each line. A .json file may also hold one array of objects.
CSV (.csv): a header, then fields separated by commas, as Excel, pandas and R write them. A field in double quotes may hold
  commas, line ends, and quotes that are doubled or, as R's write.table has them, follow a backslash. Quotes inside a field
  without quotes around it are text.
TSV (.tsv, .tab, .txt): a header, then fields separated by tabs. Many such files, as GLUE's, have single quotes in their texts, so
  quotes count only where they are certain:
  - A field loses the quotes around it if all quotes inside are doubled or all follow a backslash; those become single quotes.
    Any other quote is text.
  - A line is also read like CSV, where a field in quotes may hold tabs and line ends. The row so found counts if it has as many
    fields as the header, unless its first and its last line have so by themselves. With one column, or if all names in the header
    are in quotes, as R writes them, it always counts.
"""

import json
import pathlib
import re

from official.files.checked_json import decoded, shown

TSV, CSV, JSONL = (".tsv", ".tab", ".txt"), (".csv",), (".jsonl", ".ndjson", ".json")
ENDINGS = (*TSV, *CSV, *JSONL)
DOUBLED, ESCAPED = r'"([^"]*(?:""[^"]*)*)"', r'"([^"\\]*(?:\\.[^"\\]*)*)"'  # fields in quotes, with quotes inside


def is_table(path):
    """Whether a path has the ending of a table; does not look at the file."""
    return pathlib.Path(path).suffix.lower() in ENDINGS


class Rows:
    """The rows of one file.

    Args:
      path: of a file, whose name has one of ENDINGS.

    Attributes:
      path: a pathlib.Path.
      is_json: whether it has objects, and so no header.
      unit: "line" or, in an array of objects, "object": what rows are numbered by, from 1.

    Raises:
      ValueError: an array of objects that is not JSON.
      OSError: a file that cannot be read.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self._ending = self.path.suffix.lower()
        self.is_json = self._ending in JSONL
        # Invalid bytes become surrogates, which _checked refuses in their line.
        self._text = self.path.read_bytes().decode(errors="surrogateescape").removeprefix("\ufeff")
        is_array = self._ending == ".json" and self._text.lstrip().startswith("[")
        self.unit = "object" if is_array else "line"
        self._array = self._read_array() if is_array else None

    def name_of(self, number):
        """The name of a row in messages."""
        return f"{self.path}, {self.unit} {number}"

    def columns(self):
        """(number, names) of the header, or of the first object and its keys.

        Raises:
          ValueError: a file without rows, a first row that cannot be read, or two columns of one name, but for those without any.
        """
        for number, found in self._numbered():
            if isinstance(found, ValueError):
                raise ValueError(f"{self.name_of(number)}: {found}")
            names = list(found)
            twice = [name for name in names if name and names.count(name) > 1]  # Excel writes many without a name
            if twice:
                raise ValueError(f"{self.name_of(number)}: two columns are called {twice[0]!r}")
            return number, names
        raise ValueError(f"{self.path} has no examples")

    def __iter__(self):
        """Yields (number, {column: value}) of each row, without the header; in place of the dict a ValueError if it is invalid.

        Raises:
          ValueError: as `columns`, of a TSV or CSV file.
        """
        if self.is_json:
            yield from self._numbered()
            return
        header, names = self.columns()
        for number, found in self._numbered():
            if number == header:
                continue
            if not isinstance(found, ValueError) and len(found) != len(names):
                found = ValueError(f"it has {len(found)} columns, and line {header} names {len(names)}")
            yield number, found if isinstance(found, ValueError) else dict(zip(names, found, strict=True))

    def _numbered(self):
        """Yields (number, an object or a list of fields or a ValueError)."""
        if self._array is not None:
            yield from ((number, _object(value)) for number, value in enumerate(self._array, start=1))
            return
        records = self._lines() if self.is_json else _records(self._text, "," if self._ending in CSV else "\t")
        for number, text, fields in records:
            try:
                yield number, _parsed(_checked(text)) if self.is_json else _checked(text) and fields
            except ValueError as error:
                yield number, error

    def _lines(self):
        for number, line in enumerate(self._text.split("\n"), start=1):
            if line.strip(" \r"):
                yield number, line, None

    def _read_array(self):
        try:
            return decoded(_checked(self._text))
        except json.JSONDecodeError as error:
            raise ValueError(f"{self.path}, line {error.lineno}: it is not JSON: {error.msg}") from error
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error


def _records(text, separator):
    """Yields (line, text, fields or a ValueError) of a delimited file, the header included."""
    end_of_field = rf"(?={separator}|\r?\n|\r?\Z)"
    field = re.compile(rf"{DOUBLED}{end_of_field}|{ESCAPED}{end_of_field}|([^{separator}\n]*)", re.DOTALL)
    is_csv, columns, all_quoted, at, line = separator == ",", None, False, 0, 1
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        alone = text[at:end].removesuffix("\r")
        if alone.strip(" \r"):
            fields = [_unquoted(part) for part in alone.split(separator)]
            if is_csv or (columns and '"' in alone):
                quoted, end_of_quoted = _with_quotes(text, at, separator, field)
                if is_csv or _is_row(quoted, text[at:end_of_quoted], separator, columns, all_quoted):
                    fields, end = quoted, end_of_quoted
            if not columns:
                columns = 1 if isinstance(fields, ValueError) else len(fields)
                all_quoted = all(part.startswith('"') for part in alone.split(separator))
            yield line, text[at:end], fields
        line += text.count("\n", at, end) + 1
        at = end + 1


def _is_row(fields, text, separator, columns, all_quoted):
    """Whether what was read with quotes is a row of a TSV file, or else its lines are; `all_quoted` names in its header tell."""
    if isinstance(fields, ValueError) or len(fields) != columns:
        return False
    lines = text.split("\n")
    return all_quoted or columns == 1 or any(line.count(separator) + 1 != columns for line in (lines[0], lines[-1]))


def _with_quotes(text, at, separator, field):
    """(fields or a ValueError, end) of the record that begins at `at`; the end is that of a line."""
    fields, problem = [], None
    while True:
        match = field.match(text, at)
        doubled, escaped, plain = match.groups()
        at = match.end()
        if plain is None:
            fields.append(_single_quotes(doubled, escaped))
        else:
            if plain.startswith('"') and problem is None:
                problem = ValueError(f"a quote opens its column {len(fields) + 1}, and none before a separator closes it")
            fields.append(plain)
        if text[at : at + 1] != separator:
            break
        at += 1
    if plain is not None:
        fields[-1] = plain.removesuffix("\r")
    end = text.find("\n", at)
    return problem or fields, len(text) if end < 0 else end


def _unquoted(field):
    found = field.startswith('"') and re.fullmatch(f"{DOUBLED}|{ESCAPED}", field)
    return _single_quotes(*found.groups()) if found else field


def _single_quotes(doubled, escaped):
    """The text of a field in quotes, of which one argument is None."""
    return escaped.replace('\\"', '"') if doubled is None else doubled.replace('""', '"')


def _checked(text):
    """The text, if its bytes were UTF-8; raises ValueError."""
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            text.encode(errors="surrogateescape").decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"it is not UTF-8: {error.reason} at byte {error.start}") from error
    return text


def _parsed(text):
    try:
        return _object(decoded(text))
    except ValueError as error:
        return ValueError(f"it is not JSON: {error}")


def _object(value):
    """The value, if it is a JSON object; otherwise a ValueError."""
    return value if isinstance(value, dict) else ValueError(f"it must be a JSON object, not {shown(value)}")
