"""One line on a terminal, and in a file now and then one."""

import io
import shutil
import sys

import pytest

from official.cli.status_line import StatusLine, format_seconds


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(monkeypatch, output, **settings):
    """What two lines and one that stays leave of themselves."""
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda *_: type("Size", (), {"columns": 11, "lines": 24}))
    line = StatusLine(**settings)
    for text in ("one", "a line of more than its width"):
        if line.is_due():
            line.show(text)
    line.clear()
    line.leave("this one stays")
    return output.getvalue()


def test_terminal(monkeypatch):
    """Each in place of the last one, and cut where it would wrap, but for what stays."""
    erased = "\r" + " " * 10 + "\r"
    expected = f"{erased}one{erased}a line of {erased}{erased}this one stays\n"
    assert shown(monkeypatch, Terminal(), refresh=0) == expected
    assert shown(monkeypatch, Terminal(), refresh=1000) == f"{erased}one{erased}{erased}this one stays\n"


def test_file(monkeypatch):
    """Whole lines, as often as was asked for."""
    assert shown(monkeypatch, io.StringIO(), refresh=0) == "this one stays\n"
    assert shown(monkeypatch, io.StringIO(), log_every=1000) == "this one stays\n"
    assert shown(monkeypatch, io.StringIO(), log_every=0) == "one\na line of more than its width\nthis one stays\n"


@pytest.mark.parametrize("seconds, text", [(4.6, "0:05"), (65, "1:05"), (3599.7, "1:00:00"), (7265, "2:01:05")])
def test_times(seconds, text):
    assert format_seconds(seconds) == text
