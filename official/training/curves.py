"""curves.png: loss, accuracy and expert load of a run, from its CSV files."""

import math
import pathlib

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from official.files.tables import read_table
from official.files.workdir import CURVES_PNG, EXPERT_LOAD_CSV, METRICS_CSV


def draw_curves(workdir):
    """Draws curves.png in a workdir from metrics.csv and, for a model with experts, expert_load.csv.

    Panels: the loss and each other metric of training and validation; each expert's share of the assignments over time, mean and
    range over the blocks; and these shares by block at the last step.

    Returns:
      The path of the picture.
    """
    workdir = pathlib.Path(workdir)
    metrics = read_table(workdir / METRICS_CSV)
    load_file = workdir / EXPERT_LOAD_CSV
    load = [row for row in read_table(load_file) if row["split"] == "train"] if load_file.exists() else []
    names = ["loss", *(key for key in metrics[0] if f"val_{key}" in metrics[0] and key not in ("loss", "balance", "dropped"))]
    rows = math.ceil((len(names) + (2 if load else 0)) / 2)
    figure, axes = plt.subplots(rows, 2, figsize=(11, 4 * rows), layout="constrained", squeeze=False)
    axes = list(axes.flat)
    for name in names:
        _draw_metric(axes.pop(0), metrics, name)
    if load:
        _draw_load(axes.pop(0), load)
        _draw_last_load(figure, axes.pop(0), load)
    for axis in axes:
        axis.remove()
    path = workdir / CURVES_PNG
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def _draw_metric(axis, rows, name):
    for key, label in ((name, "training"), (f"val_{name}", "validation")):
        points = [(int(row["step"]), float(row[key])) for row in rows if row.get(key)]
        if points:
            axis.plot(*zip(*points, strict=True), label=f"{label}, last {points[-1][1]:.4g}")
    axis.set(title=name.replace("_", " "), xlabel="step")
    axis.grid(alpha=0.3)
    axis.legend()


def _expert_shares(rows):
    """Steps [S], and shares [S, blocks, E] and dropped shares [S, blocks] of the rows of one split."""
    steps = sorted({int(row["step"]) for row in rows})
    experts = [key for key in rows[0] if key.startswith("expert_")]
    by_step = {step: [row for row in rows if int(row["step"]) == step] for step in steps}
    shares = np.array([[[float(row[key]) for key in experts] for row in by_step[step]] for step in steps])
    dropped = np.array([[float(row["dropped"]) for row in by_step[step]] for step in steps])
    return steps, shares, dropped


def _draw_load(axis, rows):
    steps, shares, dropped = _expert_shares(rows)
    for expert in range(shares.shape[-1]):
        share = shares[:, :, expert]
        line = axis.plot(steps, share.mean(axis=1), label=f"expert {expert}")[0]
        axis.fill_between(steps, share.min(axis=1), share.max(axis=1), color=line.get_color(), alpha=0.15, linewidth=0)
    axis.plot(steps, dropped.mean(axis=1), color="black", linestyle=":", label="dropped")
    axis.set(title="expert load in training: mean and range of blocks", xlabel="step", ylabel="share of assignments")
    axis.set_ylim(0, 1.3 * shares.max())
    axis.grid(alpha=0.3)
    axis.legend(ncols=3, fontsize="small", loc="upper right")


def _draw_last_load(figure, axis, rows):
    steps, shares, _ = _expert_shares(rows)
    balanced = 1 / shares.shape[-1]  # the middle of the colour scale
    image = axis.imshow(shares[-1], vmin=0, vmax=2 * balanced, aspect="auto", cmap="viridis")
    for block, expert in np.ndindex(shares[-1].shape):
        share = shares[-1][block, expert]
        color = "black" if share > 1.2 * balanced else "white"
        axis.text(expert, block, f"{share:.2f}", ha="center", va="center", color=color, fontsize="small")
    axis.set(title=f"expert load at step {steps[-1]}", xlabel="expert", ylabel="block")
    axis.set_xticks(range(shares.shape[-1]))
    axis.set_yticks(range(shares.shape[1]))
    figure.colorbar(image, ax=axis, label="share of assignments")
