"""What work before training shows while it goes on."""

import shutil
import sys
import time


class Stage:
    """A count that goes up to a total on a terminal, and one line when it is over; where output is no terminal, only the line.

    Use as a context manager. An error inside ends it without the line.

    Args:
      what: what is counted, for the line ("squad/v2.0, train: questions").
      total: how many there are.
      refresh: seconds between two looks.
    """

    def __init__(self, what, total, refresh=0.25):
        self._what = what
        self._total = total
        self._refresh = refresh
        self._is_terminal = sys.stdout.isatty()
        self._done = 0

    def __enter__(self):
        self._began = self._shown = time.perf_counter()
        return self

    def add(self, count):
        """Takes note of `count` more that are done."""
        self._done += count
        now = time.perf_counter()
        if self._is_terminal and now - self._shown >= self._refresh:
            self._show(f"{self._what} {self._done:,} of {self._total:,}")
            self._shown = now

    def __exit__(self, kind, error, trace):
        self._show("")
        if error is None:
            print(f"{self._what} {self._done:,} in {time.perf_counter() - self._began:.1f} s", flush=True)

    def _show(self, text):
        """In place of what stands on the line."""
        if self._is_terminal:
            width = shutil.get_terminal_size().columns - 1
            sys.stdout.write("\r" + " " * width + "\r" + text[:width])
            sys.stdout.flush()
