"""Plots of an evaluation: confusion matrix, calibration, scores, and each class's shares of the experts.

All shares are fractions, as in metrics.json. A title names the model and the split.
"""

import math

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import PowerNorm, TwoSlopeNorm

from official.evaluation.metrics import expected_calibration_error

DPI = 110  # at least
PIXELS = 1200  # width of a picture, at least
FIGURE_WIDTH = 13  # inches, at most, of a row of panels
NUMBERED_CLASSES, NUMBERED_EXPERTS = 20, 8  # largest numbers for which cells show their values
CLASS_LABELS = 25  # labels along an axis, at most
BLOCK_PANELS = 12  # panels, at most
LABEL_LENGTH = 18  # characters of a class name, at most


def draw_confusion_matrix(path, matrix, names, title=""):
    """Draws int [classes, classes], with a row for each true class, as shares of the rows.

    Colours follow the cube root of a share, so that rare confusions are visible; a class without examples is grey. The cells of
    few classes also have their numbers of examples.

    Args:
      path: of the PNG file, or a binary file.
      matrix, names: numbers of examples, and the names of the classes.
      title: the model and the split.
    """
    classes = len(names)
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.full(matrix.shape, np.nan), where=totals > 0)
    size = min(max(0.5 * classes, 4.5), 10)
    figure, axis = plt.subplots(figsize=(size + 1.5, size), layout="constrained")
    image = axis.imshow(shares, norm=PowerNorm(1 / 3, 0, 1), cmap=_with_grey("Blues"))
    if classes <= NUMBERED_CLASSES:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            write_in_cell(axis, image, row, column, str(matrix[row, column]), "small")
    numbers = "; numbers are examples" if classes <= NUMBERED_CLASSES else ""
    facts = f"accuracy {np.trace(matrix) / max(matrix.sum(), 1):.4f} on {matrix.sum():,} examples{numbers}"
    _set_title(figure, title, facts)
    axis.set(xlabel="predicted class", ylabel="true class")
    _label_classes(axis.xaxis, names, rotation=90 if max(map(len, names)) > 3 else 0)
    _label_classes(axis.yaxis, names)
    figure.colorbar(
        image, ax=axis, label="color: share of the true class", ticks=[0, 0.001, 0.01, 0.05, 0.2, 0.5, 1], format="%g", shrink=0.8
    )
    save(figure, path)


def draw_reliability(path, calibration, title=""):
    """Draws an official.evaluation.metrics.Calibration: accuracy and share of the examples by confidence.

    Args:
      path, title: as of `draw_confusion_matrix`.
    """
    bins = len(calibration.counts)
    places, some = (np.arange(bins) + 0.5) / bins, calibration.counts > 0
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(5.5, 6), height_ratios=[3, 1], sharex=True, layout="constrained")
    top.bar(places[some], calibration.accuracies[some], 1 / bins, edgecolor="white", label="accuracy")
    top.plot(
        calibration.confidences[some], calibration.confidences[some], "o", color="black", markersize=4, label="mean confidence"
    )
    top.plot([0, 1], [0, 1], color="grey", linestyle=":", linewidth=1)
    error = expected_calibration_error(calibration)
    _set_title(figure, title, f"expected calibration error {error:.4f} on {calibration.counts.sum():,} examples")
    top.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
    top.legend(loc="upper left")
    bottom.bar(places, calibration.counts / calibration.counts.sum(), 1 / bins, color="grey", edgecolor="white")
    bottom.set(xlabel="confidence", ylabel="share of examples")
    save(figure, path)


def draw_scatter(path, labels, predicted, what, title=""):
    """Draws predictions float [N] by labels float [N], with the diagonal of correct predictions.

    Args:
      what: what both are, for the axes: "score".
      path, title: as of `draw_confusion_matrix`.
    """
    low, high = (bound([*labels, *predicted]) for bound in (min, max))
    figure, axis = plt.subplots(figsize=(5.5, 5.5), layout="constrained")
    axis.plot([low, high], [low, high], color="grey", linestyle=":", linewidth=1)
    axis.plot(labels, predicted, ".", markersize=4, alpha=0.4)
    _set_title(figure, title, f"{len(labels):,} examples")
    axis.set(xlabel=f"true {what}", ylabel=f"predicted {what}")
    axis.grid(alpha=0.3)
    save(figure, path)


def draw_expert_shares(path, shares, names, title=""):
    """Draws float [blocks, classes, E], nan for classes without examples: the mean over the blocks, then a panel for each block.

    White is the balanced share 1 / E, red is more and blue less, on one scale for all panels. If there are more than BLOCK_PANELS
    blocks, evenly spaced ones are drawn.

    Args:
      path, title: as of `draw_confusion_matrix`.
      shares, names: the shares, and the names of the classes.
    """
    blocks, classes, experts = shares.shape
    drawn = np.unique(np.linspace(0, blocks - 1, min(blocks, BLOCK_PANELS)).round().astype(int))
    panels = [(f"block {block}", shares[block]) for block in drawn]
    if blocks > 1:
        panels.insert(0, (f"mean of {blocks} blocks", shares.mean(axis=0)))
    height, width = min(max(0.3 * classes, 2.2), 5), min(max(0.42 * experts, 1.5), 2.6)
    columns = min(len(panels), math.floor(FIGURE_WIDTH / width))
    rows = math.ceil(len(panels) / columns)
    size = (max(columns * (width + 0.1) + 2.2, 5.5), rows * (height + 0.4) + 0.6)
    figure, axes = plt.subplots(rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained")
    axes = list(axes.flat)
    _label_classes(axes[0].yaxis, names)
    axes[0].set_xticks(range(0, experts, math.ceil(experts / 8)))
    norm = TwoSlopeNorm(vmin=0, vcenter=1 / experts, vmax=max(np.nanmax(shares), 2 / experts))
    for place, (of_panel, panel) in enumerate(panels):
        axis = axes[place]
        image = axis.imshow(panel, norm=norm, cmap=_with_grey("RdBu_r"), aspect="auto")
        axis.set_title(of_panel, fontsize="medium")
        axis.tick_params(labelsize="small", labelbottom=place >= len(panels) - columns)
        if classes <= NUMBERED_CLASSES and experts <= NUMBERED_EXPERTS:
            for row, expert in zip(*np.nonzero(~np.isnan(panel)), strict=True):
                write_in_cell(axis, image, row, expert, f"{panel[row, expert]:.2f}", "x-small")
    for axis in axes[len(panels) :]:
        axis.remove()
    figure.supxlabel("expert", fontsize="medium")
    figure.supylabel("class", fontsize="medium")
    _set_title(figure, title, "share of each class's tokens that each expert got")
    figure.colorbar(image, ax=axes[: len(panels)], label=f"white: balanced, 1/{experts}", fraction=0.03, aspect=30)
    save(figure, path)


def write_in_cell(axis, image, row, column, text, fontsize):
    """Writes text into a cell of an image, in black or white, whichever has more contrast to the cell's colour."""
    color = image.cmap(image.norm(image.get_array()[row, column]))
    # Relative luminance of sRGB (WCAG 2): at 0.179 black and white have equal contrast, which is 4.6, and elsewhere more.
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color[:3]]
    is_light = np.dot(linear, [0.2126, 0.7152, 0.0722]) > 0.179
    axis.text(column, row, text, ha="center", va="center", color="black" if is_light else "white", fontsize=fontsize)


def _set_title(figure, title, facts):
    figure.suptitle("\n".join(filter(None, (title, facts))), fontsize="medium")


def _label_classes(axis, names, **style):
    places = range(0, len(names), math.ceil(len(names) / CLASS_LABELS))
    shown = [name if len(name) <= LABEL_LENGTH else name[: LABEL_LENGTH - 1] + "…" for name in names]
    axis.set_ticks(places, [shown[place] for place in places], fontsize="small", **style)


def _with_grey(name):
    """A colour map in which nan is grey."""
    return matplotlib.colormaps[name].with_extremes(bad="lightgrey")


def save(figure, path):
    """Writes a figure as a PNG file of at least PIXELS columns, and closes it."""
    figure.savefig(path, dpi=max(DPI, math.ceil(PIXELS / figure.get_figwidth())))
    plt.close(figure)
