"""Image and text runs that are killed twenty times, with everything random on; and what the tool that kills them says."""

import json
import random
import re

import pytest
import tensorflow as tf

from tests import kills
from tests.bert.prepared_texts import TINY_TEXT, write_tsv, write_vocabulary
from tests.kills import CHECKPOINT, EXPORT, SEALED, START, TRAINING, differences, differences_after_kills
from tests.official.tiny import RECIPE, SETTINGS

NOISE = {"model.dropout": 0.1, "model.attention_dropout": 0.1, "model.drop_path": 0.2, "model.jitter": 0.05}
LENGTH = {"train.steps": 60, "train.eval_every": 12, "train.checkpoint_every": 3, "train.warmup_steps": 5}
KEPT = {"train.best": "loss", "train.ema_decay": 0.9}


def images(folder):
    """The recipe has rotations, scaling and shifts, and its models router noise."""
    return RECIPE, {**SETTINGS, **NOISE, **LENGTH, **KEPT, "data.mixup": 0.5}


def texts(folder):
    """With checkpoints in the background."""
    rows = [(f"{'good' if i % 2 else 'bad'} word {i}", i % 2) for i in range(40)]
    file = write_tsv(folder / "texts.tsv", ("text", "label"), *rows)
    data = {"data.train_file": file, "data.validation_file": file}
    data |= {"data.vocabulary": write_vocabulary(folder / "vocab.txt", ["good", "bad"])}
    train = {"train.lr": 0.01, "train.background_checkpoints": True}
    return "bert/configs/text_file.py", {**TINY_TEXT, **NOISE, **LENGTH, **KEPT, **data, **train}


@pytest.mark.kill
@pytest.mark.further
@pytest.mark.parametrize("recipe", [images, texts])
def test_twenty_kills(recipe, tmp_path):
    """The weights, moments, averages and tables of a run that nobody stopped, bit for bit."""
    file, settings = recipe(tmp_path)
    arguments = [f"--config={file}", *(f"--config.{key}={value}" for key, value in settings.items())]
    folder = tmp_path / "runs"
    folder.mkdir()
    assert differences_after_kills(arguments, folder, kills=20) == []


@pytest.fixture
def run_until(monkeypatch):
    """Stands for the runs: a list of the (workdir's name, delays) of those that were begun. The fifth kill comes too late."""
    begun = []
    ends = {START: 20.0, TRAINING: 15.0, CHECKPOINT: 12.0, SEALED: 11.5, EXPORT: 6.0}

    def stand_in(arguments, workdir, delays=None):
        begun.append((workdir.name, delays))
        return bool(delays) and len(begun) != 6, ends

    monkeypatch.setattr(kills, "run_until", stand_in)
    monkeypatch.setattr(kills, "differences", lambda expected, found: [f"{expected.name} {found.name}"])
    return begun


def test_kills_in_every_phase(run_until, tmp_path):
    """As many as were asked for, within the time of the phase; a run that was too fast is compared, and another begins."""
    told = []
    found = differences_after_kills([], tmp_path, kills=12, tell=told.append)
    assert found == ["unstopped killed-1", "unstopped killed-2"]
    assert [re.match(r"Kill (\d+) of 12: ", line)[1] for line in told[1:]] == [str(kill) for kill in range(1, 13)]
    workdirs = [workdir for workdir, _ in run_until]
    assert workdirs == ["unstopped", *["killed-1"] * 5, *["killed-2"] * 9]
    assert run_until[0][1] is run_until[-1][1] is None
    phases = [next(iter(delays.keys() - {EXPORT}), EXPORT) for _, delays in run_until[1:-1]]
    del phases[4]  # which was repeated
    assert sorted(phases[:9]) == sorted([START, TRAINING, CHECKPOINT] * 3)
    assert phases[9:] == [EXPORT] * 3
    longest = {START: 5.0, TRAINING: 3 + 6 / 3, CHECKPOINT: 0.5, EXPORT: 4.0}
    for _, delays in run_until[1:-1]:
        assert all(0 <= delay <= longest[phase] for phase, delay in delays.items())


def finished(folder, weight=1.0, loss=0.5, steps=(3, 6), rate=100.0, summary=0.25):
    """A workdir as far as it is compared."""
    checkpoint = tf.train.Checkpoint(kernel=tf.Variable([1.0, weight]), seconds=tf.Variable(random.random()))
    checkpoint.write(str(folder / "checkpoints" / "step-6"))
    rows = "".join(f"{step},{loss},{rate}\n" for step in steps)
    (folder / "metrics.csv").write_text(f"step,loss,images_per_second\n{rows}")
    (folder / "summary.json").write_text(json.dumps({"metrics": {"val_loss": summary}, "wall_seconds": rate}))
    return folder


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"rate": 90.0}, []),
        (
            {"weight": 1 + 2**-23},
            ["checkpoints/step-6: kernel/.ATTRIBUTES/VARIABLE_VALUE differs by 1.19e-07"],
        ),
        ({"loss": 0.7}, [f"metrics.csv: row {row}, loss: 0.7 and not 0.5" for row in (1, 2)]),
        ({"steps": (3,)}, ["metrics.csv: 1 rows and not 2"]),
        ({"summary": 0.3}, ["metrics of summary.json: row 1, val_loss: 0.3 and not 0.25"]),
    ],
    ids=["times", "weight", "table", "row", "summary"],
)
def test_differences(changes, expected, tmp_path):
    """Each is said, down to the last bit of a weight; times are not compared."""
    assert differences(finished(tmp_path / "expected"), finished(tmp_path / "found", **changes)) == expected


def test_a_file_that_is_left(tmp_path):
    for name in ("expected", "found"):
        finished(tmp_path / name)
    (tmp_path / "found" / "summary.json.partial").touch()
    assert differences(tmp_path / "expected", tmp_path / "found") == [f"summary.json.partial is only in {tmp_path / 'found'}"]
