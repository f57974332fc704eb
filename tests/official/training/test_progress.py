"""What a run shows: a bar that fits the terminal, and lines alone where there is none."""

import io
import itertools
import re
import shutil
import sys

import numpy as np
import pytest

from official.training.callbacks import Progress
from official.training.devices import peak_memory

LOGS = {"loss": 2.34567, "accuracy": 0.125, "val_loss": 2.25, "val_accuracy": 0.5}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def show(refresh):
    """Two evaluations, after three steps of four images each, of a run of twelve steps that began at its fourth.

    Every look at the clock is ten seconds after the last one.
    """
    ticks = itertools.count(60, 10)
    progress = Progress(3, 12, 4, "images", clock=lambda: next(ticks), memory=lambda: 1_234_000_000, refresh=refresh)
    for epoch in (1, 2):
        progress.on_epoch_begin(epoch)
        for batch in range(3):
            progress.on_train_batch_end(batch, {"loss": 2.0 + batch})
        progress.on_test_begin()
        progress.on_epoch_end(epoch, dict(LOGS))


METRICS = "loss 2.346, accuracy 0.125 | validation: loss 2.25, accuracy 0.5"


def test_lines_in_a_file(monkeypatch):
    """One whole line an evaluation, and no control characters; times and rates by hand.

    Looks at the clock: at 60 s the session begins, at 70 s its first step is done, at 80 s the third, 8 images later, at 90 s the
    evaluation: 2 steps of 10 s each, so 6 more take 60 s. From 100 s on the next three steps, done at 110 s.
    """
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    show(refresh=1000)
    assert output.getvalue().splitlines() == [
        f"step  6/12  {METRICS} | 1:30, 1:00 left, 0.8 images/s, 1.2 GB",
        f"step  9/12  {METRICS} | 2:00, 0:30 left, 1.2 images/s, 1.2 GB",
    ]
    assert output.getvalue().endswith("\n")
    assert "\r" not in output.getvalue()


def test_metrics_of_blocks(monkeypatch):
    """One entry for all blocks, with two digits of each, where the first of them stands."""
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    logs = {"loss": 0.5, "block_1_unexplained": 0.0432, "block_2_unexplained": 1.26, "logits_unexplained": 0.25, "block": 3.0}
    progress = Progress(3, 12, 4, "images", clock=lambda: 60, memory=lambda: 1_234_000_000)
    progress.on_epoch_begin(1)
    progress.on_epoch_end(1, logs)
    text = "loss 0.5, unexplained by block 0.043 1.3, logits_unexplained 0.25, block 3"
    assert output.getvalue() == f"step  3/12  {text} | 1:00, 1.2 GB\n"


@pytest.mark.parametrize("columns", [30, 80])
def test_bar_fits_the_terminal(monkeypatch, columns):
    """A bar that wraps would stay behind on every update. The line of an evaluation, which stays on purpose, is whole."""
    output = Terminal()
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda *_: type("Size", (), {"columns": columns, "lines": 24}))
    show(refresh=0)
    parts = re.split(r"[\r]", output.getvalue())
    lines = [part for part in parts if part.endswith("\n")]
    assert len(lines) == 2
    assert all(METRICS in line and line.endswith(" images/s, 1.2 GB\n") for line in lines)
    bars = [part for part in parts if part not in lines]
    assert all(len(bar) < columns for bar in bars)
    shown = [bar for bar in bars if "[" in bar]
    assert len(shown) == 2 * 4  # at the start and after each of three steps
    if columns == 80:
        assert shown[0] == "step  3/12 [==        ] 1:10, 1.2 GB  "
        assert re.fullmatch(r"step  9/12 \[=======   \] \d:\d\d, \d:\d\d left, 0\.2 images/s, 1\.2 GB  loss 4", shown[-1])


def test_bar_is_not_redrawn_at_every_step(monkeypatch):
    """Reading a loss waits for it."""
    output = Terminal()
    monkeypatch.setattr(sys, "stdout", output)
    show(refresh=1000)
    assert "step  4/12" not in output.getvalue()
    assert output.getvalue().count("step  3/12") == 1


def test_peak_memory():
    """Of this process, which has TensorFlow in it, in bytes; it never falls."""
    before = peak_memory()
    assert 10**8 < before < 10**12
    block = np.ones(10**7)  # 80 MB
    assert before <= peak_memory() <= before + 10**9
    del block
