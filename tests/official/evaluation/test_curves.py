"""What curves.png shows of short and long runs, of few and many experts."""

import json

import numpy as np
import pytest

from official.evaluation import curves
from official.files.tables import Table
from tests.official.evaluation.test_classification import check_contrast


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are drawn, instead of files."""
    found = []
    monkeypatch.setattr(curves, "save", lambda figure, path: found.append(figure))
    yield found
    for figure in found:
        curves.plt.close(figure)


def write_run(workdir, evaluations, blocks, experts):
    """Tables of a run with an evaluation every 100 steps."""
    rng = np.random.default_rng(0)
    metrics, load = Table(workdir / "metrics.csv"), Table(workdir / "expert_load.csv")
    (workdir / "config.json").write_text(json.dumps(dict(name="the_model")))
    for number in range(1, evaluations + 1):
        step, values = 100 * number, dict(loss=3 / number, accuracy=1 - 1 / (number + 1))
        rates = dict(lr=0.01 * (1 - number / evaluations), images_per_second=10.0)
        metrics.append(
            [dict(step=step, epoch=number, **values, **{f"val_{key}": value for key, value in values.items()}, **rates)]
        )
        for block in range(blocks if experts else 0):
            shares = {f"expert_{e}": share for e, share in enumerate(rng.dirichlet(np.full(experts, 3)))}
            load.append([dict(step=step, split="train", block=block, **shares, dropped=0.0, balance=1.0)])


@pytest.mark.parametrize("evaluations, blocks, experts", [(1, 0, 0), (1, 2, 3), (200, 12, 4), (30, 32, 64)])
def test_panels(tmp_path, drawn, evaluations, blocks, experts):
    """A title with the model, the learning rate, single points as markers; no legend or cell is crowded."""
    write_run(tmp_path, evaluations, blocks, experts)
    curves.draw_curves(tmp_path)
    (figure,) = drawn
    assert figure.get_suptitle() == f"the_model, training and validation split, {100 * evaluations:,} steps"
    panels = {axis.get_title(): axis for axis in figure.axes}
    own = ["loss", "accuracy", "learning rate"]
    what = "mean and range of blocks" if experts <= 10 else f"{experts} experts, mean of blocks"
    expected = [*own, f"expert load in training: {what}", f"expert load in training at step {100 * evaluations:,}"]
    assert [title for title in panels if title] == expected[: 5 if experts else 3]
    for title in own:
        for line in panels[title].lines:
            assert len(line.get_xdata()) == evaluations
            assert (line.get_marker() == "o") == (evaluations <= 20)
    lr = panels["learning rate"].lines[0].get_ydata()
    np.testing.assert_allclose(lr, 0.01 * (1 - np.arange(1, evaluations + 1) / evaluations))
    if experts:
        load, last = (panels[title] for title in expected[3:])
        assert len(load.get_legend().get_texts()) == (experts if experts <= 10 else 0) + 1  # and "dropped"
        assert len(last.texts) == (blocks * experts if experts <= 10 else 0)
        assert len(last.get_xticks()) <= 16
        check_contrast(last)


def test_metrics_of_blocks(tmp_path, drawn):
    """One panel for those of all blocks, a curve each, of validation."""
    write_run(tmp_path, 1, 0, 0)
    blocks = {f"block_{block}_unexplained": 1 / block for block in (1, 2, 3)}
    (tmp_path / "metrics.csv").unlink()
    values = dict(loss=1.0, **blocks)
    row = dict(step=100, epoch=1, **values, **{f"val_{key}": value / 2 for key, value in values.items()}, lr=0.1)
    Table(tmp_path / "metrics.csv").append([row])
    curves.draw_curves(tmp_path)
    panels = {axis.get_title(): axis for axis in drawn[0].axes}
    assert list(panels) == ["loss", "unexplained by block, validation", "learning rate"]
    lines = panels["unexplained by block, validation"].lines
    assert [line.get_ydata()[0] for line in lines] == [1 / 2, 1 / 4, 1 / 6]


def test_size(tmp_path):
    """At least 1,200 pixels wide."""
    write_run(tmp_path, 3, 2, 2)
    width = int.from_bytes(curves.draw_curves(tmp_path).read_bytes()[16:20], "big")
    assert width >= 1200
