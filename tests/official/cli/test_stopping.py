"""Ctrl-C and SIGTERM in every phase of a run: one sentence, and the exit code that shells expect."""

import os
import signal
import subprocess
import sys
import time

import pytest

from official import train
from official.cli import stopping
from tests.official.test_resume import stop_at
from tests.official.tiny import DENSE, RECIPE, ROOT, environment, tiny_config


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
    stopping.listen("Stopped before training.")
    yield codes
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
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
