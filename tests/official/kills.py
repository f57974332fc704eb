"""Kills a process in the midst of its work on files, again and again, and looks at what it left. Imports no TensorFlow.

python -m tests.official.kills HOW module:function FOLDER [ROUNDS] prints what was found after each kill, as a JSON list. The
function takes a pathlib.Path of an empty folder and returns three functions without arguments: `begin` makes the old state of a
fresh folder, `act` is what gets killed, and `look` tells what is there, or raises.
"""

import importlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

MEMORY = pathlib.Path("/dev/shm")
FILE_OPERATIONS = ("open", "os.", "shutil.", "fcntl.")


def found_after_kills(how, case, rounds=20, timeout=300):
    """What a case finds after each kill; the last is after an act that nobody killed.

    Its folder is in memory where that is possible: waiting for a disk, which acts do, would take most of the time.

    Args:
      how: "at_every_step", before the first operation on files, the second and so on until the act gets through; or
        "at_random", at seeded moments of the time that the act takes.
      case: "module:function".
    """
    from tests.official.tiny import ROOT, environment  # with TensorFlow, which is slow to fork

    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        command = [sys.executable, "-m", "tests.official.kills", how, case, f"{folder}/place", str(rounds)]
        done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def at_every_step(begin, act, look, folder, rounds):
    del rounds
    found, killed = [], True
    while killed:
        step = len(found) + 1
        _fresh(folder, begin)
        killed = _wait(_fork(lambda step=step: (_die_at(step), act())))
        found.append(look())
    return found


def at_random(begin, act, look, folder, rounds):
    moments = random.Random(0)
    _fresh(folder, begin)
    started = time.perf_counter()
    in_another_process(act)
    seconds = time.perf_counter() - started
    found = []
    while len(found) < rounds:
        _fresh(folder, begin)
        child = _fork(act)
        time.sleep(moments.uniform(0, seconds))
        os.kill(child, signal.SIGKILL)
        _wait(child)
        found.append(look())
    _fresh(folder, begin)
    in_another_process(act)
    return [*found, look()]


def in_another_process(act):
    """Acts in a child process, to its end."""
    assert not _wait(_fork(act))


def _fresh(folder, begin):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    begin()


def _fork(act):
    """The id of a child process that acts and exits."""
    child = os.fork()
    if child:
        return child
    try:
        act()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(1)  # never on into what the parent does


def _wait(child):
    """Whether a child was killed; it must not have failed otherwise."""
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), f"the act exited with {status}"
    return status != 0


def _die_at(step):
    """Kills this process before its so manieth operation on files from now on."""
    count = 0

    def hook(event, arguments):
        nonlocal count
        count += event.startswith(FILE_OPERATIONS)
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


if __name__ == "__main__":
    HOW, CASE, FOLDER, ROUNDS = sys.argv[1:]
    MODULE, _, FUNCTION = CASE.partition(":")
    PLACE = pathlib.Path(FOLDER)
    FUNCTIONS = getattr(importlib.import_module(MODULE), FUNCTION)(PLACE)
    print(json.dumps({"at_every_step": at_every_step, "at_random": at_random}[HOW](*FUNCTIONS, PLACE, int(ROUNDS))))
