"""The files of an evaluation, and what its pictures show for few and many classes."""

import csv
import json

import numpy as np
import pytest
import tensorflow as tf
from matplotlib.colors import to_rgb

from official.evaluation import plots
from official.evaluation.classification import FILES, ClassificationEvaluation
from official.evaluation.metrics import classification_metrics
from official.evaluation.plots import draw_confusion_matrix, draw_expert_shares
from official.evaluation.runner import write_evaluation


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, by file name, instead of files."""
    drawn = {}
    monkeypatch.setattr(plots, "save", lambda figure, path: drawn.update({path.name: figure}))
    yield drawn
    for figure in drawn.values():
        plots.plt.close(figure)


def evaluation(names, with_experts=True):
    """Six examples of classes 0 and 1 in two batches, four of them right, and two experts in one block."""
    labels = np.array([0, 0, 0, 1, 1, 1])
    logits = np.eye(len(names))[[0, 0, 1, 1, 1, 0]] * 2
    assignments = np.array([[2, 0], [1, 0], [0, 1], [0, 2], [0, 1], [0, 1]])[:, np.newaxis]
    found = ClassificationEvaluation(names)
    for batch in (slice(0, 4), slice(4, 6)):
        found.add(None, labels[batch], logits[batch], assignments[batch] if with_experts else None)
    return found


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_files(tmp_path):
    """Numbers by hand; a class without examples has no shares and no confusions; names with commas and quotes stay."""
    folder = tmp_path / "new" / "folder"
    names = ['a "b"', "c, d", "none"]
    written = write_evaluation(folder, evaluation(names), split="test", model="m")
    assert {path.name for path in folder.iterdir()} == {"metrics.json", *FILES}
    matrix = [["true class", *names], [names[0], "2", "1", "0"], [names[1], "1", "2", "0"], [names[2], "0", "0", "0"]]
    assert rows_of(folder / "confusion_matrix.csv") == matrix
    shares = [["block", "class", "expert_0", "expert_1"], ["0", names[0], "0.75", "0.25"], ["0", names[1], "0.0", "1.0"]]
    assert rows_of(folder / "expert_share_per_class.csv") == [*shares, ["0", names[2], "", ""]]
    assert json.loads((folder / "metrics.json").read_text()) == written
    assert (written["split"], written["model"], written["examples"]) == ("test", "m", 6)
    assert written["metrics"] == classification_metrics(evaluation(names).predictions, 3)
    assert written["metrics"]["top_1"] == 4 / 6
    assert {"versions", "git_commit"} <= set(written)
    for name in FILES:
        if name.endswith(".png"):
            picture = tf.io.decode_png((folder / name).read_bytes(), channels=3).numpy()
            assert picture.shape[1] >= 1200
            assert picture.shape[0] > 400
            assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20


def test_nothing_stays_of_an_earlier_evaluation(tmp_path, figures):
    """Experts of another model in a dense model's folder would be taken for its own."""
    write_evaluation(tmp_path, evaluation(["a", "b"]))
    assert (tmp_path / "expert_share_per_class.csv").exists()
    (tmp_path / "expert_share_per_class.png").touch()
    (tmp_path / "of the user.txt").touch()
    write_evaluation(tmp_path, evaluation(["a", "b"], with_experts=False))
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.json", "confusion_matrix.csv", "of the user.txt"}


def test_another_number_of_classes():
    """The head of another data set, of which the names would be wrong."""
    with pytest.raises(ValueError, match="the model has 3 outputs and the task 2 classes"):
        ClassificationEvaluation(["a", "b"]).add(None, np.zeros([1], int), np.zeros([1, 3]), None)


def luminance(color):
    """Relative luminance of an RGB colour (WCAG 2)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def check_contrast(axis):
    """Every text in a cell is as legible as WCAG 2 demands of texts: a contrast of at least 4.5 to the colour of its cell."""
    image = axis.images[0]
    colors = image.cmap(image.norm(image.get_array()))
    for text in axis.texts:
        column, row = text.get_position()
        dark, light = sorted([luminance(text.get_color()), luminance(colors[row, column][:3])])
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (row, column, text.get_text())


def labels_of(axis):
    return [label.get_text() for label in axis.get_ticklabels() if label.get_text()]


@pytest.mark.parametrize("classes", [2, 20, 21, 100, 1000])
def test_confusion_matrix_of_any_number_of_classes(tmp_path, figures, classes):
    """Numbers in the cells of few classes, at most 25 names along an axis, each at its own class; colours are shares."""
    matrix = np.eye(classes, dtype=int) * 3
    matrix[0, 1] = 1
    matrix[-1] = 0
    draw_confusion_matrix(tmp_path / "m.png", matrix, [f"class {c}" for c in range(classes)], "m, test split")
    axis = figures["m.png"].axes[0]
    numbers = {(text.get_position(), text.get_text()) for text in axis.texts}
    assert len(numbers) == (np.count_nonzero(matrix) if classes <= 20 else 0)
    assert classes > 20 or ((1, 0), "1") in numbers  # x is the predicted class
    shown = axis.images[0].get_array()
    np.testing.assert_allclose(shown[0, :2], [0.75, 0.25])
    assert np.all(shown.mask[-1]) and not np.any(shown.mask[:-1])
    for ticks in (axis.xaxis, axis.yaxis):
        names = labels_of(ticks)
        assert min(classes, 20) <= len(names) <= 25
        assert names == [f"class {place}" for place in ticks.get_ticklocs()]
    facts = f"accuracy {matrix.trace() / matrix.sum():.4f} on {matrix.sum():,} examples"
    assert figures["m.png"].get_suptitle() == f"m, test split\n{facts}" + ("; numbers are examples" if classes <= 20 else "")
    check_contrast(axis)


def test_long_names_are_cut(tmp_path, figures):
    draw_confusion_matrix(tmp_path / "m.png", np.eye(2, dtype=int), ["a" * 100, "b" * 18])
    assert labels_of(figures["m.png"].axes[0].yaxis) == ["a" * 17 + "…", "b" * 18]


@pytest.mark.parametrize(
    "blocks, first, last", [(1, [], [0]), (2, [0, 1], [1]), (12, [0, 1, 2], [10, 11]), (24, [0, 2, 4], [21, 23])]
)
def test_expert_shares_of_any_number_of_blocks(tmp_path, figures, blocks, first, last):
    """The mean first, then at most twelve blocks from the first to the last; all in the same colours, white at 1 / E."""
    shares = np.random.default_rng(0).dirichlet(np.ones(4), size=[blocks, 5])
    shares[:, 2] = np.nan
    draw_expert_shares(tmp_path / "s.png", shares, list("abcde"))
    *panels, colors = figures["s.png"].axes
    titles = [axis.get_title() for axis in panels]
    own = titles[1:] if blocks > 1 else titles
    assert titles[0] == (f"mean of {blocks} blocks" if blocks > 1 else "block 0")
    assert len(own) == min(blocks, 12)
    assert own[: len(first)] == [f"block {block}" for block in first]
    assert own[-len(last) :] == [f"block {block}" for block in last]
    for axis, title in zip(panels, titles, strict=True):
        expected = shares[int(title.split()[-1])] if title.startswith("block") else shares.mean(axis=0)
        image = axis.images[0]
        np.testing.assert_array_equal(image.get_array().filled(np.nan), expected)
        assert (image.norm.vmin, image.norm.vcenter, image.norm.vmax) == (0, 0.25, np.nanmax(shares))
        assert {text.get_text() for text in axis.texts} == {f"{share:.2f}" for share in expected[[0, 1, 3, 4]].flat}
        check_contrast(axis)
    assert colors.get_ylabel() == "white: balanced, 1/4"
