"""A run whose data has a bad example: refused in one sentence, and gone on with when it is to be skipped."""

import json

import pytest

from official import train
from official.files.tables import read_table
from tests.official.tiny import DENSE, command, run_command, tiny_config, without_export
from tests.vision.pictures import write_files
from vision.data import open_dataset

SETTINGS = {
    **DENSE,
    "data.name": "folder",
    "data.cache_mib": 0,  # read while training
    "model.classes": 2,
    "model.channels": 3,
    "train.checkpoint_every": 1,
    "train.batch_size": 8,
    "train.steps": 6,
    "train.eval_every": 6,
}


@pytest.fixture(autouse=True)
def quick():
    """The runs of this process; what they export is not looked at."""
    with without_export():
        yield


@pytest.fixture
def folder(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / "images" / "train" / label).mkdir(parents=True)
        write_files(tmp_path / "images" / "train" / label, 20)
    return tmp_path / "images"


def corrupt(folder, position):
    """The path of the image at that position of the run's stream, which is no longer one."""
    source = open_dataset("folder", str(folder)).source("train[:90%]", 1)
    ((_, index, *_),) = source.shuffled(0, position).take(1)
    path = source.name_of(int(index))
    with open(path, "wb") as file:
        file.write(b"This is no image.")
    return path


@pytest.mark.further
def test_stopped_and_gone_on_with(folder, tmp_path, capsys):
    """At the fourth step; the steps before it are kept, skipping may be chosen then, and the summary counts one."""
    path, workdir = corrupt(folder, 27), tmp_path / "run"
    settings = {**SETTINGS, "data.dir": str(folder)}
    done = run_command(command(workdir, **settings))
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {path}: it cannot be decoded (")
    assert done.stderr.endswith("(data.bad_examples='skip' leaves such examples out and counts them)\n")
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stdout
    assert not (workdir / "summary.json").exists()

    summary = train.run(tiny_config(settings, {"data.bad_examples": "skip"}), workdir)
    said = capsys.readouterr().out
    assert "data.bad_examples: 'refuse' -> 'skip'" in said
    assert "Resuming from the checkpoint of step 3." in said
    assert f"1 images were skipped as bad, such as {path}" in said
    assert summary["bad_examples"]["count"] == 1
    assert list(summary["bad_examples"]["first"]) == [path]
    assert json.loads((workdir / "summary.json").read_text())["bad_examples"] == summary["bad_examples"]
    assert [row["step"] for row in read_table(workdir / "metrics.csv")] == ["6"]


def test_refused_before_it_begins(folder, tmp_path):
    """Where the images are held in memory, nothing is written."""
    path = corrupt(folder, 0)
    config = tiny_config(SETTINGS, {"data.dir": str(folder), "data.cache_mib": 8})
    with pytest.raises(ValueError) as error:
        train.run(config, tmp_path / "run")
    assert str(error.value).startswith(f"{path}: it cannot be decoded (")
    assert not (tmp_path / "run").exists()


@pytest.mark.further
def test_no_bad_example_is_no_news(folder, tmp_path, capsys):
    summary = train.run(tiny_config(SETTINGS, {"data.dir": str(folder)}, steps=2), tmp_path / "run")
    assert summary["bad_examples"] == {"count": 0, "first": {}}
    assert "skipped" not in capsys.readouterr().out
