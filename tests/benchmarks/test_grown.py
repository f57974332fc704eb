"""What the comparison of grown models runs: each model once, from the right start, and nothing that is finished."""

import json
import pathlib
import sys

import pytest

from benchmarks import grown


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """The commands that would run, as (what, folder, arguments)."""
    calls = []

    def train_and_evaluate(config, workdir, arguments=(), split=None, cores=None):
        calls.append((config.rpartition("/")[2], workdir.name, " ".join(arguments).replace(str(tmp_path), "W")))
        summary = dict(parameters=10, wall_seconds=60.0, git_commit="abc")
        return summary, dict(accuracy=0.5 + len(calls) / 100, loss=1.0) if split else None

    def run_command(command, stdout):
        output = next(argument for argument in command if argument.startswith("--output=")).removeprefix("--output=")
        pathlib.Path(output).mkdir()
        calls.append((command[2], pathlib.Path(output).name, " ".join(command[3:]).replace(str(tmp_path), "W")))

    monkeypatch.setattr(grown, "train_and_evaluate", train_and_evaluate)
    monkeypatch.setattr(grown, "run_command", run_command)
    return calls


@pytest.fixture(autouse=True)
def bert(tmp_path):
    """What the commands take for the dense model."""
    vocabulary = tmp_path / "bert/assets.extra/vocab.txt"
    vocabulary.parent.mkdir(parents=True)
    vocabulary.touch()


def run(monkeypatch, folder, *more):
    arguments = [
        "grown",
        f"--model={folder / 'bert'}",
        "--data=sst2",
        f"--workdir={folder / 'runs'}",
        f"--json={folder / 'a.json'}",
    ]
    monkeypatch.setattr(sys, "argv", [*arguments, *more])
    grown.main()


def test_a_widenet_learns_from_the_dense_model_of_its_seed(calls, monkeypatch, tmp_path, capsys):
    run(monkeypatch, tmp_path, "--cases=widenet_1", "--seeds=2")
    assert [call[:2] for call in calls] == [
        ("official.grow", "grown-widenet_1"),
        ("distil.py", "distilled-widenet_1"),
        ("sentiment_small.py:sst2", "sst2-dense-0"),
        ("sentiment_small.py:sst2,distil", "sst2-widenet_1-0"),
        ("distil.py", "distilled-widenet_1"),  # which is finished, as that of the dense model would be
        ("sentiment_small.py:sst2", "sst2-dense-1"),
        ("sentiment_small.py:sst2,distil", "sst2-widenet_1-1"),
    ]
    grow, distil, dense, widenet = (call[2] for call in calls[:4])
    assert "--model=W/bert" in grow
    assert "--attention=2 --experts=0,2,3,5" in grow
    assert "--config.init=W/runs/grown-widenet_1 --config.distillation.teacher=W/bert" in distil
    assert "--config.init=W/bert" in dense
    assert "--config.init=W/runs/distilled-widenet_1 --config.distillation.teacher=W/runs/sst2-dense-0" in widenet
    assert json.loads((tmp_path / "a.json").read_text())["variants"][0]["accuracies"] == pytest.approx([0.54, 0.57])
    done = len(calls)
    run(monkeypatch, tmp_path, "--cases=widenet_1", "--seeds=2")
    assert len(calls) == done
    assert "0.5550   0.0300" in capsys.readouterr().out


def test_every_case(calls, monkeypatch, tmp_path):
    """Those whose blocks share no FFN need no texts to grow; from scratch nothing is taken but the vocabulary."""
    run(monkeypatch, tmp_path)
    grown_with = {name: arguments for what, name, arguments in calls if what == "official.grow"}
    names = ("experts", "experts_taught", "shared_ffn", "widenet_1", "widenet_2", "widenet_3")
    assert set(grown_with) == {f"grown-{name}" for name in names}
    need_none = {name for name, arguments in grown_with.items() if "wikipedia" not in arguments}
    assert need_none == {"grown-experts", "grown-experts_taught"}
    (scratch,) = (arguments for _, name, arguments in calls if name == "sst2-scratch-0")
    assert "--config.data.vocabulary=W/bert/assets.extra/vocab.txt" in scratch
    assert "--config.init" not in scratch


def test_a_teacher_without_distillation_before(calls, monkeypatch, tmp_path):
    run(monkeypatch, tmp_path, "--cases=dense_taught,experts_taught")
    assert [call[:2] for call in calls] == [
        ("sentiment_small.py:sst2", "sst2-dense-0"),
        ("sentiment_small.py:sst2,distil", "sst2-dense_taught-0"),
        ("official.grow", "grown-experts_taught"),
        ("sentiment_small.py:sst2", "sst2-dense-0"),
        ("sentiment_small.py:sst2,distil", "sst2-experts_taught-0"),
    ]
    _, dense, _, _, experts = (call[2] for call in calls)
    assert "--config.init=W/bert --config.distillation.teacher=W/runs/sst2-dense-0" in dense
    assert "--config.init=W/runs/grown-experts_taught --config.distillation.teacher=W/runs/sst2-dense-0" in experts


def test_unknown_case(monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match="error: cases='dense,sparse' is not allowed: they must be some of dense, experts, "):
        run(monkeypatch, tmp_path, "--cases=dense,sparse")


def test_no_model(calls, monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match=r"error: model='.*/bert/assets.extra' is not allowed: it must be what bert.convert"):
        run(monkeypatch, tmp_path, f"--model={tmp_path / 'bert/assets.extra'}")
    assert not calls
