"""curves.png: loss, metrics, learning rate and expert load of a run, from its tables."""

import math
import pathlib

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from official.evaluation.plots import save, write_in_cell
from official.files.checked_json import read_json
from official.files.layout import CONFIG_JSON, CURVES_PNG, EXPERT_LOAD_CSV, METRICS_CSV
from official.files.tables import columns_by_block, read_table

MARKED_POINTS = 20  # a curve of at most as many points has a marker at each, so that a single point is visible
NAMED_EXPERTS = 10  # largest number of experts whose curves are in the legend, and whose shares are written into the cells
NUMBERED_BLOCKS = 24  # the same for blocks
TICKS = 16  # numbers of experts or blocks along an axis, at most


def draw_curves(workdir):
    """Draws curves.png in a workdir from metrics.csv and, for a model with experts, expert_load.csv.

    Panels: the loss and each other metric of training and validation; the metrics that every block has, of validation; the
    learning rate; each expert's share of the assignments over time, mean and range over the blocks; and these shares by block at
    the last step.

    Returns:
      The path of the picture.
    """
    workdir = pathlib.Path(workdir)
    metrics = read_table(workdir / METRICS_CSV)
    load_file = workdir / EXPERT_LOAD_CSV
    load = [row for row in read_table(load_file) if row["split"] == "train"] if load_file.exists() else []
    names = ["loss", *(key for key in metrics[0] if f"val_{key}" in metrics[0] and key not in ("loss", "balance", "dropped"))]
    blocks = columns_by_block(names)
    names = [name for name in names if not any(name in columns for columns in blocks.values())]
    rows = math.ceil((len(names) + len(blocks) + 1 + (2 if load else 0)) / 2)
    figure, axes = plt.subplots(rows, 2, figsize=(11, 4 * rows + 0.4), layout="constrained", squeeze=False)
    axes = list(axes.flat)
    for name in names:
        _draw_curves(axes.pop(0), metrics, name, {name: "training", f"val_{name}": "validation"})
    for name, columns in blocks.items():
        labels = {f"val_{column}": f"block {number}" for number, column in enumerate(columns, start=1)}
        _draw_curves(axes.pop(0), metrics, f"{name} by block, validation", labels)
    _draw_curves(axes.pop(0), metrics, "learning rate", {"lr": "learning rate"})
    if load:
        _draw_load(axes.pop(0), load)
        _draw_last_load(figure, axes.pop(0), load)
    for axis in axes:
        axis.remove()
    name = read_json(workdir / CONFIG_JSON, keys={"name": str})["name"]
    figure.suptitle(f"{name}, training and validation split, {int(metrics[-1]['step']):,} steps")
    path = workdir / CURVES_PNG
    save(figure, path)
    return path


def _draw_curves(axis, rows, title, labels):
    """Draws columns of metrics.csv, {column: label}."""
    for key, label in labels.items():
        points = [(int(row["step"]), float(row[key])) for row in rows if row.get(key)]
        if points:
            axis.plot(*zip(*points, strict=True), marker=_marker(points), label=f"{label}, last {points[-1][1]:.4g}")
    axis.set(title=title.replace("_", " "), xlabel="step")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(alpha=0.3)
    axis.legend()


def _marker(points):
    return "o" if len(points) <= MARKED_POINTS else ""


def expert_shares(rows):
    """Steps [S], and shares [S, blocks, E] and dropped shares [S, blocks] of the rows of one split."""
    steps = sorted({int(row["step"]) for row in rows})
    experts = [key for key in rows[0] if key.startswith("expert_")]
    by_step = {step: [row for row in rows if int(row["step"]) == step] for step in steps}
    shares = np.array([[[float(row[key]) for key in experts] for row in by_step[step]] for step in steps])
    dropped = np.array([[float(row["dropped"]) for row in by_step[step]] for step in steps])
    return steps, shares, dropped


def _draw_load(axis, rows):
    steps, shares, dropped = expert_shares(rows)
    experts = shares.shape[-1]
    are_few = experts <= NAMED_EXPERTS
    for expert in range(experts):
        share = shares[:, :, expert]
        line = axis.plot(steps, share.mean(axis=1), marker=_marker(steps), label=f"expert {expert}" if are_few else None)[0]
        if are_few:
            axis.fill_between(steps, share.min(axis=1), share.max(axis=1), color=line.get_color(), alpha=0.15, linewidth=0)
    axis.plot(steps, dropped.mean(axis=1), color="black", linestyle=":", marker=_marker(steps), label="dropped")
    what = "mean and range of blocks" if are_few else f"{experts} experts, mean of blocks"
    axis.set(title=f"expert load in training: {what}", xlabel="step", ylabel="share of assignments")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_ylim(0, 1.3 * max(shares.max(), dropped.max()))
    axis.grid(alpha=0.3)
    axis.legend(ncols=3, fontsize="small", loc="upper right")


def _draw_last_load(figure, axis, rows):
    steps, shares, _ = expert_shares(rows)
    _, blocks, experts = shares.shape
    image = axis.imshow(shares[-1], vmin=0, vmax=2 / experts, aspect="auto", cmap="viridis")  # balanced is in the middle
    if experts <= NAMED_EXPERTS and blocks <= NUMBERED_BLOCKS:
        for block, expert in np.ndindex(blocks, experts):
            write_in_cell(axis, image, block, expert, f"{shares[-1][block, expert]:.2f}", "small")
    axis.set(title=f"expert load in training at step {steps[-1]:,}", xlabel="expert", ylabel="block")
    axis.set_xticks(range(0, experts, math.ceil(experts / TICKS)))
    axis.set_yticks(range(0, blocks, math.ceil(blocks / TICKS)))
    figure.colorbar(image, ax=axis, label="share of assignments", extend="max" if shares[-1].max() > 2 / experts else "neither")
