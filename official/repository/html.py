"""HTML pages of a model repository. They need no script, style sheet or other file from elsewhere. All text is escaped."""

from html import escape

from official.cli.status_line import format_bytes
from official.repository.handles import parse_handle
from official.repository.index import sort_entries

STYLE = """
:root { color-scheme: light dark; --line: #8884; --faint: #777; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
h1, h2, p { overflow-wrap: anywhere; }
table { border-collapse: collapse; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem 1.2rem .35rem 0; text-align: left; vertical-align: top; }
th { font-weight: 600; } thead th { color: var(--faint); font-weight: 400; white-space: nowrap; }
.wide { overflow-x: auto; } .listing { white-space: nowrap; } details { margin-top: 1rem; }
.faint { color: var(--faint); font-size: .875rem; font-weight: 400; }
pre { background: #8881; padding: .8rem; overflow-x: auto; } code, pre { font-size: .875rem; }
img { max-width: 100%; height: auto; background: white; }
"""


def page(title, *body, style=""):
    """A complete page.

    Args:
      title: text.
      *body: pieces of HTML.
      style: rules of CSS besides the common ones.
    """
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head>",
            f"<body><h1>{escape(title)}</h1>",
            *body,
            "</body></html>",
            "",
        ]
    )


def table(rows, head=()):
    """A table.

    Args:
      rows: lists of cells, HTML; the first cell of a row is its heading.
      head: cells of the heading; with one, the lines of the table do not wrap.
    """
    kind = ' class="listing"' if head else ""
    heading = f"<thead><tr>{''.join(f'<th>{cell}</th>' for cell in head)}</tr></thead>" if head else ""
    lines = (f"<tr><th>{first}</th>{''.join(f'<td>{cell}</td>' for cell in rest)}</tr>" for first, *rest in rows)
    return f'<div class="wide"><table{kind}>{heading}<tbody>\n' + "\n".join(lines) + "\n</tbody></table></div>"


def link(address, text):
    """A link with a text to a relative address."""
    return f'<a href="{escape(address)}">{escape(text)}</a>'


def index_page(entries):
    """index.html: a row for each name, with its newest version first and links to the earlier ones.

    Args:
      entries: the official.repository.index.Entry of all models.
    """
    versions = {}
    for entry in sort_entries(entries):
        versions.setdefault(parse_handle(entry.handle).name, []).append(entry)
    return page(
        "Models",
        "<p>A program loads one of these models by its handle. The environment variable WIDENET_HUB names the model "
        "repositories to load from, such as this one:</p>",
        "<pre>export WIDENET_HUB=<i>address of this page, without index.html</i></pre>",
        "<pre>import official.hub\nmodel = official.hub.load(<i>handle</i>)</pre>",
        table(
            [_row(newest, earlier) for newest, *earlier in versions.values()],
            ("handle", "model", "parameters", "metrics", "licence", "published", "archive"),
        ),
    )


def _row(newest, earlier):
    """The cells of one name."""
    handle = link(f"{newest.handle}.html", newest.handle)
    if earlier:
        links = ", ".join(link(f"{entry.handle}.html", entry.handle.rpartition("/")[2]) for entry in earlier)
        handle += f'<div class="faint">earlier versions: {links}</div>'
    return [
        handle,
        escape(newest.model),
        "" if newest.parameters is None else f"{newest.parameters:,}",
        "<br>".join(f"{escape(name)} {value:.4g}" for name, value in newest.metrics.items()),
        escape(newest.licence or "not stated"),
        escape(newest.published),
        link(newest.handle, format_bytes(newest.bytes)),
    ]
