"""train.best: which checkpoint is kept, over stops and crashes, and that it is what a run exports, tells and is evaluated by."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from official import train
from official.checkpoints.manager import BestCheckpoint, NoSuchMetric, kept_step, replace_checkpoint
from official.checkpoints.weights import read_weights
from official.evaluate import evaluate
from official.files.tables import read_table
from tests.official.test_resume import stop_at
from tests.official.words import words_config, write_vocabulary


class Kept:
    """Stands for the newest checkpoints of a run: `consider` gives the steps that were kept so far."""

    def __init__(self, folder, metric, rows=(), step=0):
        self.folder = folder
        self.steps = []
        self.newest = step
        self.best = BestCheckpoint(metric, folder, self._copy, list(rows), step)

    def _copy(self, folder):
        assert folder == self.folder
        source = folder.with_name("newest") / f"step-{self.newest}"
        source.parent.mkdir(exist_ok=True)
        tf.train.Checkpoint(step=tf.Variable(self.newest)).write(str(source))
        replace_checkpoint(folder, str(source))
        self.steps.append(self.newest)

    def consider(self, *values):
        for value in values:
            self.newest += 1
            names = ("loss", "f1_loss", "accuracy", "block_2_unexplained")
            self.best.consider({**{f"val_{name}": value for name in names}, "loss": 0.0})
        return self.steps


def row(step, accuracy):
    """Of metrics.csv."""
    return {"step": str(step), "val_accuracy": str(accuracy), "val_loss": "1.0"}


@pytest.mark.parametrize(
    "metric, kept",
    [("accuracy", [1, 2, 5]), ("loss", [1, 4]), ("f1_loss", [1, 4]), ("block_2_unexplained", [1, 4])],
    ids=["larger", "smaller", "part of a loss", "unexplained"],
)
def test_better(tmp_path, metric, kept):
    """Larger, of a loss and of what is unexplained smaller; of equal values the first stays."""
    assert Kept(tmp_path / "checkpoints-best", metric).consider(0.3, 0.5, 0.5, 0.2, 0.7, 0.2) == kept
    assert kept_step(tmp_path / "checkpoints-best") == kept[-1]


def test_not_a_number(tmp_path):
    """It is never the best, also where it comes first."""
    assert Kept(tmp_path / "checkpoints-best", "accuracy").consider(float("nan"), -1.0, float("nan"), 0.0) == [2, 4]


def test_the_best_is_known_again(tmp_path):
    """In the next session, by the table; only what is better than that is kept."""
    Kept(tmp_path / "checkpoints-best", "accuracy").consider(0.3, 0.5, 0.4)
    rows = [row(1, 0.3), row(2, 0.5), row(3, 0.4)]
    assert Kept(tmp_path / "checkpoints-best", "accuracy", rows, step=3).consider(0.5, 0.45, 0.6) == [6]


def test_killed_before_the_copy(tmp_path):
    """The last checkpoint's evaluation was the best: it is kept when the run goes on, and not once it is there."""
    Kept(tmp_path / "checkpoints-best", "accuracy").consider(0.3)
    rows = [row(1, 0.3), row(2, 0.5)]
    assert Kept(tmp_path / "checkpoints-best", "accuracy", rows, step=2).steps == [2]
    assert Kept(tmp_path / "checkpoints-best", "accuracy", rows, step=2).steps == []
    # A checkpoint inside an epoch is of no evaluation.
    assert Kept(tmp_path / "checkpoints-best", "accuracy", [row(1, 0.3), row(2, 0.9)], step=3).steps == []


def test_of_an_evaluation_that_is_not_in_the_table(tmp_path):
    """Of a run that went further, whose older checkpoints were put back: nothing is known of it, and it goes."""
    Kept(tmp_path / "checkpoints-best", "accuracy").consider(0.3, 0.9)
    assert Kept(tmp_path / "checkpoints-best", "accuracy", [row(1, 0.3)], step=1).steps == [1]
    assert kept_step(tmp_path / "checkpoints-best") == 1


def test_unknown_metric(tmp_path):
    """Told with those that there are, at the first step and at the latest at the first evaluation."""
    kept = Kept(tmp_path / "checkpoints-best", "acuracy")
    with pytest.raises(NoSuchMetric, match=r"^train.best='acuracy' is not allowed: it must be '' or one of loss, accuracy$"):
        kept.best.check({"loss": 0.0, "accuracy": 0.0})
    with pytest.raises(NoSuchMetric, match="one of loss, f1_loss, accuracy, block_2_unexplained$"):
        kept.consider(0.5)


def test_replaced_as_a_whole(tmp_path):
    """Other steps go, also those whose names begin alike; a copy that was cut off leaves the one before it."""
    variable = tf.Variable(0.0)
    for step in (6, 60):
        variable.assign(step)
        tf.train.Checkpoint(x=variable).write(str(tmp_path / f"step-{step}"))
    folder = tmp_path / "kept"
    for step in (60, 6):
        replace_checkpoint(folder, str(tmp_path / f"step-{step}"))
        assert {path.name.partition(".")[0] for path in folder.iterdir()} == {"checkpoint", f"step-{step}"}
    shutil.copyfile(tmp_path / "step-60.index", folder / "step-60.index")
    moved = folder.rename(tmp_path / "moved")
    assert kept_step(moved) == 6
    tf.train.Checkpoint(x=variable).read(tf.train.latest_checkpoint(str(moved)))
    assert float(variable) == 6


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(workdir, summary) of a run with averages whose steps are too long, so that its loss rises; stopped, and gone on with."""
    folder = tmp_path_factory.mktemp("best")
    vocabulary = write_vocabulary(folder / "vocabulary.txt")
    settings = dict(steps=8, eval_every=2, lr=1.0, ema_decay=0.2, best="loss")
    config = words_config(vocabulary, {f"train.{key}": value for key, value in settings.items()})
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, 5)
        with pytest.raises(train.Stopped):
            train.run(config, folder / "run")
    return folder / "run", train.run(config, folder / "run")


def test_summary(finished):
    """Its step, and the metrics of that evaluation: the smallest loss of the table; it is no longer among the newest."""
    workdir, summary = finished
    rows = read_table(workdir / "metrics.csv")
    losses = {int(row["step"]): float(row["val_loss"]) for row in rows}
    best = min(losses, key=losses.get)
    assert best < 5  # or this run shows nothing
    assert (summary["step"], summary["exported_step"]) == (8, best)
    assert summary["metrics"]["val_loss"] == losses[best]
    assert kept_step(workdir / "checkpoints-best") == best
    assert {path.stem for path in (workdir / "checkpoints").glob("*.index")} == {"step-6", "step-8"}


def test_it_is_told(finished, capsys):
    workdir, summary = finished
    train.report(summary, workdir)
    said = capsys.readouterr().out
    assert f"words after {summary['exported_step']} of 8 steps, best by loss, on the validation split: loss " in said
    assert f"  {workdir / 'checkpoints-best'}: " in said


def test_it_is_evaluated_and_exported(finished, tmp_path):
    """With the averages of its step, which are the numbers of its row; 1e-6 for float32."""
    workdir, summary = finished
    written, _ = evaluate(workdir, output=tmp_path / "checkpoint", task_modules=["tests.official.words"])
    assert written["step"] == summary["exported_step"]
    assert written["evaluated"] == str(workdir / "checkpoints-best" / f"step-{summary['exported_step']}")
    assert written["metrics"]["accuracy"] == pytest.approx(summary["metrics"]["val_color_accuracy"], abs=1e-6)
    averages = read_weights(workdir)
    for name, array in read_weights(workdir / "saved_model").items():
        np.testing.assert_array_equal(array, averages[name])
    weights = read_weights(workdir, averaged=False)
    newest = read_weights(workdir / "checkpoints")
    for other in (weights, newest):
        assert np.abs(averages["color/kernel"] - other["color/kernel"]).max() > 1e-3


def test_a_metric_that_there_is_not(finished, tmp_path):
    """The run ends after its first step; without the setting nothing of an earlier session's best stays."""
    workdir, _ = finished
    config = words_config(workdir.parent / "vocabulary.txt", {"train.best": "acuracy"})
    with pytest.raises(NoSuchMetric, match=r"train\.best='acuracy' is not allowed: .*color_accuracy"):
        train.run(config, tmp_path)
    assert not (tmp_path / "checkpoints").exists()
    with pytest.raises(NoSuchMetric):
        train.run(config, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    shutil.copytree(workdir / "checkpoints-best", tmp_path / "checkpoints-best")
    run = train.Run(words_config(workdir.parent / "vocabulary.txt"), tmp_path)
    assert run._best_checkpoint() is None
    assert not (tmp_path / "checkpoints-best").exists()
