"""The recipe that users meet first, as they run it."""

import json
import subprocess
import sys

import pytest

from official.tables import read_table
from tests.official.tiny import RECIPE, ROOT, environment


@pytest.mark.slow
def test_digits(tmp_path):
    """At least 97 % of the validation split after the last epoch, not the best; guessing gets 10 %."""
    done = subprocess.run(
        [sys.executable, "-m", "official.train", f"--config={RECIPE}", f"--workdir={tmp_path / 'run'}"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    last = read_table(tmp_path / "run" / "metrics.csv")[-1]
    assert int(last["step"]) == summary["step"] == summary["config"]["train"]["steps"]
    assert summary["metrics"]["val_accuracy"] == float(last["val_accuracy"])
    assert float(last["val_accuracy"]) >= 0.97
    # The router uses all experts: each gets more than a fifth of its share in every block.
    for row in read_table(tmp_path / "run" / "expert_load.csv"):
        if row["step"] == last["step"]:
            assert min(float(row[f"expert_{e}"]) for e in range(4)) > 0.05, row
