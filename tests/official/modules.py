"""What tests of exported models share: processes that have TensorFlow and nothing of ours, and what a graph holds."""

import json
import subprocess
import sys

from tensorflow.core.protobuf import saved_model_pb2

from tests.graphs import xla_calls
from tests.official.tiny import environment

OURS = ("official", "vision", "bert", "widenet", "tests")


def run_elsewhere(code, folder, *arguments):
    """What a process that has nothing of ours prints as JSON in its last line.

    Args:
      code: of Python; `sys` is imported.
      folder: a pathlib.Path to stand in.
      *arguments: sys.argv[1:].
    """
    code = f"import json, sys\n{code}\nassert not {{name.split('.')[0] for name in sys.modules}} & set({OURS!r})\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, *map(str, arguments)],  # -I: neither the working directory nor PYTHONPATH is looked at
        cwd=folder,
        env=environment(TF_CPP_MIN_LOG_LEVEL="3"),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def xla_calls_of(saved_model):
    """tests.graphs.xla_calls of a SavedModel's folder, a pathlib.Path."""
    saved = saved_model_pb2.SavedModel.FromString((saved_model / "saved_model.pb").read_bytes())
    (graph,) = (meta.graph_def for meta in saved.meta_graphs)
    return xla_calls(graph)
