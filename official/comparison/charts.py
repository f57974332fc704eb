"""Charts as SVG elements for HTML pages, without scripts and other files: curves, and heat maps. All text is escaped.

Lines and text have the page's colour, so that charts fit light and dark pages.
"""

import base64
import io
import math
from html import escape
from typing import NamedTuple

import numpy as np

from official.evaluation.curves import plt

COLORS = ("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#9c755f", "#d4a60a", "#2aa5a0", "#e377c2", "#7f7f7f")
WIDTH, HEIGHT = 560, 300  # of a chart, in the units of its coordinates
LEFT, RIGHT, TOP, BOTTOM = 62, 24, 28, 38  # margins around the plot
MARKED_POINTS = 20  # a curve of at most as many points has a marker at each, so that a single point is visible
DRAWN_POINTS = 500  # of a longer curve the least and the largest value in each of half as many parts
LOGARITHMIC = 100  # ratio of the largest and the least value from which an axis of positive values is logarithmic
TICKS = 5  # along an axis, about
CELL = 9  # least height of a cell of a heat map, where the map is not too high
MAP_HEIGHT = 620  # of a heat map, at most
COLUMNS = 300  # of a heat map, at most
STYLE = """
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: .5rem 1.5rem; }
.charts h3 { grid-column: 1 / -1; font-size: 1rem; margin: 1rem 0 0; }
svg { display: block; width: 100%; height: auto; font: 12px system-ui, sans-serif; fill: currentColor; }
svg .grid { stroke: var(--line); stroke-width: 1; } svg .curve { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
svg image { image-rendering: pixelated; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.5rem; padding: 0; list-style: none; overflow-wrap: anywhere; }
.legend span { display: inline-block; width: 1.2em; height: .3em; margin-right: .5em; vertical-align: middle; }
"""


class Curve(NamedTuple):
    """One line of a chart.

    Attributes:
      label: shown where the pointer is over it.
      color: as in CSS.
      points: list of (x, y), by increasing x; those that are not finite are left out.
      dashed: whether the line is.
    """

    label: str
    color: str
    points: list
    dashed: bool = False


def line_chart(title, curves, x_label):
    """An SVG element of Curves, or "" if there are no points. The vertical axis is logarithmic if the values span decades."""
    curves = [curve._replace(points=[point for point in curve.points if all(map(math.isfinite, point))]) for curve in curves]
    curves = [curve for curve in curves if curve.points]
    if not curves:
        return ""
    xs, ys = ([point[axis] for curve in curves for point in curve.points] for axis in (0, 1))
    is_logarithmic = min(ys) > 0 and max(ys) / min(ys) >= LOGARITHMIC
    x_axis = _Axis(min(0, *xs), max(xs), LEFT, WIDTH - RIGHT, False)
    y_axis = _Axis(min(ys), max(ys), HEIGHT - BOTTOM, TOP + 6, is_logarithmic)
    parts = [_frame(title, HEIGHT)]
    for value, text in y_axis.ticks():
        y = y_axis.place(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(_text(LEFT - 6, y + 4, text, "end"))
    for value, text in x_axis.ticks():
        x = x_axis.place(value)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(_text(x, HEIGHT - BOTTOM + 16, text, "middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_label, "middle"))
    for curve in curves:
        parts.append(_curve(curve, x_axis, y_axis))
    return "\n".join([*parts, "</svg>"])


def _frame(title, height):
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">\n'
        f'<text x="{LEFT}" y="16" font-weight="600">{escape(title)}</text>'
    )


def _text(x, y, text, anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _curve(curve, x_axis, y_axis):
    label = f"{curve.label}: {curve.points[-1][1]:.4g} at the end"
    places = [(x_axis.place(x), y_axis.place(y)) for x, y in _thinned(curve.points)]
    dashes = ' stroke-dasharray="5 4"' if curve.dashed else ""
    line = f'<polyline class="curve" stroke="{curve.color}"{dashes} points="{" ".join(f"{x},{y}" for x, y in places)}"/>'
    few = places if len(places) <= MARKED_POINTS else []
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="{1.8 if curve.dashed else 2.4}" fill="{curve.color}"/>' for x, y in few)
    return f"<g><title>{escape(label)}</title>{line}{dots}</g>"


def _thinned(points):
    """At most about DRAWN_POINTS of the points: all, or the least and the largest of each part, and the last one."""
    if len(points) <= DRAWN_POINTS:
        return points
    length = math.ceil(2 * len(points) / DRAWN_POINTS)
    kept = []
    for start in range(0, len(points), length):
        part = points[start : start + length]
        kept += sorted({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])})
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


class _Axis:
    """Maps the values from `low` to `high` to the places from `start` to `end`."""

    def __init__(self, low, high, start, end, is_logarithmic):
        if low == high:
            low, high = (low - abs(low) / 2, high + abs(high) / 2) if low else (0.0, 1.0)
        self._is_logarithmic = is_logarithmic
        self._low, self._high = low, high
        self._start, self._end = start, end

    def place(self, value):
        low, high, value = (
            (math.log10(v) for v in (self._low, self._high, value)) if self._is_logarithmic else (self._low, self._high, value)
        )
        return round(self._start + (value - low) / (high - low) * (self._end - self._start), 1)

    def ticks(self):
        """List of (value, text)."""
        if self._is_logarithmic:
            first, last = math.ceil(math.log10(self._low) - 1e-9), math.floor(math.log10(self._high) + 1e-9)
            every = max(1, math.ceil((last - first) / TICKS))
            return [(10.0**power, f"{10.0**power:g}") for power in range(first, last + 1, every)]
        rough = (self._high - self._low) / TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        distance = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
        numbers = range(math.ceil(self._low / distance - 1e-9), math.floor(self._high / distance + 1e-9) + 1)
        digits = max(0, -math.floor(math.log10(distance) + 1e-9))
        if digits > 6 or distance >= 1e7:
            return [(number * distance, f"{number * distance:.3g}") for number in numbers]
        return [(number * distance, f"{number * distance:,.{digits}f}") for number in numbers]


def heat_map(title, steps, shares):
    """An SVG element of the experts' shares of the assignments over depth and time.

    A column is an evaluation, and each block has a row for every expert. The balanced share 1 / E is the middle of the colours,
    and from 2 / E on they are all the same, as in curves.png.

    Args:
      title: text.
      steps, shares: of the evaluations [S], and the shares [S, blocks, E].
    """
    drawn = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), COLUMNS)).round().astype(int))
    count, blocks, experts = shares[drawn].shape
    height = min(max(CELL * blocks * experts, 120), MAP_HEIGHT)
    right, bottom = WIDTH - RIGHT, TOP + height
    parts = [
        _frame(title, height + TOP + BOTTOM + 26),
        _picture(shares[drawn].reshape(count, -1).T, 2 / experts, LEFT, TOP, right - LEFT, height),
    ]
    for block in range(blocks):
        top = TOP + height * block / blocks
        if block:
            parts.append(f'<line x1="{LEFT}" x2="{right}" y1="{top:.1f}" y2="{top:.1f}" stroke="white"/>')
        if block % math.ceil(blocks / 24) == 0:
            parts.append(_text(LEFT - 6, top + height / blocks / 2 + 4, f"block {block}", "end"))
    labelled = sorted({0, (count - 1) // 2, count - 1})
    for column in labelled:
        text = f"{steps[drawn[column]]:,}"
        x = min(LEFT + (right - LEFT) * (column + 0.5) / count, WIDTH - 4 * len(text))  # about half its width from the edge
        parts.append(_text(x, bottom + 16, text, "middle"))
    parts.append(
        _text((LEFT + right) / 2, bottom + 32, f"step; in each block experts 0 to {experts - 1} from top to bottom", "middle")
    )
    parts.append(_picture(np.linspace(0, 1, 64)[np.newaxis], 1, LEFT, bottom + 42, right - LEFT, 8))
    for place, anchor, text in (
        (0, "start", "share 0"),
        (0.5, "middle", f"balanced, {1 / experts:.3g}"),
        (1, "end", f"{2 / experts:.3g} and more"),
    ):
        parts.append(_text(LEFT + place * (right - LEFT), bottom + 62, text, anchor))
    return "\n".join([*parts, "</svg>"])


def _picture(values, largest, x, y, width, height):
    """Float [rows, columns] as a picture with a pixel for each."""
    file = io.BytesIO()
    plt.imsave(file, values, cmap="viridis", vmin=0, vmax=largest, format="png", metadata={"Software": None})
    data = base64.b64encode(file.getvalue()).decode()
    place = f'x="{x}" y="{y:.1f}" width="{width}" height="{height:.1f}"'
    return f'<image {place} preserveAspectRatio="none" href="data:image/png;base64,{data}"/>'


def legend(entries):
    """A legend.

    Args:
      entries: list of (color, label).
    """
    items = (f'<li><span style="background:{color}"></span>{escape(label)}</li>' for color, label in entries)
    return f'<ul class="legend">{"".join(items)}</ul>'
