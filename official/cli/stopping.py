"""Ctrl-C and SIGTERM end a command at once, with one sentence and the exit code of a shell: 128 + signal."""

import contextlib
import os
import signal
import sys

SIGNALS = (signal.SIGINT, signal.SIGTERM)

_sentence = "Stopped."


def listen(sentence):
    """From now on, SIGINT and SIGTERM end this process with a sentence; call it before imports that take seconds.

    The process ends without clean-up, as if it were killed, since an exception could get lost in a library. So it must leave
    nothing that its next start cannot deal with (official.files.atomic).
    """
    expect(sentence)
    for signum in SIGNALS:
        signal.signal(signum, _end)


def expect(sentence):
    """Changes the sentence, as for the next part of the work; no effect without `listen`."""
    global _sentence
    _sentence = sentence


def say(sentence):
    """Prints a line from within a handler of signals, where print may be in the midst of another line."""
    with contextlib.suppress(RuntimeError):
        sys.stdout.flush()
    os.write(1, f"\n{sentence}\n".encode())


def _end(signum, frame):
    say(_sentence)
    os._exit(128 + signum)
