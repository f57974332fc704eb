"""Accuracy of a recipe with and without pretraining:
python -m benchmarks.pretrained --config=bert/configs/rotten_tomatoes.py --model=runs/pretraining --workdir=runs/pretrained \\
    --json=pretrained.json

Trains the recipe from the pretrained model and from scratch, with the same seeds and settings, and evaluates each run on the
split. Prints the accuracies, the mean paired difference with its standard error, and the accuracy of always predicting the most
frequent class. Settings can be changed for all runs: --config.data.vocabulary=vocab.txt. The file of --json is written after
every run. Runs in this file are not repeated, and stopped ones are resumed.
"""

import argparse
import collections
import json
import pathlib
import statistics

from benchmarks.runs import add_runs, all_runs
from official.cli.arguments import add_model, parse_with_settings, positive
from official.files.layout import EVALUATION
from official.training.seeds import cores_each, paired_difference, train_and_evaluate

STARTS = ("pretrained", "from scratch")


def result(start, seed, given, settings):
    """Trains and evaluates one run; returns its results. Raises as train_and_evaluate."""
    init = [f"--config.init={pathlib.Path(given.model).resolve()}"] if start == "pretrained" else []
    workdir = given.workdir.resolve() / f"{start.replace(' ', '_')}-{seed}"
    arguments = [*init, f"--config.train.seed={seed}", *settings]
    summary, metrics = train_and_evaluate(given.config, workdir, arguments, given.split, cores_each(given.parallel))
    # Not str.splitlines, which also splits at other line separators that texts may contain.
    predictions = (workdir / EVALUATION / given.split / "predictions.jsonl").read_text(encoding="utf-8").strip().split("\n")
    return dict(
        accuracy=metrics["accuracy"],
        majority=majority(json.loads(line)["label"] for line in predictions),
        steps=summary["step"],
        minutes=summary["wall_seconds"] / 60,
        git_commit=summary["git_commit"],
    )


def majority(labels):
    """The share of the most frequent label."""
    counts = collections.Counter(labels)
    return max(counts.values()) / counts.total()


def compared(runs):
    """Accuracies of the seeds with both runs, their means, and the mean paired difference with its standard error."""
    found = {(run["start"], run["seed"]): run["accuracy"] for run in runs}
    seeds = sorted(seed for start, seed in found if start == STARTS[0] and (STARTS[1], seed) in found)
    if not seeds:
        return {}
    accuracies = {start: [found[start, seed] for seed in seeds] for start in STARTS}
    difference, standard_error = paired_difference(*accuracies.values())
    means = {start: statistics.mean(values) for start, values in accuracies.items()}
    return dict(paired=accuracies, means=means, difference=difference, standard_error=standard_error)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", required=True, help="the recipe; settings as --config.SETTING=VALUE")
    add_model(parser, "the pretrained run or its SavedModel", aliases=["--init"])
    add_runs(parser, seeds=5)
    parser.add_argument("--split", default="test", help="to evaluate on (default: %(default)s)")
    parser.add_argument("--parallel", type=positive, default=1, help="runs at a time (default: 1)")
    fixed = {"train.seed": "the seeds are 0, 1 and so on, as many as --seeds", "init": "it is what differs between the runs"}
    given, settings = parse_with_settings(parser, fixed)
    wanted = [(dict(start=start, seed=seed), (start, seed, given, settings)) for seed in range(given.seeds) for start in STARTS]

    def content(runs):
        what = dict(config=given.config, split=given.split, majority=runs[-1]["majority"])
        return dict(**what, runs=runs, **compared(runs))

    found = content(all_runs(given.json, wanted, result, content, "start", given.parallel))
    error = found["standard_error"]
    print(", ".join(f"{start} {mean:.4f}" for start, mean in found["means"].items()) + " on average;")
    print(f"the difference is {found['difference']:+.4f}" + ("" if error is None else f", its standard error {error:.4f};"))
    print(f"always the most frequent class: {found['majority']:.4f}")


if __name__ == "__main__":
    main()
