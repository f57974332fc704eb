"""Variants of a recipe under several seeds, side by side:
python -m benchmarks.variants --config=vision/configs/fashion_mnist.py:15 --workdir=runs/variants --json=variants.json

Trains each variant with each seed, evaluates the last checkpoint on the test split, and prints the accuracies with their mean and
spread. A variant is what stands after the comma in the recipe's argument (fashion_mnist.py:15,shared_norms); "" is the recipe
itself. The file of --json is written after every run: a run whose result stands there is not done again, and one that was stopped
goes on. Small models use several cores better by a run each: --parallel=2 does two runs at a time, on half of the cores each.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import statistics
import subprocess
import sys

from benchmarks.alternate import ROOT, write_json
from benchmarks.arguments import positive

VARIANTS = ("", "shared_norms", "no_moe", "no_sharing", "vit")


def result(config, seed, workdir, cores):
    """Trains and evaluates one variant on so many cores; what the table tells of it.

    Raises:
      RuntimeError: a command failed; the same command goes on from the last checkpoint.
    """
    environment = {**os.environ, **{f"TF_NUM_{which}OP_THREADS": str(cores) for which in ("INTRA", "INTER")}}
    train = ["official.train", f"--config={config}", f"--workdir={workdir}", f"--config.train.seed={seed}"]
    evaluate = ["official.evaluate", f"--model={workdir}", "--split=test", f"--output={workdir}/test"]
    for arguments in (train, evaluate):
        done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, env=environment)
        if done.returncode:
            what = f"{arguments[0]} of {workdir} ended with code {done.returncode}"
            raise RuntimeError(f"{what}; the same command goes on from there")
    summary = json.loads((workdir / "summary.json").read_text())
    test = json.loads((workdir / "test" / "metrics.json").read_text())["metrics"]
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
    """Per variant that has results: its accuracies by seed, their mean, and their spread (largest less smallest)."""
    rows = []
    for variant in variants:
        own = [run for run in runs if run["variant"] == variant]
        if own:
            accuracies = [run["accuracy"] for run in sorted(own, key=lambda run: run["seed"])]
            rows.append(
                dict(
                    variant=variant or "the recipe",
                    parameters=own[0]["parameters"],
                    accuracies=accuracies,
                    mean=statistics.mean(accuracies),
                    spread=max(accuracies) - min(accuracies),
                    minutes=statistics.median(run["minutes"] for run in own),
                )
            )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", required=True, help="the recipe, with its argument")
    parser.add_argument("--workdir", required=True, type=pathlib.Path, help="folder of the runs")
    parser.add_argument("--json", required=True, type=pathlib.Path, help="file to write the results to, and to go on from")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="separated by commas; an empty one is the recipe itself")
    parser.add_argument("--seeds", type=positive, default=3, help="how many (default: 3)")
    parser.add_argument("--parallel", type=positive, default=1, help="runs at a time (default: 1)")
    given = parser.parse_args()
    variants = given.variants.split(",")
    runs = json.loads(given.json.read_text())["runs"] if given.json.exists() else []
    cores = max(1, os.cpu_count() // given.parallel)

    def show(run):
        print(f"{run['config']}, seed {run['seed']}: {run['accuracy']:.4f} after {run['minutes']:.1f} minutes", flush=True)

    with concurrent.futures.ThreadPoolExecutor(given.parallel) as pool:
        started = {}
        for seed in range(given.seeds):
            for variant in variants:
                config = f"{given.config},{variant}" if variant else given.config
                finished = next((run for run in runs if (run["config"], run["seed"]) == (config, seed)), None)
                if finished:
                    show(finished)
                else:
                    workdir = given.workdir.resolve() / f"{variant or 'recipe'}-{seed}"
                    which = dict(config=config, variant=variant, seed=seed)
                    started[pool.submit(result, config, seed, workdir, cores)] = which
        try:
            for future in concurrent.futures.as_completed(started):
                runs.append({**started[future], **future.result()})
                write_json(given.json, config=given.config, runs=runs, variants=rows_of(runs, variants))
                show(runs[-1])
        except RuntimeError as error:
            sys.exit(f"error: {error}")
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    print(f"\n{'variant':<14}{'parameters':>12}{'mean':>9}{'spread':>9}{'minutes':>9}")
    for row in rows_of(runs, variants):
        figures = f"{row['parameters']:>12,}{row['mean']:>9.4f}{row['spread']:>9.4f}{row['minutes']:>9.1f}"
        print(f"{row['variant']:<14}{figures}")


if __name__ == "__main__":
    main()
