"""summary.json: what a run reached, and everything needed to repeat it."""

import csv
import json
import pathlib
import platform
import subprocess
from importlib import metadata

from official.files import layout as names
from official.files.atomic import atomic_write
from official.files.checked_json import NUMBER, check_keys, check_values, read_json
from official.files.tables import read_table

# Shapes of the files that `write_summary` writes (official.files.checked_json.check_keys).
SUMMARY = {
    "model": str,
    "step": int,
    "exported_step?": int,
    "unit": str,
    "metrics": dict,
    "config": dict,
    "config.train": dict,
    "config.train.best?": str,
    "wall_seconds": NUMBER,
    "training_examples?": int,
    "tokens_per_second?": NUMBER,
    "bad_examples": dict,
    "bad_examples.count": int,
    "bad_examples.first": dict,
}
FACTS = {
    "model?": str,
    "kind?": str,
    "unit?": str,
    "step?": int,
    "parameters?": int,
    "licence?": str,
    "class_names?": list,
    "metrics?": dict,
    "signatures?": dict,
    "versions?": dict,
}


def read_summary(path):
    """What the summary.json of a run holds.

    Args:
      path: a pathlib.Path.

    Raises:
      ValueError: a file of another shape; names it.
      OSError: it cannot be read.
    """
    summary = read_json(path, keys=SUMMARY)
    check_keys(summary, path, {f"{summary['unit']}_per_second": NUMBER})
    check_values(summary["metrics"], f"{path}, metric", NUMBER)
    return summary


def read_facts(folder):
    """What the FACTS_FILE of a SavedModel's folder, a pathlib.Path, says; {} without one. Errors as of `read_summary`."""
    file = folder / names.FACTS_FILE
    return read_json(file, keys=FACTS) if file.exists() else {}


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
    print(f"\n{names.printable(summary['model'])} after {step}, on the validation split: {reached}")
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
    """{name: float} of the row of a step in metrics.csv of a pathlib.Path; {} if that step was not evaluated.

    Raises:
      ValueError: a damaged table.
    """
    table = workdir / names.METRICS_CSV
    try:
        rows = read_table(table) if table.exists() else []
        row = next((row for row in rows if int(row["step"]) == step), {})
        return {key: float(value) for key, value in row.items() if value and key != "step"}
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ValueError(f"{table} is damaged: it must be a table of numbers with a column step ({error!r})") from error


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
