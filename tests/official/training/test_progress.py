"""What a run shows: a bar that fits the terminal, and lines alone where there is none."""

import io
import re
import shutil
import sys

import pytest

from official.training.callbacks import Progress

LOGS = {"loss": 2.34567, "accuracy": 0.125, "val_loss": 2.25, "val_accuracy": 0.5}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def show(refresh):
    """Two epochs of three steps of a run of twelve epochs."""
    progress = Progress(epochs=12, refresh=refresh)
    progress.set_params({"steps": 3})
    for epoch in (8, 9):
        progress.on_epoch_begin(epoch)
        for batch in range(3):
            progress.on_train_batch_end(batch, {"loss": 2.0 + batch})
        progress.on_test_begin()
        progress.on_epoch_end(epoch, dict(LOGS))


def test_lines_in_a_file(monkeypatch):
    """One whole line an epoch, and no control characters."""
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    show(refresh=0)
    assert output.getvalue().splitlines() == [
        "epoch  9/12  loss 2.346, accuracy 0.125 | validation: loss 2.25, accuracy 0.5",
        "epoch 10/12  loss 2.346, accuracy 0.125 | validation: loss 2.25, accuracy 0.5",
    ]
    assert output.getvalue().endswith("\n")
    assert "\r" not in output.getvalue()


@pytest.mark.parametrize("columns", [30, 80])
def test_bar_fits_the_terminal(monkeypatch, columns):
    """A bar that wraps would stay behind on every update. The line of an epoch, which stays on purpose, is whole."""
    output = Terminal()
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda *_: type("Size", (), {"columns": columns, "lines": 24}))
    show(refresh=0)
    parts = re.split(r"[\r]", output.getvalue())
    lines = [part for part in parts if part.endswith("\n")]
    assert len(lines) == 2
    assert all(line.endswith("validation: loss 2.25, accuracy 0.5\n") for line in lines)
    bars = [part for part in parts if part not in lines]
    assert all(len(bar) < columns for bar in bars)
    shown = [bar for bar in bars if "[" in bar]
    assert len(shown) == 2 * 4  # at the start and after each of three steps
    if columns == 80:
        assert shown[0] == "epoch  9/12 [                    ] 0/3  "
        assert shown[3] == "epoch  9/12 [====================] 3/3  loss 4"


def test_bar_is_not_redrawn_at_every_step(monkeypatch):
    """Looking at a loss means to wait for it."""
    output = Terminal()
    monkeypatch.setattr(sys, "stdout", output)
    show(refresh=1000)
    assert "1/3" not in output.getvalue()
    assert output.getvalue().count("0/3") == 2
