"""A recipe under several seeds, and what they reach together:
python -m official.repeat --config=vision/configs/digits.py --workdir=runs/digits_seeds --seeds=5 --split=validation

Trains the recipe with the seeds 0 to n - 1, evaluates each run on the split, and prints the values of every metric with their
median, mean and spread (largest less smallest); repeat.json in the workdir has them too. Settings may be changed as for
official.train: --config.train.lr=0.1. A finished run is not repeated, and a stopped one is resumed. Small models use several
cores better with one run each: --parallel=2 does two runs at a time, on half of the cores each.
"""

import argparse
import pathlib
import sys
from typing import NamedTuple

from official.cli.arguments import parse_with_settings, positive
from official.files.checked_json import NUMBER, check_keys, check_values, read_json
from official.files.layout import printable
from official.files.summary import write_summary
from official.files.tables import text_table
from official.training.seeds import RunFailed, call_each, cores_each, figures, train_and_evaluate


def repeat(config, workdir, seeds, split, arguments=(), parallel=1):
    """Trains and evaluates a recipe with the seeds 0 to `seeds` - 1.

    Args:
      config: the recipe, with its argument.
      workdir: a pathlib.Path, the folder of the runs.
      seeds: their number.
      split: to evaluate on.
      arguments: list of str, of official.train's command line besides.
      parallel: runs at a time.

    Returns:
      {metric: figures}.

    Raises:
      RunFailed: the same call resumes from there.
      ValueError, OSError: a damaged file of these runs.
    """
    file = workdir / "repeat.json"
    what = dict(config=config, arguments=list(arguments), split=split)
    before = read_json(file, keys={"runs": list}) if file.exists() else {}
    # Results on another split or under other settings are stale; official.train refuses what may not change.
    for run in before.get("runs", ()):
        check_keys(run, f"a run in {file}", {"seed": int, "metrics": dict, "step": int, "seconds": NUMBER})
        check_values(run["metrics"], f"{file}, metric", NUMBER)
    runs = before["runs"] if what.items() <= before.items() else []
    cores = cores_each(parallel) if parallel > 1 else None

    def run_seed(seed):
        own = [f"--config.train.seed={seed}", *arguments]
        summary, metrics = train_and_evaluate(config, workdir / f"seed-{seed}", own, split, cores)
        step = summary.get("exported_step", summary["step"])  # runs made before `exported_step` existed only have `step`
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
    """{metric: figures} of the metrics that all runs have."""
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
        prog="python -m official.repeat",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, help="the recipe, with its argument; settings as --config.SETTING=VALUE")
    parser.add_argument("--workdir", required=True, type=pathlib.Path, help="folder of the runs")
    parser.add_argument("--seeds", type=positive, default=5, help="number of seeds (default: 5)")
    parser.add_argument("--split", default="validation", help="to evaluate on (default: %(default)s)")
    parser.add_argument("--parallel", type=positive, default=1, help="runs at a time (default: 1)")
    given, settings = parse_with_settings(parser, {"train.seed": "the seeds are 0 to --seeds less 1"})
    try:
        found = repeat(given.config, given.workdir, given.seeds, given.split, settings, given.parallel)
    except (RunFailed, ValueError, OSError) as error:
        sys.exit(printable(f"error: {error}"))
    except KeyboardInterrupt:
        sys.exit("stopped; the same command resumes from there")
    print(f"\n{given.config}, {given.seeds} seeds, {given.split} split:\n{table(found)}\n\n  {given.workdir / 'repeat.json'}")


if __name__ == "__main__":
    main()
