"""The command line: one line for what is wrong, nothing of TensorFlow's noise, stopped and gone on with."""

import re
import signal
import subprocess
import sys
import time
from unittest import mock

import pytest
from absl.testing import flagsaver

from official import train
from official.cli.recipe_flag import parse_flags
from official.files.tables import read_table
from tests.official.tiny import DENSE, RECIPE, ROOT, command, environment, run_command


def refusal(*arguments):
    """What the command says before it exits with an error, run in this process."""
    argv = ["official.train", *arguments]
    with flagsaver.flagsaver(), mock.patch.object(sys, "argv", argv), pytest.raises(SystemExit) as stopped:
        train.main(parse_flags(argv))
    assert isinstance(stopped.value.code, str)  # which Python prints, to exit with 1
    return stopped.value.code


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(
    "key, near",
    [
        ("train.step", "train.steps"),
        ("model.depht", "model.depth"),
        ("trian.lr", "train.lr"),
        ("modle.depth", "model.depth"),
        ("nmae", "name"),
    ],
)
def test_unknown_setting(tmp_path, key, near):
    """A typo in a key, or in its section: one line that names it and the nearest."""
    said = refusal(f"--config={RECIPE}", f"--workdir={tmp_path}", f"--config.{key}=3")
    assert said.startswith(f"error: --config.{key} is not a setting of {RECIPE} (did you mean {near}?); its settings there: ")
    assert "\n" not in said
    assert not list(tmp_path.iterdir())


def test_unknown_setting_of_a_recipe_in_two_words(tmp_path):
    """absl takes `--config FILE` as well as `--config=FILE`."""
    said = refusal("--config", RECIPE, f"--workdir={tmp_path}", "--config.train.step=3")
    assert said.startswith("error: --config.train.step is not a setting")


@pytest.mark.parametrize("recipe", ["vision/configs/nothing.py", "vision/configs"])
def test_recipe_that_is_not_there(tmp_path, recipe):
    """Named, in one line."""
    said = refusal(f"--config={recipe}", f"--workdir={tmp_path}")
    assert said.startswith("error: ")
    assert recipe in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "argument, message",
    [
        ("--config.model.heads=7", "heads=7 is not allowed: it must be a divisor of width=96"),
        ("--config.model.depth=abc", "depth='abc' is not allowed"),
        ("--config.train.steps=0", "train.steps=0 is not allowed: it must be at least 1"),
        ("--config.train.strategy=mirrord", "train.strategy='mirrord' is not allowed"),
        ("--config.data.name=mnist", "data.name='mnist' is not allowed"),
    ],
)
def test_refused_value(tmp_path, argument, message):
    """Setting, value and what is allowed, in one line."""
    said = refusal(f"--config={RECIPE}", f"--workdir={tmp_path}", argument)
    assert said.startswith("error: " + message)
    assert "\n" not in said


def test_exit_of_an_unknown_setting(tmp_path):
    """The same as a user sees it: on standard error, not 0, no traceback, nothing on standard output."""
    done = run_command(command(tmp_path / "run", **{"train.step": 3}))
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"error: --config.train.step is not a setting of {RECIPE}")
    assert "(did you mean train.steps?)" in done.stderr
    assert not (tmp_path / "run").exists()


def test_help_is_quiet():
    """What it does and its flags, and no line of TensorFlow. The exit code is 0, since asking for help is not an error."""
    done = run_command([sys.executable, "-m", "official.train", "--help"])
    assert (done.returncode, done.stderr) == (0, "")
    assert "The training driver" in done.stdout
    assert "--workdir" in done.stdout


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "--config and --workdir must be given; --help prints all arguments"),
        ([f"--config={RECIPE}"], "--workdir must be given; --help prints all arguments"),
        (["--config=", "--workdir=there"], "--config=: no such file"),
        (["--config=vision/recipes.py"], "--config=vision/recipes.py: it is not a recipe, which has a function get_config()"),
        ([f"--config={RECIPE}", "--workdr=there"], "Unknown command line flag 'workdr'. Did you mean: workdir ?"),
        ([f"--config={RECIPE}", "workdir=there"], "workdir=there is not allowed: arguments must be given as --NAME=VALUE"),
        ([f"--config={RECIPE}", "--config.train.steps=1.5"], "flag --config.train.steps=1.5: invalid literal for int()"),
        ([f"--config={RECIPE}", "--config.train=3"], f"--config.train is not a setting of {RECIPE} (did you mean train."),
    ],
)
def test_wrong_arguments(arguments, message):
    """One sentence each, without the page of usage that absl prints."""
    said = refusal(*arguments)
    assert said.startswith(f"error: {message}")
    assert "\n" not in said


def test_recipe_without_arguments(tmp_path):
    (tmp_path / "recipe.py").write_text("def get_config():\n    return {}\n")
    assert refusal(f"--config={tmp_path}/recipe.py:7") == (
        f"error: --config={tmp_path}/recipe.py:7: get_config: too many positional arguments"
    )


@pytest.mark.process
def test_stopped_and_gone_on_with(tmp_path):
    """SIGTERM saves the step, says so and exits as shells expect; the same command goes on; both are quiet all the while.

    Beside it, the same command is refused and hinders nothing.
    """
    workdir = tmp_path / "run"
    settings = {"train.steps": 1_000_000, "train.eval_every": 50, "train.checkpoint_every": 20, **DENSE}
    process = subprocess.Popen(
        command(workdir, **settings),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 200
        while not (workdir / "checkpoints" / "checkpoint").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        other = run_command(command(workdir, **settings))
        assert other.returncode == 1
        assert other.stderr.startswith(f"error: process {process.pid} on ")
        assert other.stderr.endswith(f" trains in {workdir}: wait until it has finished, stop it, or choose another --workdir\n")
        process.send_signal(signal.SIGTERM)
        said, error = process.communicate(timeout=100)
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGTERM
    assert error == ""
    step = int(re.search(r"Stopped at step (\d+), which is saved\.", said).group(1))
    assert step >= 20
    assert (workdir / "checkpoints" / f"step-{step}.index").exists()

    settings["train.steps"] = step + 3
    done = run_command(command(workdir, **settings))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert f"Resuming from the checkpoint of step {step}." in done.stdout
    steps = [int(row["step"]) for row in read_table(workdir / "metrics.csv")]
    assert steps == [*range(50, step + 3, 50), step + 3]
    for name in ("saved_model", "curves.png", "summary.json", "metrics.csv", "tensorboard", "checkpoints"):
        assert f"  {workdir / name}: " in done.stdout
        assert (workdir / name).exists()
