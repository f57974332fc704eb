"""A Python that has TensorFlow and nothing of ours, for tests of what others load.

It is started once and imports TensorFlow once. Each piece of code runs in a fork of it, so that none finds anything of another:
neither modules nor registered classes nor limits of memory.
"""

import atexit
import functools
import json
import pathlib
import subprocess
import sys
import tempfile

from tests.official.tiny import environment

OURS = ("official", "vision", "bert", "widenet")
SERVER = """
import importlib.util, json, os, signal, sys, traceback
import tensorflow

ours = sys.argv[1].split()
assert not any(map(importlib.util.find_spec, ours)), sys.path

def serve(request):
    signal.alarm(600)
    for number, path in enumerate(request["outputs"], 1):
        os.dup2(os.open(path, os.O_WRONLY), number)
    os.chdir(request["folder"])
    os.environ.update(request["variables"])
    sys.argv[1:] = request["arguments"]
    exec(compile(request["code"], "code", "exec"), {"__name__": "__main__"})
    found = {name.split(".")[0] for name in sys.modules} & set(ours)
    assert not found, f"modules of ours: {found}"

for line in sys.stdin:
    child = os.fork()
    if not child:
        status = 1
        try:
            serve(json.loads(line))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def run_elsewhere(code, folder, *arguments, **variables):
    """What the code prints as JSON in its last line.

    Args:
      code: of Python; `json` and `sys` are imported.
      folder: a pathlib.Path to stand in.
      *arguments: sys.argv[1:].
      **variables: of the environment, beside those of a user who has set nothing for TensorFlow.
    """
    server = _server()
    with tempfile.TemporaryDirectory() as place:
        outputs = [pathlib.Path(place, name) for name in ("output", "error")]
        for path in outputs:
            path.touch()
        request = dict(
            code=f"import json, sys\n{code}",
            folder=str(folder),
            arguments=[str(argument) for argument in arguments],
            variables=variables,
            outputs=[str(path) for path in outputs],
        )
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        status = server.stdout.readline()
        output, error = (path.read_text() for path in outputs)
    assert status == "0\n", error or "the process could not begin"
    return json.loads(output.splitlines()[-1])


@functools.cache
def _server():
    server = subprocess.Popen(
        [sys.executable, "-I", "-c", SERVER, " ".join(OURS)],  # -I: neither the working directory nor PYTHONPATH is looked at
        cwd="/",
        env=environment(TF_CPP_MIN_LOG_LEVEL="3"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(server.kill)
    return server
