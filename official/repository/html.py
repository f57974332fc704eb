"""Pages of HTML that need nothing but themselves: no script, no style sheet, nothing from elsewhere. All text is escaped."""

from html import escape

UNITS = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3))
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


def page(title, *body):
    """A whole page.

    Args:
      title: text.
      *body: HTML.
    """
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{STYLE}</style></head>",
            f"<body><h1>{escape(title)}</h1>",
            *body,
            "</body></html>",
            "",
        ]
    )


def table(rows, head=()):
    """A table whose cells are HTML; the first of a row is its heading. One with a head is a listing, whose lines do not wrap."""
    kind = ' class="listing"' if head else ""
    heading = f"<thead><tr>{''.join(f'<th>{cell}</th>' for cell in head)}</tr></thead>" if head else ""
    lines = (f"<tr><th>{first}</th>{''.join(f'<td>{cell}</td>' for cell in rest)}</tr>" for first, *rest in rows)
    return f'<div class="wide"><table{kind}>{heading}<tbody>\n' + "\n".join(lines) + "\n</tbody></table></div>"


def link(address, text):
    """A link to a relative address."""
    return f'<a href="{escape(address)}">{escape(text)}</a>'


def size(count):
    """Bytes for people: 1.2 MB."""
    unit, divisor = next(((unit, divisor) for unit, divisor in UNITS if count >= divisor), ("bytes", 1))
    return f"{count / divisor:.{1 if divisor > 1 else 0}f} {unit}"
