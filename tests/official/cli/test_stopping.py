"""Ctrl-C and SIGTERM in every phase of a run: one sentence, and the exit code that shells expect."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from official import train
from official.cli import stopping
from official.files.tables import read_table
from tests.official.test_resume import stop_at
from tests.official.tiny import DENSE, RECIPE, ROOT, command, environment, run_command, tiny_config, without_export


class Exit(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def exits(monkeypatch):
    """Exit codes; handlers are as in a process that runs the command, and as before afterwards."""
    codes = []

    def end(code):
        codes.append(code)
        raise Exit

    before = {signum: signal.getsignal(signum) for signum in stopping.SIGNALS}
    monkeypatch.setattr(os, "_exit", end)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    stopping.listen("Stopped before training.")
    yield codes
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.process)])
def test_while_libraries_are_imported(signum, tmp_path):
    """The command itself, whose TensorFlow is not there yet: no traceback, and none of the libraries' lines."""
    command = [sys.executable, "-X", "importtime", "-m", "official.train", f"--config={RECIPE}", f"--workdir={tmp_path / 'run'}"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        # Handlers are set once the command has imported this module, which -X importtime reports.
        while "official.cli.stopping" not in process.stderr.readline():
            assert process.poll() is None
        time.sleep(0.2)
        process.send_signal(signum)
        said, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + signum
    assert said.strip() == "Stopped before training; the same command starts it, or resumes it from the newest checkpoint."
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


@pytest.mark.further_cases
@pytest.mark.parametrize(
    "function, sentence",
    [
        ("create_optimizer", "Stopped before training."),
        ("write_saved_model", "Stopped before the export was finished; the same command finishes it."),
    ],
)
def test_before_and_after_training(exits, monkeypatch, tmp_path, capfd, function, sentence):
    """While the model is built, and while it is exported; the same command finishes the run."""

    def interrupted(*arguments):
        signal.raise_signal(signal.SIGTERM)

    config = tiny_config(DENSE, steps=1, eval_every=1)
    with monkeypatch.context() as patch, pytest.raises(Exit):
        patch.setattr(train, function, interrupted)
        train.run(config, tmp_path / "run")
    assert exits == [143]
    assert capfd.readouterr().out.splitlines()[-1] == sentence
    assert (tmp_path / "run").exists() == (function == "write_saved_model")
    assert not (tmp_path / "run" / "summary.json").exists()


def test_twice_while_training(exits, monkeypatch, tmp_path, capfd):
    """The first signal announces the end of the step, the second does not wait for it."""
    remember = train.SaveCheckpoints._remember

    def twice(self, signum, frame):
        remember(self, signum, frame)
        remember(self, signum, frame)

    monkeypatch.setattr(train.SaveCheckpoints, "_remember", twice)
    stop_at(monkeypatch, 1, signal.SIGINT)
    with pytest.raises(Exit):
        train.run(tiny_config(DENSE, steps=2), tmp_path)
    assert exits == [130]
    said = [line for line in capfd.readouterr().out.splitlines() if line]
    assert said[-2:] == [
        "Stopping after this step or evaluation, which is saved first; a second signal stops at once.",
        "Stopped at once; the same command resumes from the newest checkpoint, or starts again without one.",
    ]


def test_a_signal_after_the_last_checkpoint(exits, monkeypatch, tmp_path, capfd):
    """It is not lost before the export: the run stops there, and the same command exports it."""
    save = train.SaveCheckpoints.save

    def late(self, evaluation=None):
        save(self, evaluation)
        signal.raise_signal(signal.SIGHUP)

    with monkeypatch.context() as patch, without_export(), pytest.raises(train.Stopped) as stopped:
        patch.setattr(train.SaveCheckpoints, "save", late)
        train.run(tiny_config(DENSE, steps=1), tmp_path)
    assert (stopped.value.step, stopped.value.signum) == (1, signal.SIGHUP)
    assert not (tmp_path / "summary.json").exists()
    assert not (tmp_path / ".lock").exists()
    with without_export():
        assert train.run(tiny_config(DENSE, steps=1), tmp_path)["step"] == 1
    assert exits == []


def saver():
    return train.SaveCheckpoints(train.StepCounter(3, 1, "images"), None, None, 0, None)


def test_a_terminal_that_is_closed(capfd):
    """It may send several SIGHUP, and no output can be written any more: nothing of that is a second signal."""
    asked = saver()
    with asked.listening():
        for _ in range(2):
            signal.raise_signal(signal.SIGHUP)
        asked._remember(stopping.CLOSED, None)
    with pytest.raises(train.Stopped) as stopped:
        asked.stop_if_asked()
    assert stopped.value.signum == signal.SIGHUP


def test_a_signal_after_output_was_closed(capfd):
    """Ctrl-C goes to all of `train | head`: it is the first signal."""
    asked = saver()
    with asked.listening():
        asked._remember(stopping.CLOSED, None)
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(train.Stopped) as stopped:
        asked.stop_if_asked()
    assert stopped.value.signum == signal.SIGINT


def test_nohup():
    """What was ignored before stays so."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert stopping.heard() == [signal.SIGINT, signal.SIGTERM]
        with saver().listening():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


CLOSED_OUTPUT = """
import os, sys
from official.cli import stopping
stopping.listen("It is said.")
descriptor = int(sys.argv[1])
if len(sys.argv) > 2:
    os.dup2(os.open("/dev/full", os.O_WRONLY), descriptor)  # a log on a full disk
stream = {1: sys.stdout, 2: sys.stderr}[descriptor]
for _ in range(10_000):
    print("line", file=stream, flush=True)
print("not reached")
"""


@pytest.mark.parametrize("arguments", [["1"], ["2"], ["1", "full"]], ids=["stdout", "stderr", "full disk"])
def test_closed_output(arguments):
    """One sentence on the other stream, no traceback, and the exit code of a process that SIGPIPE ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", CLOSED_OUTPUT, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    closed, other = (process.stdout, process.stderr) if arguments[0] == "1" else (process.stderr, process.stdout)
    closed.close()
    said = other.read()
    assert process.wait(60) == 128 + signal.SIGPIPE
    assert said.strip() == "It is said."


@pytest.mark.process
@pytest.mark.further_cases
@pytest.mark.parametrize("closed", ["stdout", "both"])
def test_closed_while_training(tmp_path, closed):
    """`| head -1`: the step is saved, which is said on standard error if that is still there; the same command goes on."""
    workdir = tmp_path / "run"
    settings = {"train.steps": 1_000_000, "train.eval_every": 5, **DENSE}
    process = subprocess.Popen(
        command(workdir, **settings), cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        while not process.stdout.readline().startswith("step "):
            assert process.poll() is None
        process.stdout.close()
        if closed == "both":
            process.stderr.close()
        said = process.stderr.read() if closed == "stdout" else ""
        assert process.wait(100) == 128 + signal.SIGPIPE
    finally:
        process.kill()
    if closed == "stdout":
        assert said.split("\n\n")[0].strip() == "Stopping after this step or evaluation, which is saved first."
        assert re.search(r"\nStopped at step (\d+), which is saved\.", said)
        assert "Traceback" not in said
    step = int(read_table(workdir / "metrics.csv")[-1]["step"])
    done = run_command(command(workdir, **{**settings, "train.steps": step + 1}))
    assert done.returncode == 0, done.stderr
    assert "Resuming from the checkpoint of step " in done.stdout
