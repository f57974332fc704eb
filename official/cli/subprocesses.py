"""Subprocesses that stop with the command that started them, so that none keeps writing to files of a later command."""

import contextlib
import signal
import subprocess
import threading

_running = set()


def run_command(command, **options):
    """Runs a command to its end and returns its exit code. Takes the arguments of subprocess.Popen."""
    with subprocess.Popen(command, **options) as child:
        _running.add(child)
        try:
            return child.wait()
        finally:
            _running.discard(child)


@contextlib.contextmanager
def forward_sigterm():
    """Inside, a SIGTERM to this process goes to the commands of `run_command` instead, as Ctrl-C on a terminal does by itself.

    Has no effect outside the main thread, in which alone Python can set signal handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def pass_on(signum, frame):
        for child in list(_running):
            child.terminate()

    before = signal.signal(signal.SIGTERM, pass_on)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
