"""Commands that a command runs: whoever stops the one stops the others, so that none goes on alone where a later one writes."""

import contextlib
import signal
import subprocess
import threading

_running = set()


def run_command(command, **options):
    """Runs a command to its end and returns its exit code; arguments as of subprocess.Popen."""
    with subprocess.Popen(command, **options) as child:
        _running.add(child)
        try:
            return child.wait()
        finally:
            _running.discard(child)


@contextlib.contextmanager
def forward_sigterm():
    """A SIGTERM to this process goes instead to what `run_command` is running, as an interrupt from the keyboard does by itself.

    Outside the main thread, which alone can do so, nothing changes.
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
