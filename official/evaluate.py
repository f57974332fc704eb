"""Evaluates a trained model: python -m official.evaluate --model=runs/digits --split=validation

The model is a run's workdir, of which the newest checkpoint is taken (with `train.best` the best one), the path prefix of a
checkpoint in a workdir, or a SavedModel that the driver exported. Writes metrics and the other files of the model's task: of a
classifier a confusion matrix, a reliability diagram and, where there are experts, their shares of each class's tokens. Several
models, --model=ONE --model=ANOTHER, are evaluated one after the other and compared in a table.
"""

import argparse
import collections
import pathlib
import sys

from official.cli import quiet

with quiet.startup():
    import tensorflow as tf

from official import config as configs
from official.checkpoints.trained_models import load_forward, open_recipe
from official.cli.arguments import add_data_dir, add_model, add_task_modules, parse_with_data
from official.evaluation.runner import METRICS_FILE, check_folder, run_model, write_evaluation
from official.files.layout import printable
from official.files.tables import text_table


def evaluate(model, split="validation", output=None, data_dir=None, batch_size=None, averaged=True, data=None, task_modules=()):
    """Evaluates a model on a split, in the precision of its run and on one device, and writes the files of its task's evaluation.

    Args:
      model: path of a workdir, a checkpoint's prefix or a SavedModel, or the handle of a published one
        (official.checkpoints.trained_models.find_model).
      split: "train", "validation", "test" or whatever else the recipe's task knows.
      output: the folder to write to; None for WORKDIR/evaluation/SPLIT, or SAVED_MODEL_evaluation/SPLIT beside a SavedModel, and
        not allowed for a handle. Where the split is a path, SPLIT is the file's name.
      data_dir: in place of the recipe's data.dir.
      batch_size: in place of the recipe's train.batch_size.
      averaged: whether the averages of the weights (`train.ema_decay`) are evaluated where a checkpoint has them.
      data: {setting: text} in place of the recipe's `data`, parsed as a Python literal where the recipe's value is not text.
      task_modules: names of modules outside this project that may define the task (official.task.create_task).

    Returns:
      (the content of metrics.json, {pathlib.Path of a file: what it is}).

    Raises:
      ValueError: no model at the path, weights that do not fit, an unknown split, a setting that is not allowed, or an output
        with files of these names that no evaluation wrote.
    """
    quiet.first_compilation()
    found, task = open_recipe(model, data_dir, batch_size, data, task_modules=task_modules)
    if output is None and found.evaluations is None:
        raise ValueError(f"--output is needed with --model={model}: nothing is written into the cache of published models")
    config = found.config
    folder = pathlib.Path(output) if output else found.evaluations / pathlib.Path(split).name
    dataset = task.evaluation_dataset(split)
    evaluation = task.evaluation(split)
    if output:  # files in a run's own folder are of an evaluation, also if it was killed
        check_folder(folder, evaluation)
    forward = load_forward(found, task, averaged)
    print(f"Evaluating {found.path} on the {split} split.", flush=True)
    run_model(forward.call, dataset, evaluation)
    written = write_evaluation(
        folder,
        evaluation,
        model=forward.name,
        parameters=forward.parameters,
        evaluated=str(found.path),
        step=forward.step,
        split=split,
        unit=task.unit,
        precision=config.train.precision,
        config=configs.to_plain(config),
    )
    if forward.no_experts:
        print(forward.no_experts)
    files = {folder / name: what for name, what in {**METRICS_FILE, **evaluation.files}.items()}
    return written, {path: what for path, what in files.items() if path.exists()}


def report(written, files):
    """Prints the metrics and where the files are."""
    of_step = "" if written["step"] is None else f" after {written['step']} steps"
    print(f"\n{printable(written['model'])}{of_step}, {written['examples']:,} {written['unit']} of the {written['split']} split:")
    for name, value in written["metrics"].items():
        print(f"  {name.replace('top_', 'top-').replace('_', ' '):28}{value:.4f}")
    print()
    for path, what in files.items():
        print(f"  {path}: {what}")


def comparison(models, written):
    """A table of several evaluations, as text: a line each, with the metrics that all of them have.

    Args:
      models: the models as they were given, a list of strings.
      written: list of the contents of their metrics.json.
    """
    shared = [name for name in written[0]["metrics"] if all(name in one["metrics"] for one in written)]
    row = collections.namedtuple("Row", ["model", "parameters", "examples", *(name.replace(" ", "_") for name in shared)])
    return text_table(
        [
            row(model, f"{one['parameters']:,}", f"{one['examples']:,}", *(f"{one['metrics'][name]:.4f}" for name in shared))
            for model, one in zip(models, written, strict=True)
        ]
    )


def main():
    parser = argparse.ArgumentParser(
        prog="python -m official.evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = "workdir of a run, checkpoint in one, SavedModel, or handle of a published one; may be given several times"
    add_model(parser, what, several=True)
    parser.add_argument(
        "--split", default="validation", help="train, validation, test or what the task knows (default: %(default)s)"
    )
    parser.add_argument("--output", help="folder for the files (default: WORKDIR/evaluation/SPLIT, or beside the SavedModel)")
    add_data_dir(parser, "where the data set is, in place of the recipe's data.dir")
    parser.add_argument("--batch_size", type=int, help="in place of the recipe's")
    parser.add_argument(
        "--no_average", action="store_true", help="with train.ema_decay: evaluate the weights, not their averages"
    )
    add_task_modules(parser)
    given, data = parse_with_data(parser)
    averaged = not given.no_average
    if given.output and len(given.model) > 1:
        parser.error("--output is not allowed with several models: each has a folder of its own")
    evaluations = []
    for model in given.model:
        try:
            written, files = evaluate(
                model, given.split, given.output, given.data_dir, given.batch_size, averaged, data, given.task_modules
            )
        except (ValueError, OSError) as error:
            sys.exit(printable(f"error: {error}"))
        report(written, files)
        evaluations.append(written)
    if len(evaluations) > 1:
        print(f"\n{comparison(given.model, evaluations)}")


if __name__ == "__main__":
    # TensorFlow also warns of each value that was not read from a checkpoint that does not fit.
    tf.get_logger().setLevel("ERROR")
    main()
