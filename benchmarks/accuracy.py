"""Compares training in bfloat16 and float32: python -m benchmarks.accuracy --config=RECIPE --workdir=DIR

Trains a recipe in both precisions with several seeds, one run after the other, and prints the validation accuracy after the last
epoch of each. Finished runs in the workdir are not repeated, and stopped ones are resumed.
"""

import argparse
import pathlib
import sys

from benchmarks.harness import write_json
from official.cli.arguments import positive
from official.training.seeds import RunFailed, figures, train_and_evaluate

PRECISIONS = ("float32", "mixed_bfloat16")


def accuracy(config, precision, seed, workdir):
    """The validation accuracy of one run. Raises as train_and_evaluate."""
    arguments = [f"--config.train.precision={precision}", f"--config.train.seed={seed}"]
    summary, _ = train_and_evaluate(config, workdir / f"{precision}-{seed}", arguments)
    return summary["metrics"]["val_accuracy"]


def verdict(accuracies):
    """The means, their difference, and whether it lies within the larger spread of the two (largest minus smallest seed)."""
    found = {precision: figures(values) for precision, values in accuracies.items()}
    means = {precision: of["mean"] for precision, of in found.items()}
    difference = means["mixed_bfloat16"] - means["float32"]
    spread = max(of["spread"] for of in found.values())
    return {"means": means, "difference": difference, "spread": spread, "within_spread": abs(difference) <= spread}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="the recipe")
    parser.add_argument("--workdir", required=True, type=pathlib.Path, help="folder of the runs")
    parser.add_argument("--seeds", type=positive, default=3, help="number of seeds (default: 3)")
    parser.add_argument("--json", type=pathlib.Path, help="file to write the results to")
    given = parser.parse_args()
    accuracies = {precision: [] for precision in PRECISIONS}
    try:
        for seed in range(given.seeds):
            for precision in PRECISIONS:
                accuracies[precision].append(accuracy(given.config, precision, seed, given.workdir.resolve()))
                print(f"seed {seed}, {precision}: {accuracies[precision][-1]:.4f}", flush=True)
    except RunFailed as error:
        sys.exit(f"error: {error}")
    found = verdict(accuracies)
    print(", ".join(f"{precision} {mean:.4f}" for precision, mean in found["means"].items()) + " on average;")
    within = "within" if found["within_spread"] else "NOT within"
    print(f"the difference, {found['difference']:+.4f}, is {within} the spread of the seeds, {found['spread']:.4f}")
    if given.json:
        write_json(given.json, config=given.config, accuracies=accuracies, **found)


if __name__ == "__main__":
    main()
