"""The plugin that fails slow tests without a marker, on a small suite and with a limit of half a second."""

import re
import subprocess
import sys

import pytest

from tests.official.tiny import ROOT, environment

SUITE = """
import subprocess, sys, time
import pytest
from tests.time_limit import uncounted

BUSY = "import time\\nwhile time.process_time() < 0.8: pass"

def busy():
    end = time.process_time() + 0.6
    while time.process_time() < end:
        pass

@pytest.fixture(scope="module")
def shared():
    busy()

def test_shared(shared): pass
def test_shared_again(shared): pass
def test_busy(): busy()
def test_child(): subprocess.run([sys.executable, "-c", BUSY])
def test_waiting(): time.sleep(1)
def test_uncounted():
    with uncounted():
        busy()
def test_quick(): pass

@pytest.mark.train
def test_marked(): busy()

def test_busy_and_wrong():
    busy()
    assert False
"""


@pytest.mark.further
def test_slow_tests_fail(tmp_path):
    """For set-up, call and children; not for waiting or with a marker. A test that failed anyway is reported once."""
    (tmp_path / "test_suite.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-p", "tests.time_limit", "-o", "time_limit=0.5", "-q", "test_suite.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(PYTHONPATH=str(ROOT)), capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    sentence = r"^test_suite\.py::(\w+) took [01] s of processor time in its (\w+)\. A test over 0\.5 s"
    found = re.findall(sentence, done.stdout, re.MULTILINE)
    assert found == [("test_shared", "setup"), ("test_busy", "call"), ("test_child", "call")], done.stdout
    assert re.search(r"1 failed, 8 passed, 1 warning, 3 errors", done.stdout), done.stdout
