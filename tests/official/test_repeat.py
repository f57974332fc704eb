"""Several seeds of a recipe: what is run, what is not run again, and what is told of all of them."""

import json
import sys
import threading
import time

import pytest

from official import repeat
from official.training import seeds
from official.training.seeds import RunFailed, call_each, figures, train_and_evaluate
from tests.official.tiny import DENSE, RECIPE, ROOT, SETTINGS


class Commands:
    """Stands for run_command: keeps the commands, and writes what they would leave."""

    def __init__(self, fail=lambda command: 0):
        self.commands = []
        self._fail = fail

    def __call__(self, command, stdout, env):
        self.commands.append(command[2:])
        assert command[:2] == [sys.executable, "-m"]
        stdout.write(f"output of {command[2]}\n")
        given = dict(argument.lstrip("-").split("=", 1) for argument in command[3:])
        code = self._fail(command)
        if not code and command[2] == "official.train":
            folder, seed = given["workdir"], int(given["config.train.seed"])
            self._write(folder, "config.json", dict(task="mine.tasks:Mine", distillation=dict(task="wrapped:Task")))
            self._write(folder, "summary.json", dict(exported_step=10 + seed, step=20, wall_seconds=90.0))
        elif not code:
            seed = int(given["model"][-1])
            metrics = dict(accuracy=[0.5, 0.9, 0.6][seed], loss=1.0 + seed, **({"only_first": 1.0} if not seed else {}))
            self._write(f"{given['model']}/evaluation/{given['split']}", "metrics.json", dict(metrics=metrics))
        return code

    def _write(self, folder, name, content):
        path = repeat.pathlib.Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(json.dumps(content))


@pytest.fixture
def commands(monkeypatch):
    """A function that puts Commands in place."""

    def use(**options):
        stand_in = Commands(**options)
        monkeypatch.setattr(seeds, "run_command", stand_in)
        return stand_in.commands

    return use


def test_figures_by_hand():
    assert figures([0.5, 0.9, 0.6, 0.8]) == dict(
        values=[0.5, 0.9, 0.6, 0.8], median=pytest.approx(0.7), mean=pytest.approx(0.7), spread=pytest.approx(0.4)
    )


def test_what_is_run(commands, tmp_path):
    """Each seed is trained with the settings given and evaluated; what the commands print is kept."""
    done = commands()
    found = repeat.repeat("recipe.py:a", tmp_path / "runs", 2, "test", ["--config.train.lr=0.1"])
    assert done == [
        command
        for seed in range(2)
        for command in (
            [
                "official.train",
                "--config=recipe.py:a",
                f"--workdir={tmp_path}/runs/seed-{seed}",
                f"--config.train.seed={seed}",
                "--config.train.lr=0.1",
            ],
            [
                "official.evaluate",
                f"--model={tmp_path}/runs/seed-{seed}",
                "--split=test",
                "--task_module=mine.tasks",
                "--task_module=wrapped",
            ],
        )
    ]
    assert found == {"accuracy": figures([0.5, 0.9]), "loss": figures([1.0, 2.0])}
    written = json.loads((tmp_path / "runs" / "repeat.json").read_text())
    assert written["metrics"] == found
    assert (written["config"], written["split"], written["arguments"]) == ("recipe.py:a", "test", ["--config.train.lr=0.1"])
    assert [(run["seed"], run["step"]) for run in written["runs"]] == [(0, 10), (1, 11)]
    assert {"versions", "git_commit"} <= set(written)
    assert (tmp_path / "runs" / "seed-1.log").read_text() == "output of official.train\noutput of official.evaluate\n"


def test_goes_on(commands, tmp_path, capsys):
    """After a failure only the other seeds are done; fewer seeds are the first ones; another split is evaluated anew."""
    commands(fail=lambda command: 3 if command[-1] == "--config.train.seed=1" else 0)
    with pytest.raises(RunFailed, match=r"official\.train of .*seed-1 ended with code 3; the same command resumes"):
        repeat.repeat("recipe.py", tmp_path, 3, "test")
    done = commands()
    assert repeat.repeat("recipe.py", tmp_path, 3, "test")["accuracy"] == figures([0.5, 0.9, 0.6])
    assert [command[1][-6:] for command in done if command[0] == "official.evaluate"] == ["seed-1", "seed-2"]
    done = commands()
    assert repeat.repeat("recipe.py", tmp_path, 2, "test")["accuracy"] == figures([0.5, 0.9])
    assert done == []
    assert "seed 0: accuracy 0.5000, loss 1.0000, only_first 1.0000 at step 10, after 1.5 minutes" in capsys.readouterr().out
    repeat.repeat("recipe.py", tmp_path, 3, "validation")
    assert len(done) == 6


def test_cores(monkeypatch, tmp_path):
    """Threads of TensorFlow, as many as the cores of a run."""
    seen = []

    def run(command, stdout, env):
        seen.append([env.get(f"TF_NUM_{which}OP_THREADS") for which in ("INTRA", "INTER")])
        return 1

    monkeypatch.setattr(seeds, "run_command", run)
    for name in ("INTRA", "INTER"):
        monkeypatch.delenv(f"TF_NUM_{name}OP_THREADS", raising=False)
    for cores in (3, None):
        with pytest.raises(RunFailed):
            train_and_evaluate("recipe.py", tmp_path / "run", cores=cores)
    assert seen == [["3", "3"], [None, None]]


def test_calls_at_a_time():
    """Two wait for each other; after an error none begins any more."""
    barrier = threading.Barrier(2, timeout=60)

    def together(number, word):
        barrier.wait()
        return word * number

    assert sorted(call_each(together, [(1, "a"), (2, "b")], parallel=2)) == [((1, "a"), "a"), ((2, "b"), "bb")]
    begun = []

    def fail(number):
        begun.append(number)
        time.sleep(0.01)  # all are waiting for the pool when it ends
        raise RunFailed(str(number))

    with pytest.raises(RunFailed, match="0"):
        list(call_each(fail, [(0,), (1,), (2,), (3,)]))
    assert begun == [0]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ["--config.train.seed=3"],
            "--config.train.seed=3 is not allowed: the seeds are 0 to --seeds less 1",
        ),
        (["--seed=3"], "--seed=3 is not allowed: settings are given as --config.SETTING=VALUE"),
        (["--config.train.lr", "0.1"], "--config.train.lr is not allowed: settings are given as --config.SETTING=VALUE"),
        (["--seeds=0"], "'0' is not allowed: it must be a whole number, at least 1"),
    ],
)
def test_refused(commands, monkeypatch, capsys, tmp_path, arguments, message):
    done = commands()
    monkeypatch.setattr("sys.argv", ["repeat", "--config=recipe.py", f"--workdir={tmp_path}", *arguments])
    with pytest.raises(SystemExit):
        repeat.main()
    assert message in capsys.readouterr().err
    assert done == []


def test_command(commands, monkeypatch, capsys, tmp_path):
    """A table of all metrics; one sentence for a run that failed."""
    arguments = ["repeat", "--config=recipe.py", f"--workdir={tmp_path}", "--seeds=3"]
    monkeypatch.setattr("sys.argv", arguments)
    commands()
    repeat.main()
    lines = capsys.readouterr().out.splitlines()
    assert "recipe.py, 3 seeds, validation split:" in lines
    assert "accuracy  0.6000  0.6667  0.4000  0.5000 0.9000 0.6000" in lines
    assert lines[-1] == f"  {tmp_path / 'repeat.json'}"
    commands(fail=lambda command: 1)
    monkeypatch.setattr("sys.argv", [*arguments[:-1], "--seeds=4"])
    with pytest.raises(SystemExit, match="error: official.train of .*seed-3 ended with code 1"):
        repeat.main()


@pytest.mark.process
def test_real_runs(monkeypatch, tmp_path):
    """Two seeds of the tiny recipe, by real commands, whose metrics are those of their evaluations."""
    monkeypatch.chdir(ROOT)
    settings = {**SETTINGS, **DENSE, "train.steps": 2, "train.eval_every": 1, "train.best": "accuracy"}
    found = repeat.repeat(RECIPE, tmp_path, 2, "validation", [f"--config.{key}={value}" for key, value in settings.items()])
    for metric in ("top_1", "loss"):
        values = [
            json.loads((tmp_path / f"seed-{seed}" / "evaluation" / "validation" / "metrics.json").read_text())["metrics"][metric]
            for seed in range(2)
        ]
        assert found[metric] == figures(values)
    assert found["loss"]["spread"] > 0
