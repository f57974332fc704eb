"""Trains and evaluates a recipe under several seeds, each in processes of its own, and summarizes the results."""

import concurrent.futures
import math
import os
import statistics
import sys

from official.cli.subprocesses import forward_sigterm, run_command
from official.files.checked_json import NUMBER, read_json
from official.files.layout import CONFIG_JSON, EVALUATION, METRICS_JSON, SUMMARY_JSON


class RunFailed(RuntimeError):
    """A command ended with an error, or was stopped."""


def train_and_evaluate(config, workdir, arguments=(), split=None, cores=None):
    """Trains a recipe, unless its run is finished, and evaluates it, in processes whose output goes to WORKDIR.log.

    Args:
      config: the recipe, with its argument.
      workdir: a pathlib.Path.
      arguments: list of str, further arguments of official.train.
      split: to evaluate on; None for no evaluation.
      cores: number of cores to use; None for all.

    Returns:
      (the content of summary.json, metrics of the evaluation or None).

    Raises:
      RunFailed: the same call resumes from the last checkpoint.
      ValueError: a file of the run that is damaged.
    """
    threads = {f"TF_NUM_{which}OP_THREADS": str(cores) for which in ("INTRA", "INTER")} if cores else {}
    environment = {**os.environ, **threads}
    _run(workdir, environment, "official.train", f"--config={config}", f"--workdir={workdir}", *arguments)
    summary = read_json(workdir / SUMMARY_JSON, keys={"step": int, "exported_step?": int, "wall_seconds": NUMBER})
    if split is None:
        return summary, None
    # The recipe's own task, or one that it wraps, may be of a module outside this project, which official.evaluate must be given.
    config = read_json(workdir / CONFIG_JSON)
    tasks = [section["task"] for section in (config, *config.values()) if isinstance(section, dict) and "task" in section]
    modules = [f"--task_module={task.partition(':')[0]}" for task in tasks]
    options = [f"--model={workdir}", f"--split={split}", *modules]
    _run(workdir, environment, "official.evaluate", *options)
    return summary, read_json(workdir / EVALUATION / split / METRICS_JSON, keys={"metrics": dict})["metrics"]


def _run(workdir, environment, module, *arguments):
    workdir.parent.mkdir(parents=True, exist_ok=True)
    with workdir.with_name(workdir.name + ".log").open("a") as log:
        code = run_command([sys.executable, "-m", module, *arguments], stdout=log, env=environment)
    if code:
        raise RunFailed(f"{module} of {workdir} ended with code {code}; the same command resumes from its checkpoint")


def call_each(function, calls, parallel=1):
    """Yields (arguments, result) of each call as it ends; after an error no further call begins.

    A SIGTERM meanwhile is forwarded to the commands that the calls run.

    Args:
      calls: list of tuples, the function's arguments.
      parallel: number of calls at a time.
    """
    errors = []

    def call(*arguments):
        if errors:  # the pool begins the next call before anybody has seen the error
            raise errors[0]
        try:
            return function(*arguments)
        except BaseException as error:
            errors.append(error)
            raise

    with forward_sigterm(), concurrent.futures.ThreadPoolExecutor(parallel) as pool:
        started = {pool.submit(call, *arguments): arguments for arguments in calls}
        try:
            for future in concurrent.futures.as_completed(started):
                yield started[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def cores_each(parallel):
    """The number of cores for each of `parallel` runs at a time."""
    return max(1, os.cpu_count() // parallel)


def figures(values):
    """Values of several seeds, and their median, mean and spread (largest less smallest)."""
    values = list(values)
    together = dict(median=statistics.median(values), mean=statistics.mean(values), spread=max(values) - min(values))
    return dict(values=values, **together)


def paired_difference(values, others):
    """Mean of the differences value - other of the same seeds, and its standard error, which is None for a single seed.

    The standard error is the sample standard deviation of the differences over the square root of their number.
    """
    differences = [value - other for value, other in zip(values, others, strict=True)]
    several = len(differences) > 1
    return statistics.mean(differences), statistics.stdev(differences) / math.sqrt(len(differences)) if several else None
