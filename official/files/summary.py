"""summary.json: what a run reached, and all that is needed to repeat it."""

import json
import pathlib
import platform
import subprocess
from importlib import metadata

from official.files.atomic import atomic_write
from official.files.tables import read_table
from official.files.workdir import METRICS_CSV


def write_summary(path, **fields):
    """Writes the fields and this machine's versions, whole or not at all."""
    summary = {**fields, "versions": versions(), **source()}
    atomic_write(path, (json.dumps(summary, indent=2) + "\n").encode())
    return summary


def metrics_of_step(workdir, step):
    """{name: float} of a run's row of metrics.csv, a pathlib.Path of its workdir given; {} where that step was not evaluated."""
    table = workdir / METRICS_CSV
    rows = read_table(table) if table.exists() else []
    row = next((row for row in rows if int(row["step"]) == step), {})
    return {key: float(value) for key, value in row.items() if value and key != "step"}


def run_facts(model, unit, step, metrics):
    """What an exported model tells of its run: its name, what its examples are called, the step and the metrics of that step."""
    return dict(model=model, unit=unit, step=step, metrics=metrics)


def versions():
    """Versions of Python and of the libraries that decide results."""
    packages = ("tensorflow", "keras", "tensorflow-addons", "numpy")
    return {"python": platform.python_version(), **{package: metadata.version(package) for package in packages}}


def source():
    """The git commit of this source tree and whether files differ from it; None where there is no git."""
    here = pathlib.Path(__file__).parent

    def git(*arguments):
        try:
            answer = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True)
        except (FileNotFoundError, subprocess.CalledProcessError):
            return None  # no git here, or the tree was copied without its history
        return answer.stdout.strip()

    commit = git("rev-parse", "HEAD")
    return {"git_commit": commit, "git_modified": None if commit is None else bool(git("status", "--porcelain"))}
