"""The page that compares runs: warnings, results, settings that differ, curves, expert load. All text is escaped."""

import math
import time
from html import escape

from official.cli.status_line import format_bytes, format_seconds
from official.comparison import charts
from official.comparison.charts import COLORS, Curve, heat_map, legend, line_chart
from official.comparison.runs import NOT_COMPARED, grouped, is_number, setting_differences, spread, strip_validation
from official.files.layout import METRICS_CSV
from official.files.tables import columns_by_block
from official.repository import html

MARK = "<!-- written by official.report -->"  # in every page, which the command may replace
FEW_ASSIGNMENTS = 0.1  # share of an expert, relative to the balanced one, below which it is as good as unused
MANY_DROPPED = 0.1  # share of the assignments
RISEN = 1.1  # last validation loss, relative to the least one
SLOW = 0.5  # last speed, relative to the median
MAX_CHARS = 200  # of a setting's value
TIMES = (("hours", 3600), ("minutes", 60), ("seconds", 1))
STYLE = (
    charts.STYLE
    + "body { max-width: 80rem; } .warnings { padding-left: 1.2rem; } .warnings li { margin: .2rem 0; overflow-wrap: anywhere; }"
    " .listing, thead th { white-space: normal; vertical-align: bottom; } .listing td { vertical-align: top; }"
)


def comparison_page(runs):
    """The HTML of a page that compares Runs (official.comparison.runs)."""
    groups = grouped(runs)
    title = runs[0].config.get("name") if len(runs) == 1 else f"{len(runs)} runs"
    colors = {run.label: COLORS[number % len(COLORS)] for number, group in enumerate(groups) for run in group.runs}
    return html.page(
        str(title),
        MARK,
        _warnings(runs, groups),
        "<h2>Results</h2>",
        _results(groups),
        "<h2>Speed and memory</h2>",
        _speeds(runs),
        *_differences(groups),
        "<h2>Curves</h2>",
        legend([(colors[group.runs[0].label], group.label) for group in groups]),
        '<p class="faint">Solid: validation, or the only one; dashed: training. Time is that of the training steps, without '
        "evaluation, from the speed in the table of each run.</p>",
        *_curves(runs, colors),
        *_heat_maps(runs),
        style=STYLE,
    )


def _warnings(runs, groups):
    found = [(run.label, text) for run in runs for text in warnings(run)]
    for group in groups:
        if len({run.seed for run in group.runs}) < len(group.runs):
            found.append((group.label, "some of these runs have the same settings and the same seed"))
    if not found:
        return "<h2>Warnings</h2><p>None.</p>"
    items = "\n".join(f"<li><b>{escape(label)}</b>: {escape(text)}</li>" for label, text in found)
    return f'<h2>Warnings</h2><ul class="warnings">\n{items}\n</ul>'


def warnings(run):
    """Sentences about what is wrong, or may be wrong, with a Run."""
    found = []
    if not run.summary:
        found.append(_unfinished(run))
    bad = run.summary.get("bad_examples")
    if isinstance(bad, dict) and bad.get("count"):
        first = "; ".join(f"{name}: {reason}" for name, reason in list(bad.get("first", {}).items())[:3])
        found.append(f"{bad['count']} {run.summary.get('unit', 'examples')} were skipped as bad, such as {first}")
    broken = [row["step"] for row in run.rows if not all(math.isfinite(row.get(key, 0)) for key in ("loss", "val_loss"))]
    if broken:
        found.append(f"the loss is not finite from step {broken[0]:,.0f} on")
    losses = [(row["val_loss"], row["step"]) for row in run.rows if math.isfinite(row.get("val_loss", math.nan))]
    if losses and not run.train.get("best") and losses[-1][0] > RISEN * min(losses)[0] > 0:
        least, step = min(losses)
        found.append(f"the validation loss has risen from {least:.4g} at step {step:,.0f} to {losses[-1][0]:.4g}")
    dropped = run.rows[-1].get("dropped", 0) if run.rows else 0
    if dropped > MANY_DROPPED:
        found.append(f"{dropped:.0%} of the assignments to experts were dropped in training at the end")
    found += _unused_experts(run)
    rates = sorted(row[run.rate] for row in run.rows if run.rate in row)
    if rates and run.rows[-1].get(run.rate, rates[-1]) < SLOW * rates[len(rates) // 2]:
        found.append(
            f"the last steps were slow: {run.rows[-1][run.rate]:,.4g} a second, and {rates[len(rates) // 2]:,.4g} in the median"
        )
    return found


def _unfinished(run):
    if not run.rows:
        return "unfinished, and not evaluated yet"
    train = run.train
    length = (
        f"{train['steps']:,} steps" if is_number(train.get("steps")) and train["steps"] else f"{train.get('epochs', '?')} epochs"
    )
    written = time.strftime("%Y-%m-%d %H:%M", time.localtime((run.workdir / METRICS_CSV).stat().st_mtime))
    return f"unfinished: the last evaluation is that of step {run.rows[-1]['step']:,.0f} of {length}, from {written}"


def _unused_experts(run):
    if run.load is None:
        return []
    shares = run.load[1][-1]
    blocks, experts = shares.shape
    few = [
        (block, expert)
        for block in range(blocks)
        for expert in range(experts)
        if shares[block, expert] < FEW_ASSIGNMENTS / experts
    ]
    if not few:
        return []
    block, expert = min(few, key=lambda place: shares[place])
    return [
        f"{len(few)} of {blocks * experts} experts, {experts} in each of {blocks} blocks, got less than a tenth of the balanced "
        f"share {1 / experts:.3g} in training at the end: of block {block}, expert {expert} got {shares[block, expert]:.2g}"
    ]


def _results(groups):
    results = [[run.result() for run in group.counted()] for group in groups]
    names = list(dict.fromkeys(name for group in results for one in group for name in one))
    names.sort(key=lambda name: name.split()[0] != "validation")
    rows = []
    for group, found in zip(groups, results, strict=True):
        counted = group.counted()
        steps = sorted({_step(run) for run in counted})
        of = f"{steps[0]:,.0f}" if len(steps) == 1 else f"{steps[0]:,.0f} to {steps[-1]:,.0f}"
        seeds = f"{len(counted)}" if len(counted) == len(group.runs) else f"{len(counted)} of {len(group.runs)}"
        is_finished = all(run.summary for run in counted)
        cells = [_spread([one[name] for one in found if name in one]) for name in names]
        rows.append([escape(group.label), seeds, of + ("" if is_finished else '<div class="faint">unfinished</div>'), *cells])
    note = (
        '<p class="faint">Of the exported model, or of the last evaluation of an unfinished run. Runs that differ only in their '
        "seed are one row: the mean, and below it the least to the largest.</p>"
    )
    return html.table(rows, ("run", "seeds", "step", *(escape(name.replace("_", " ")) for name in names))) + note


def _step(run):
    step = run.summary.get("exported_step", run.summary.get("step"))
    return step if is_number(step) else run.rows[-1]["step"] if run.rows else 0


def _spread(values):
    if not values:
        return ""
    mean, least, largest, count = spread(values)
    return f"{mean:.4g}" + (f'<div class="faint">{least:.4g} to {largest:.4g}</div>' if count > 1 else "")


def _speeds(runs):
    rows = []
    for run in runs:
        summary, seconds = run.summary, run.seconds()
        versions = summary.get("versions") if isinstance(summary.get("versions"), dict) else {}
        commit = str(summary.get("git_commit") or "")[:9] + (", modified" if summary.get("git_modified") else "")
        rows.append(
            [
                escape(run.label),
                _number(summary.get("parameters")),
                _median(run, run.rate) + (f"&nbsp;{escape(run.rate.removesuffix('_per_second'))}" if run.rate else ""),
                _median(run, "tokens_per_second"),
                format_seconds(seconds[-1]) if seconds else "",
                format_seconds(summary["wall_seconds"]) if is_number(summary.get("wall_seconds")) else "",
                format_bytes(summary["peak_memory_bytes"]) if is_number(summary.get("peak_memory_bytes")) else "",
                escape(run.precision),
                f"{_number(summary.get('replicas'))}&nbsp;{escape(str(run.train.get('strategy', '')))}".removeprefix("&nbsp;"),
                escape(str(versions.get("tensorflow", ""))),
                escape(commit),
            ]
        )
    head = ("run", "parameters", "a second", "tokens a second", "training", "in all", "peak memory", "precision", "replicas")
    return html.table(rows, (*head, "TensorFlow", "commit")) + (
        '<p class="faint">Speeds are medians of the evaluations; "in all" includes start and evaluation. An unfinished run has '
        "no summary, which tells the other figures.</p>"
    )


def _number(value):
    return f"{value:,}" if is_number(value) else ""


def _median(run, column):
    values = sorted(row[column] for row in run.rows if column in row)
    return f"{values[len(values) // 2]:,.4g}" if values else ""


def _differences(groups):
    if len(groups) == 1:
        return []
    rows = [[escape(setting), *map(_value, values)] for setting, values in setting_differences(groups).items()]
    return ["<h2>Settings that differ</h2>", html.table(rows, ("setting", *(escape(group.label) for group in groups)))]


def _value(text):
    return escape(text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}...")


def _curves(runs, colors):
    """A chart for each metric over steps and over time, and one for each other column over steps."""
    seconds = {run.label: run.seconds() for run in runs}
    steps = {run.label: [row["step"] for row in run.rows] for run in runs}
    longest = max((times[-1] for times in seconds.values() if times), default=0)
    unit, divisor = next(((unit, divisor) for unit, divisor in TIMES if longest >= 2 * divisor), TIMES[-1])
    times = {label: [time / divisor for time in own] for label, own in seconds.items()}
    columns = list(dict.fromkeys(key for run in runs for row in run.rows for key in row if key not in ("step", "epoch")))
    names = strip_validation(columns)
    blocks = columns_by_block(names)
    by_block = {column for of_block in blocks.values() for column in of_block}
    metrics = [name for name in names if f"val_{name}" in columns and name not in by_block]
    metrics.sort(key=lambda name: name in NOT_COMPARED)  # these come last
    if not any(row.get(key) for run in runs for row in run.rows for key in ("dropped", "val_dropped")):
        metrics = [name for name in metrics if name != "dropped"]
    sources = {name: [name] for name in metrics} | {f"{name}, mean of the blocks": of_block for name, of_block in blocks.items()}
    drawn = []
    for name, own in sources.items():
        drawn += [_chart(runs, colors, name, own, steps, "step"), _chart(runs, colors, name, own, times, f"{unit} of training")]
    drawn += [
        _chart(runs, colors, name, [name], steps, "step")
        for name in names
        if f"val_{name}" not in columns and name not in by_block
    ]
    return ['<div class="charts">', *(f"<div>{chart}</div>" for chart in drawn if chart), "</div>"]


def _chart(runs, colors, name, columns, places, x_label):
    """A chart of the mean of some columns of metrics.csv.

    Args:
      runs, colors: the runs, and {label of a run: its colour}.
      name: of the chart.
      columns: names, without the prefix of the validation split.
      places: {label of a run: where its rows are along the axis; [] if that is not known}.
      x_label: of the axis.
    """
    has_validation = any(f"val_{columns[0]}" in row for run in runs for row in run.rows)
    curves = []
    for run in runs:
        for prefix, split in (("", "training" if has_validation else name), ("val_", "validation")):
            values = [_mean(row, [prefix + column for column in columns]) for row in run.rows]
            points = list(zip(places[run.label], values, strict=True)) if places[run.label] else []
            curves.append(Curve(f"{run.label}, {split}", colors[run.label], points, has_validation and not prefix))
    return line_chart(name.replace("_", " "), curves, x_label)


def _mean(row, columns):
    """The mean of a row's columns; nan if it lacks one."""
    values = [row.get(column, math.nan) for column in columns]
    return sum(values) / len(values)


def _heat_maps(runs):
    maps = [f"<div>{heat_map(run.label, *run.load)}</div>" for run in runs if run.load is not None]
    return ["<h2>Expert load in training, over depth and time</h2>", '<div class="charts">', *maps, "</div>"] if maps else []
