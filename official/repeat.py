"""A recipe under several seeds, and what they reach together:
python -m official.repeat --config=vision/configs/digits.py --workdir=runs/digits_seeds --seeds=5 --split=validation

Trains the recipe with the seeds 0 to n - 1, evaluates each run on the split, and prints the values of every metric with their
median, mean and spread (largest less smallest); repeat.json in the workdir has them too. Settings may be changed as for
official.train: --config.train.lr=0.1. A run that is finished is not done again, and one that was stopped goes on. Small models
use several cores better by a run each: --parallel=2 does two runs at a time, on half of the cores each.
"""

import argparse
import concurrent.futures
import json
import math
import os
import pathlib
import statistics
import sys
from typing import NamedTuple

from official.cli.arguments import parse_with_settings, positive
from official.cli.subprocesses import forward_sigterm, run_command
from official.files.summary import write_summary
from official.files.tables import text_table


class RunFailed(RuntimeError):
    """A command ended with an error, or was stopped; what it had to say is on standard error."""


def train_and_evaluate(config, workdir, arguments=(), split=None, cores=None):
    """Trains a recipe and evaluates it, by commands of their own; what is done already is not done again.

    What the commands print goes to WORKDIR.log.

    Args:
      config: the recipe, with its argument.
      workdir: a pathlib.Path.
      arguments: list of str, of official.train's command line besides.
      split: to evaluate on; None for none.
      cores: how many to compute on; None for all.

    Returns:
      (what summary.json holds, metrics of the evaluation or None).

    Raises:
      RunFailed: the same call goes on from the last checkpoint.
    """
    commands = [["official.train", f"--config={config}", f"--workdir={workdir}", *arguments]]
    if split is not None:
        commands.append(["official.evaluate", f"--model={workdir}", f"--split={split}"])
    threads = {f"TF_NUM_{which}OP_THREADS": str(cores) for which in ("INTRA", "INTER")} if cores else {}
    workdir.parent.mkdir(parents=True, exist_ok=True)
    with workdir.with_name(workdir.name + ".log").open("a") as log:
        for command in commands:
            code = run_command([sys.executable, "-m", *command], stdout=log, env={**os.environ, **threads})
            if code:
                what = f"{command[0]} of {workdir} ended with code {code}"
                raise RunFailed(f"{what}; the same command goes on from its checkpoint")
    summary = json.loads((workdir / "summary.json").read_text())
    if split is None:
        return summary, None
    return summary, json.loads((workdir / "evaluation" / split / "metrics.json").read_text())["metrics"]


def call_each(function, calls, parallel=1):
    """Yields (arguments, result) of each call as it ends, so many at a time; after an error no further one begins.

    A SIGTERM meanwhile goes to the commands that the calls run.

    Args:
      calls: list of tuples, the function's arguments.
    """
    with forward_sigterm(), concurrent.futures.ThreadPoolExecutor(parallel) as pool:
        started = {pool.submit(function, *arguments): arguments for arguments in calls}
        try:
            for future in concurrent.futures.as_completed(started):
                yield started[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def cores_each(parallel):
    """How many cores there are for each of so many runs at a time."""
    return max(1, os.cpu_count() // parallel)


def figures(values):
    """Values of several seeds, and their median, mean and spread (largest less smallest)."""
    values = list(values)
    together = dict(median=statistics.median(values), mean=statistics.mean(values), spread=max(values) - min(values))
    return dict(values=values, **together)


def paired_difference(values, others):
    """Mean of the differences value - other of the same seeds, and its standard error; None for that where there is one seed.

    The standard error is the sample standard deviation of the differences over the square root of their number.
    """
    differences = [value - other for value, other in zip(values, others, strict=True)]
    several = len(differences) > 1
    return statistics.mean(differences), statistics.stdev(differences) / math.sqrt(len(differences)) if several else None


def repeat(config, workdir, seeds, split, arguments=(), parallel=1):
    """Does what this file's command does.

    Args:
      config: the recipe, with its argument.
      workdir: a pathlib.Path, the folder of the runs.
      seeds: how many.
      split: to evaluate on.
      arguments: list of str, of official.train's command line besides.
      parallel: runs at a time.

    Returns:
      {metric: figures}.

    Raises:
      RunFailed: the same call goes on from there.
    """
    file = workdir / "repeat.json"
    what = dict(config=config, arguments=list(arguments), split=split)
    before = json.loads(file.read_text()) if file.exists() else {}
    # Of another split, or under other settings, which official.train allows or refuses, they have to be found again.
    runs = before["runs"] if what.items() <= before.items() else []
    cores = cores_each(parallel) if parallel > 1 else None

    def run_seed(seed):
        own = [f"--config.train.seed={seed}", *arguments]
        summary, metrics = train_and_evaluate(config, workdir / f"seed-{seed}", own, split, cores)
        step = summary.get("exported_step", summary["step"])  # of a run from before the first there is only the second
        return dict(seed=seed, metrics=metrics, step=step, seconds=summary["wall_seconds"])

    for run in runs:
        _show(run)
    missing = [(seed,) for seed in range(seeds) if seed not in [run["seed"] for run in runs]]
    for _, run in call_each(run_seed, missing, parallel):
        runs = sorted([*runs, run], key=lambda one: one["seed"])
        write_summary(file, **what, runs=runs, metrics=_metrics(runs))
        _show(run)
    return _metrics(runs[:seeds])


def _metrics(runs):
    """{metric: figures} of those that all runs have."""
    names = [name for name in runs[0]["metrics"] if all(name in run["metrics"] for run in runs)]
    return {name: figures(run["metrics"][name] for run in runs) for name in names}


def _show(run):
    reached = ", ".join(f"{name} {value:.4f}" for name, value in run["metrics"].items())
    print(f"seed {run['seed']}: {reached} at step {run['step']}, after {run['seconds'] / 60:.1f} minutes", flush=True)


class Row(NamedTuple):
    """Of the table that is printed."""

    metric: str
    median: str
    mean: str
    spread: str
    values: str


def table(metrics):
    """What `repeat` returns, as text."""

    def row(name, found):
        together = (f"{found[key]:.4f}" for key in ("median", "mean", "spread"))
        return Row(name, *together, " ".join(f"{value:.4f}" for value in found["values"]))

    return text_table([row(name, found) for name, found in metrics.items()])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", required=True, help="the recipe, with its argument; settings as --config.SETTING=VALUE")
    parser.add_argument("--workdir", required=True, type=pathlib.Path, help="folder of the runs")
    parser.add_argument("--seeds", type=positive, default=5, help="how many (default: 5)")
    parser.add_argument("--split", default="validation", help="to evaluate on (default: %(default)s)")
    parser.add_argument("--parallel", type=positive, default=1, help="runs at a time (default: 1)")
    given, settings = parse_with_settings(parser, {"train.seed": "the seeds are those from 0 on, as many as --seeds says"})
    try:
        found = repeat(given.config, given.workdir, given.seeds, given.split, settings, given.parallel)
    except RunFailed as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from there")
    print(f"\n{given.config}, {given.seeds} seeds, {given.split} split:\n{table(found)}\n\n  {given.workdir / 'repeat.json'}")


if __name__ == "__main__":
    main()
