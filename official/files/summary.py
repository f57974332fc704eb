"""summary.json: what a run reached, and everything needed to repeat it."""

import json
import pathlib
import platform
import subprocess
from importlib import metadata

from official.files import layout as names
from official.files.atomic import atomic_write
from official.files.tables import read_table


def write_summary(path, **fields):
    """Writes the fields with the versions of the software, atomically; returns all of it."""
    summary = {**fields, "versions": versions(), **source()}
    atomic_write(path, (json.dumps(summary, indent=2) + "\n").encode())
    return summary


def report(summary, workdir):
    """Prints what a run reached, and its files.

    Args:
      summary: what summary.json holds.
      workdir: a pathlib.Path.
    """
    metrics = summary["metrics"]
    reached = ", ".join(f"{key.removeprefix('val_')} {metrics[key]:.4f}" for key in metrics if key.startswith("val_"))
    best = summary["config"]["train"].get("best")
    step = f"{summary['exported_step']} of {summary['step']} steps, best by {best}" if best else f"{summary['step']} steps"
    print(f"\n{summary['model']} after {step}, on the validation split: {reached}")
    unit = summary["unit"]
    rates = {unit: summary[f"{unit}_per_second"], "tokens": summary.get("tokens_per_second")}
    speed = " and ".join(f"{rate:,.0f} {what}" for what, rate in rates.items() if rate)
    print(f"{speed} a second in training, {summary['wall_seconds']:.0f} seconds in all.")
    skipped = summary["bad_examples"]["count"]
    if skipped:
        print(f"{skipped} {unit} were skipped as bad, such as {next(iter(summary['bad_examples']['first']))}")
    for name, what in (
        (names.SAVED_MODEL, "the exported model"),
        (names.CURVES_PNG, "loss, metrics, learning rate and expert load"),
        (names.SUMMARY_JSON, "metrics, versions and the full config"),
        (names.METRICS_CSV, "all metrics, an evaluation a row"),
        (names.TENSORBOARD, f"the same and pictures, for `tensorboard --logdir {workdir}`"),
        (names.CHECKPOINTS, "what a longer run would resume from"),
        *([(names.BEST_CHECKPOINT, "the best checkpoint, which is the exported one")] if best else []),
    ):
        print(f"  {workdir / name}: {what}")


def metrics_of_step(workdir, step):
    """{name: float} of the row of a step in metrics.csv of a pathlib.Path; {} if that step was not evaluated."""
    table = workdir / names.METRICS_CSV
    rows = read_table(table) if table.exists() else []
    row = next((row for row in rows if int(row["step"]) == step), {})
    return {key: float(value) for key, value in row.items() if value and key != "step"}


def run_facts(model, unit, step, metrics):
    """What an exported model says about its run: model name, unit of its examples, step, and the metrics of that step."""
    return dict(model=model, unit=unit, step=step, metrics=metrics)


def versions():
    """Versions of Python and of the libraries that results depend on, by the names of their packages.

    Keras 2 is "keras" up to TensorFlow 2.15 and "tf-keras" beside later ones, where "keras" is Keras 3, which is not used.
    TensorFlow is "tensorflow" also where its package for TPUs is installed. What is not installed is left out.
    """
    tensorflow = _version("tensorflow") or _version("tensorflow-tpu")
    keras = "keras" if tuple(map(int, tensorflow.split(".")[:2])) < (2, 16) else "tf-keras"
    found = {
        "python": platform.python_version(),
        "tensorflow": tensorflow,
        **{package: _version(package) for package in (keras, "tensorflow-addons", "numpy")},
    }
    return {package: version for package, version in found.items() if version}


def _version(package):
    """The version of an installed package, None for another one."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def source():
    """The git commit of this source tree and whether files differ from it; None without git or its history."""
    here = pathlib.Path(__file__)

    def git(*arguments):
        try:
            answer = subprocess.run(["git", "-C", str(here.parent), *arguments], capture_output=True, text=True, check=True)
        except (FileNotFoundError, subprocess.CalledProcessError):
            return None
        return answer.stdout.strip()

    # Installed into an environment inside somebody's repository, this file is not one of that repository's.
    commit = git("rev-parse", "HEAD") if git("ls-files", "--error-unmatch", here.name) else None
    return {"git_commit": commit, "git_modified": None if commit is None else bool(git("status", "--porcelain"))}
