"""Ctrl-C, SIGTERM and SIGHUP end a command at once, with one sentence and the exit code of a shell: 128 + signal.

So does output that nobody reads any more (`| head`) or that cannot be written, with the code of SIGPIPE.
"""

import contextlib
import os
import signal
import sys

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CLOSED = signal.SIGPIPE  # stands for closed output. It is not sent: Python ignores it, and sockets of libraries are no output.

_sentence = "Stopped."
_descriptors = [1, 2]  # of output that is not closed


def listen(sentence):
    """From now on, signals and closed output end this process with a sentence; call it before imports that take seconds.

    The process ends without clean-up, as if it were killed, since an exception could get lost in a library. So it must leave
    nothing that its next start cannot deal with (official.files.atomic).
    """
    expect(sentence)
    for signum in heard():
        signal.signal(signum, _end)
    sys.stdout, sys.stderr = _Output(sys.stdout, 1), _Output(sys.stderr, 2)


def heard():
    """The signals of SIGNALS that are not to be ignored, as `nohup` has it for SIGHUP."""
    return [signum for signum in SIGNALS if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN]


def expect(sentence):
    """Changes the sentence, as for the next part of the work; no effect without `listen`."""
    global _sentence
    _sentence = sentence


def say(sentence):
    """Prints a line, also from within a handler of signals, where print may be in the midst of another line.

    It goes to standard error where standard output is closed.
    """
    with contextlib.suppress(RuntimeError, OSError):
        sys.stdout.flush()
    for descriptor in _descriptors:
        with contextlib.suppress(OSError):
            os.write(descriptor, f"\n{sentence}\n".encode())
            return


def _end(signum, frame):
    say(_sentence)
    os._exit(128 + signum)


class _Output:
    """A standard stream. Once it is closed, or cannot be written, that is as if a signal came, and later output is dropped."""

    def __init__(self, stream, descriptor):
        self._stream = stream
        self._descriptor = descriptor

    def write(self, text):
        return self._try(self._stream.write, text)

    def writelines(self, lines):
        return self._try(self._stream.writelines, lines)

    def flush(self):
        return self._try(self._stream.flush)

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def _try(self, function, *arguments):
        try:
            return function(*arguments)
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._descriptor)
            os.close(nowhere)
            if self._descriptor in _descriptors:
                _descriptors.remove(self._descriptor)
            signal.getsignal(signal.SIGTERM)(CLOSED, None)
            return None
