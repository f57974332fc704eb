"""Accuracies of a recipe's variants with several seeds:
python -m benchmarks.variants --config=vision/configs/fashion_mnist.py:15 --workdir=runs/variants --json=variants.json

Trains each variant with each seed, evaluates the last checkpoint on the test split, and prints mean and spread of the accuracies.
A variant is the part after the comma in the recipe's argument (fashion_mnist.py:15,shared_norms); "" is the recipe itself. The
file of --json is written after every run. Runs in this file are not repeated, and stopped ones are resumed. Small models use
several cores better with one run each: --parallel=2 does two runs at a time, on half of the cores each.
"""

import argparse
import statistics

from benchmarks.runs import add_runs, all_runs
from official.cli.arguments import positive
from official.training.seeds import cores_each, figures, train_and_evaluate

VARIANTS = ("", "shared_norms", "no_moe", "no_sharing", "vit")


def result(config, seed, workdir, cores):
    """Trains and evaluates one variant on `cores` cores; returns its results. Raises as train_and_evaluate."""
    summary, test = train_and_evaluate(config, workdir, [f"--config.train.seed={seed}"], "test", cores)
    return {
        "accuracy": test["top_1"],
        "loss": test["loss"],
        "validation_accuracy": summary["metrics"]["val_accuracy"],
        "parameters": summary["parameters"],
        "minutes": summary["wall_seconds"] / 60,
        "cores": cores,
        "git_commit": summary["git_commit"],
    }


def rows_of(runs, variants):
    """Rows of the variants with results: accuracies by seed, their mean, and their spread (largest minus smallest)."""
    rows = []
    for variant in variants:
        own = [run for run in runs if run["variant"] == variant]
        if own:
            accuracies = figures(run["accuracy"] for run in sorted(own, key=lambda run: run["seed"]))
            rows.append(
                dict(
                    variant=variant or "the recipe",
                    parameters=own[0]["parameters"],
                    accuracies=accuracies["values"],
                    mean=accuracies["mean"],
                    spread=accuracies["spread"],
                    minutes=statistics.median(run["minutes"] for run in own),
                )
            )
    return rows


def show_rows(rows):
    """Prints what `rows_of` returns."""
    width = max(14, *(len(row["variant"]) + 2 for row in rows))
    print(f"\n{'variant':<{width}}{'parameters':>12}{'mean':>9}{'spread':>9}{'minutes':>9}")
    for row in rows:
        spread = f"{row['spread']:.4f}" if len(row["accuracies"]) > 1 else ""  # one seed has none
        print(f"{row['variant']:<{width}}{row['parameters']:>12,}{row['mean']:>9.4f}{spread:>9}{row['minutes']:>9.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="the recipe, with its argument")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="names, separated by commas; '' is the recipe itself")
    add_runs(parser, seeds=3)
    parser.add_argument("--parallel", type=positive, default=1, help="runs at a time (default: 1)")
    given = parser.parse_args()
    variants = given.variants.split(",")
    cores = cores_each(given.parallel)
    wanted = []
    for seed in range(given.seeds):
        for variant in variants:
            config = f"{given.config},{variant}" if variant else given.config
            workdir = given.workdir.resolve() / f"{variant or 'recipe'}-{seed}"
            wanted.append((dict(config=config, variant=variant, seed=seed), (config, seed, workdir, cores)))

    def content(runs):
        return dict(config=given.config, runs=runs, variants=rows_of(runs, variants))

    show_rows(rows_of(all_runs(given.json, wanted, result, content, "config", given.parallel), variants))


if __name__ == "__main__":
    main()
