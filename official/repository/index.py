"""index.html of a model repository: the page that people browse, and in it, for programs, what there is and its SHA-256.

Both are one file so that a model is published in one step: it is there when this file lists it, and not before.
"""

import json
import re
from html import escape
from typing import NamedTuple

from official.repository import html as pages
from official.repository.archives import MOST_BYTES
from official.repository.handles import parse_handle

INDEX = "index.html"
FORMAT = 1
LARGEST = 64 << 20  # bytes of such a page
DATA = re.compile('<script type="application/json" id="models">(.*?)</script>', re.DOTALL)


class Entry(NamedTuple):
    """A published model.

    Attributes:
      handle: "publisher/.../name/version".
      sha256: of the archive, in hexadecimal digits.
      bytes: of the archive.
      unpacked_bytes: of the files in it.
      licence: text, or None where none is stated.
      published: the date, "2026-01-31".
      model: what the model calls itself, or "".
      parameters: how many, or None where that is not known.
      metrics: {name: number}, a few that tell what the model is worth.
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


def read_index(text, where):
    """The entries of a page of `index_page`, in its order.

    Args:
      where: the page's path or address, for messages.

    Raises:
      ValueError: another page, or one whose data cannot be right.
    """
    found = DATA.search(text)
    if not found:
        raise ValueError(f"{where} is no page of a model repository, as official.publish writes it")
    try:
        data = json.loads(found.group(1))
        if data["format"] != FORMAT:
            raise ValueError(f"it has format {data['format']!r}, and {FORMAT} is understood")
        entries = [Entry(**model) for model in data["models"]]
        for entry in entries:
            _check(entry)
    except (ValueError, TypeError, LookupError) as error:
        raise ValueError(f"{where} cannot be understood: {error}") from error
    return entries


def _check(entry):
    """Raises ValueError for an entry that nothing should be loaded by."""
    parse_handle(entry.handle)
    if not re.fullmatch("[0-9a-f]{64}", entry.sha256):
        raise ValueError(f"sha256={entry.sha256!r} of {entry.handle}")
    for name in ("bytes", "unpacked_bytes"):
        value = getattr(entry, name)
        if type(value) is not int or not 0 < value <= MOST_BYTES:
            raise ValueError(f"{name}={value!r} of {entry.handle}: from 1 to {MOST_BYTES:,} are allowed")


def index_page(entries):
    """The page of these entries, a string; they are sorted by name and version, of which the newest comes first."""
    entries = sorted(entries, key=lambda entry: (parse_handle(entry.handle).name, -parse_handle(entry.handle).version))
    data = {"format": FORMAT, "models": [entry._asdict() for entry in entries]}
    versions = {}
    for entry in entries:
        versions.setdefault(parse_handle(entry.handle).name, []).append(entry)
    rows = [_row(newest, earlier) for newest, *earlier in versions.values()]
    return pages.page(
        "Models",
        "<p>A program loads one of these models by its handle. It looks for it in the model repositories that an environment "
        "variable names, of which this page is one:</p>",
        "<pre>export WIDENET_HUB=<i>address of this page, without index.html</i></pre>",
        "<pre>import official.hub\nmodel = official.hub.load(<i>handle</i>)</pre>",
        pages.table(rows, ("handle", "model", "parameters", "metrics", "licence", "published", "archive")),
        # A "<" could end the element; JSON may write it otherwise.
        f'<script type="application/json" id="models">{json.dumps(data).replace("<", chr(92) + "u003c")}</script>',
    )


def _row(newest, earlier):
    """Cells, HTML, of a model in its newest version."""
    cells = [pages.link(f"{newest.handle}.html", newest.handle)]
    if earlier:
        links = ", ".join(pages.link(f"{entry.handle}.html", entry.handle.rpartition("/")[2]) for entry in earlier)
        cells[0] += f'<div class="faint">earlier versions: {links}</div>'
    return [
        *cells,
        escape(newest.model),
        "" if newest.parameters is None else f"{newest.parameters:,}",
        "<br>".join(f"{escape(name)} {value:.4g}" for name, value in newest.metrics.items()),
        escape(newest.licence or "not stated"),
        escape(newest.published),
        f"{pages.link(newest.handle, pages.size(newest.bytes))}",
    ]
