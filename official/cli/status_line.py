"""A status line on the terminal, such as a progress bar."""

import shutil
import sys
import time

UNITS = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3))


class StatusLine:
    """Shows each line in place of the last one; if output is not a terminal, one below the other.

    Args:
      refresh: seconds between two lines, at least.
      log_every: the same if output is not a terminal; None for no lines except those of `leave`.
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
        """Shows a line in full and keeps it."""
        self._overwrite(text + "\n")

    def clear(self):
        """Removes the line from the terminal, before something else is printed."""
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


def format_seconds(seconds):
    """Minutes and seconds, 1:05, or hours, 2:01:05."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
