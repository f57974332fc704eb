"""A line on the terminal that says how far something is."""

import shutil
import sys
import time

UNITS = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3))


class StatusLine:
    """Shows one line in place of the last one; where output is no terminal, one after the other.

    Args:
      refresh: seconds in which a line is shown at most once.
      log_every: the same where output is no terminal; None for no line but those that stay.
    """

    def __init__(self, refresh=0.25, log_every=None):
        self.is_terminal = sys.stdout.isatty()
        self._refresh = refresh if self.is_terminal else log_every
        self._shown = float("-inf") if self.is_terminal else time.perf_counter()

    def is_due(self):
        """Whether a line would be shown now."""
        return self._refresh is not None and time.perf_counter() - self._shown >= self._refresh

    def show(self, text):
        """Shows a line, cut to the width of the terminal."""
        if self.is_terminal:
            self._overwrite(text[: shutil.get_terminal_size().columns - 1])
        elif self._refresh is not None:
            self._overwrite(text + "\n")
        self._shown = time.perf_counter()

    def leave(self, text):
        """Shows a whole line that stays."""
        self._overwrite(text + "\n")

    def clear(self):
        """Takes the line off the terminal, for others to print there."""
        self._overwrite("")

    def _overwrite(self, text):
        if self.is_terminal:
            sys.stdout.write("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r")
        sys.stdout.write(text)
        sys.stdout.flush()


def format_bytes(count):
    """A number of bytes for people: 1.2 MB."""
    unit, divisor = next(((unit, divisor) for unit, divisor in UNITS if count >= divisor), ("bytes", 1))
    return f"{count / divisor:.{1 if divisor > 1 else 0}f} {unit}"
