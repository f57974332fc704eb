"""What becomes of the commands that a command runs when it is told to stop."""

import os
import signal
import subprocess
import sys
import time

from official.cli.subprocesses import run_command
from tests.official.tiny import ROOT

# Two children at a time: each tells that it is there, and what it was told.
PARENT = """
import sys
from official.cli.subprocesses import run_command
from official.training.seeds import call_each

CHILD = '''
import pathlib, signal, sys, time
def stop(signum, frame):
    pathlib.Path(sys.argv[1]).write_text("stopped")
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
pathlib.Path(sys.argv[1]).write_text("running")
time.sleep(120)
'''

def child(place):
    return run_command([sys.executable, "-c", CHILD, place])

print(sorted(code for _, code in call_each(child, [(sys.argv[1] + "/0",), (sys.argv[1] + "/1",)], parallel=2)))
"""


def test_exit_code():
    assert run_command([sys.executable, "-c", "raise SystemExit(3)"]) == 3


def test_sigterm_reaches_the_children(tmp_path):
    """Sent to the parent alone, both have it, and the parent ends after them with what they ended with."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    places = [tmp_path / "0", tmp_path / "1"]
    try:
        deadline = time.monotonic() + 60
        while not all(place.exists() and place.read_text() for place in places):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(parent.pid, signal.SIGTERM)
        out, _ = parent.communicate(timeout=60)
    finally:
        parent.kill()
    assert [place.read_text() for place in places] == ["stopped", "stopped"]
    assert out == "[143, 143]\n"
    assert parent.returncode == 0
