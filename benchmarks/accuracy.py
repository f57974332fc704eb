"""Whether bfloat16 trains as well as float32: python -m benchmarks.accuracy --config=RECIPE --workdir=DIR

Trains a recipe in both precisions with several seeds, one run after the other, and prints the accuracy of the last epoch of
each. A run that is finished in the workdir is not done again, and one that was stopped goes on.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

from benchmarks.alternate import ROOT, write_json
from benchmarks.arguments import positive

PRECISIONS = ("float32", "mixed_bfloat16")


def accuracy(config, precision, seed, workdir):
    """The validation accuracy of one run."""
    workdir = workdir / f"{precision}-{seed}"
    command = [sys.executable, "-m", "official.train", f"--config={config}", f"--workdir={workdir}"]
    done = subprocess.run(
        [*command, f"--config.train.precision={precision}", f"--config.train.seed={seed}"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    if done.returncode:
        sys.exit(f"error: the run in {workdir} ended with code {done.returncode}; the same command goes on from its checkpoint")
    return json.loads((workdir / "summary.json").read_text())["metrics"]["val_accuracy"]


def verdict(accuracies):
    """The two means, their difference, and whether it lies within the spread (largest less smallest) of either's seeds."""
    means = {precision: statistics.mean(values) for precision, values in accuracies.items()}
    difference = means["mixed_bfloat16"] - means["float32"]
    spread = max(max(values) - min(values) for values in accuracies.values())
    return {"means": means, "difference": difference, "spread": spread, "within_spread": abs(difference) <= spread}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", required=True, help="the recipe")
    parser.add_argument("--workdir", required=True, type=pathlib.Path, help="folder of the runs")
    parser.add_argument("--seeds", type=positive, default=3, help="how many (default: 3)")
    parser.add_argument("--json", type=pathlib.Path, help="file to write the results to")
    given = parser.parse_args()
    accuracies = {precision: [] for precision in PRECISIONS}
    for seed in range(given.seeds):
        for precision in PRECISIONS:
            accuracies[precision].append(accuracy(given.config, precision, seed, given.workdir.resolve()))
            print(f"seed {seed}, {precision}: {accuracies[precision][-1]:.4f}", flush=True)
    found = verdict(accuracies)
    print(", ".join(f"{precision} {mean:.4f}" for precision, mean in found["means"].items()) + " in the mean;")
    within = "within" if found["within_spread"] else "NOT within"
    print(f"the difference, {found['difference']:+.4f}, is {within} the spread of the seeds, {found['spread']:.4f}")
    if given.json:
        write_json(given.json, config=given.config, accuracies=accuracies, **found)


if __name__ == "__main__":
    main()
