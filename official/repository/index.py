"""index.json of a model repository: which models it holds, with the size and SHA-256 of each archive.

A model is published once this file lists it. People browse index.html beside it, which is made from it.
"""

import json
import re
from typing import NamedTuple

from official.files.checked_json import NUMBER, check_keys, check_values, parse_json
from official.files.layout import printable
from official.repository.archives import MAX_BYTES
from official.repository.handles import parse_handle

INDEX = "index.json"
PAGE = "index.html"
FORMAT = 1
MAX_INDEX_BYTES = 64 << 20
# Repositories of version 0.1 have no index.json: its text is in this element of their index.html.
DATA_IN_PAGE = ('<script type="application/json" id="models">', "</script>")
# Of an entry (official.files.checked_json.check_keys).
SHAPE = {
    "handle": str,
    "sha256": str,
    "bytes": int,
    "unpacked_bytes": int,
    "licence?": str,
    "published": str,
    "model": str,
    "parameters?": int,
    "metrics": dict,
}


class Entry(NamedTuple):
    """A published model.

    Attributes:
      handle: "publisher/.../name/version".
      sha256: of the archive, in hexadecimal digits.
      bytes: size of the archive.
      unpacked_bytes: sum of the sizes of the files in it.
      licence: text, or None if none is stated.
      published: the date, "2026-01-31".
      model: name of the model, or "".
      parameters: number of parameters, or None if unknown.
      metrics: {name: number}, a few that say how good the model is.
    """

    handle: str
    sha256: str
    bytes: int
    unpacked_bytes: int
    licence: str | None
    published: str
    model: str
    parameters: int | None
    metrics: dict


def read_entries(read, base):
    """The entries of a repository, also of one that has only the index.html of version 0.1.

    Args:
      read: function of the name of a file in the repository to its text; raises OSError if the file cannot be read.
      base: path or address of the repository, for messages.

    Returns:
      A list of Entry.

    Raises:
      OSError: no index, or one that cannot be read.
      ValueError: an index in another format, or with impossible values.
    """
    try:
        return parse_index(read(INDEX), f"{base}/{INDEX}")
    except OSError as error:
        try:
            _, begins, rest = read(PAGE).partition(DATA_IN_PAGE[0])
        except OSError:
            raise error from None
        data, ends, _ = rest.partition(DATA_IN_PAGE[1])
        if not (begins and ends):
            raise
        return parse_index(data, f"{base}/{PAGE}")


def parse_index(text, where):
    """The entries in the text of an index.json, in its order.

    Args:
      text: JSON.
      where: the file's path or address, for messages.

    Raises:
      ValueError: not an index, or one with impossible values.
    """
    try:
        data = parse_json(text, "it", keys={"format": int})
        if data["format"] != FORMAT:
            raise ValueError(f"its format is {data['format']!r}, and this version reads format {FORMAT}")
        check_keys(data, "it", {"models": list})
        return [_entry(model) for model in data["models"]]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where} is not a valid index of a model repository: {error}") from error


def _entry(model):
    """The Entry of an element of the index, without control characters in what people read."""
    check_keys(model, "a model of it", SHAPE)
    entry = Entry(**model)
    check_values(model["metrics"], "its metric", NUMBER)
    _check(entry)
    texts = {name: printable(getattr(entry, name)) for name in ("licence", "published", "model") if getattr(entry, name)}
    return entry._replace(**texts, metrics={printable(name): value for name, value in entry.metrics.items()})


def _check(entry):
    """Raises ValueError for values that must not be used to load anything."""
    parse_handle(entry.handle)
    if not re.fullmatch("[0-9a-f]{64}", entry.sha256):
        raise ValueError(f"sha256={entry.sha256!r} of {entry.handle} is not allowed: it must be 64 hexadecimal digits")
    for name in ("bytes", "unpacked_bytes"):
        value = getattr(entry, name)
        if type(value) is not int or not 0 < value <= MAX_BYTES:
            raise ValueError(f"{name}={value!r} of {entry.handle} is not allowed: it must be from 1 to {MAX_BYTES:,}")


def index_text(entries):
    """The text of an index.json, entries sorted by name and version, newest version first."""
    return json.dumps({"format": FORMAT, "models": [entry._asdict() for entry in sort_entries(entries)]}, indent=2) + "\n"


def sort_entries(entries):
    """Entries by name and version, newest version first."""

    def key(entry):
        name, version = parse_handle(entry.handle)
        return name, -version

    return sorted(entries, key=key)
