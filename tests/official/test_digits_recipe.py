"""The recipe that users meet first, as they run it."""

import json
import subprocess
import sys

import pytest

from official.files.tables import read_table
from tests.official.tiny import RECIPE, ROOT, environment


def is_of_this_commit(workdir):
    """Whether a finished run is there that was made by the very code that is tested."""
    if not (workdir / "summary.json").exists():
        return False
    summary = json.loads((workdir / "summary.json").read_text())
    git = dict(cwd=ROOT, capture_output=True, text=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], **git).stdout.strip()
    modified = subprocess.run(["git", "status", "--porcelain"], **git).stdout.strip()
    return summary["git_commit"] == head and not summary["git_modified"] and not modified


@pytest.mark.train
def test_digits(tmp_path):
    """At least 97 % of the validation split after the last epoch, not the best; guessing gets 10 %.

    Looks at the run of `make demo` where it is of this commit, which saves more than a minute, and else trains.
    """
    workdir = ROOT / "runs" / "demo"
    if not is_of_this_commit(workdir):
        workdir = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-m", "official.train", f"--config={RECIPE}", f"--workdir={workdir}"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    summary = json.loads((workdir / "summary.json").read_text())
    last = read_table(workdir / "metrics.csv")[-1]
    assert int(last["step"]) == summary["step"] == summary["config"]["train"]["steps"]
    assert summary["metrics"]["val_accuracy"] == float(last["val_accuracy"])
    assert float(last["val_accuracy"]) >= 0.97
    # The router uses all experts: each gets more than a fifth of its share in every block.
    for row in read_table(workdir / "expert_load.csv"):
        if row["step"] == last["step"]:
            assert min(float(row[f"expert_{e}"]) for e in range(4)) > 0.05, row
