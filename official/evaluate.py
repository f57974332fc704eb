"""Evaluates a trained model: python -m official.evaluate --model=runs/digits --split=validation

The model is a run's workdir, of which the newest checkpoint is taken (with `train.best` the best one), the path prefix of a
checkpoint in a workdir, or a SavedModel that the driver exported. Writes metrics and what else the model's task has to tell: of a
classifier a confusion matrix, a reliability diagram and, where there are experts, which of them each class's tokens are sent to.
"""

import argparse
import ast
import pathlib
import sys

from official.cli import quiet

with quiet.startup():
    import tensorflow as tf

from official import config as configs
from official.checkpoints.trained_models import find_model, load_forward
from official.files.summary import write_summary
from official.task import create_task

METRICS_FILE = {"metrics.json": "metrics, versions and the full config"}


def evaluate(model, split="validation", output=None, data_dir=None, batch_size=None, averaged=True, data=None):
    """Evaluates a model on a split, in the precision of its run and on one device, and writes the files of its task's evaluation.

    Args:
      model: path of a workdir, a checkpoint's prefix or a SavedModel, or the handle of a published one
        (official.checkpoints.trained_models.find_model).
      split: "train", "validation", "test" or whatever else the recipe's task knows.
      output: the folder to write to; None for WORKDIR/evaluation/SPLIT, or SAVED_MODEL_evaluation/SPLIT beside a SavedModel, and
        not allowed for a handle. Of a split that is a path, SPLIT is the file's name.
      data_dir: in place of the recipe's data.dir.
      batch_size: in place of the recipe's train.batch_size.
      averaged: whether of a checkpoint with averages of the weights (`train.ema_decay`) these are evaluated, as in training.
      data: {setting: text} of the recipe's `data`, in place of the recipe's; where that is no text, a Python literal.

    Returns:
      (what metrics.json holds, {pathlib.Path of a file: what it is}).

    Raises:
      ValueError: no model at the path, weights that do not fit, a split that there is not, a setting that is not allowed.
    """
    quiet.first_compilation()
    found, task = open_recipe(model, data_dir, batch_size, data)
    if output is None and found.evaluations is None:
        raise ValueError(f"--output is needed with --model={model}: nothing is written into the cache of published models")
    config = found.config
    dataset = task.evaluation_dataset(split)
    evaluation = task.evaluation(split)
    forward = load_forward(found, task, averaged)
    print(f"Evaluating {found.path} on the {split} split.", flush=True)
    run_model(forward.call, dataset, evaluation)
    folder = pathlib.Path(output) if output else found.evaluations / pathlib.Path(split).name
    written = write_evaluation(
        folder,
        evaluation,
        model=forward.name,
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


def open_recipe(model, data_dir=None, batch_size=None, data=None, setting="--model"):
    """A model on disk and the task of its recipe, with the recipe's data changed as `evaluate` has it; sets Keras's precision.

    Args:
      setting: what the caller's user calls the model's path, for messages.

    Returns:
      (official.checkpoints.trained_models.TrainedModel, official.task.Task).

    Raises:
      ValueError: as `evaluate`, of model and settings.
    """
    found = find_model(model, setting=setting)
    config = found.config
    change_data(config, model, data_dir, data or {})
    if batch_size is not None:
        if batch_size < 1:
            raise ValueError(f"--batch_size={batch_size} is not allowed: it must be at least 1")
        config.train.batch_size = batch_size
    tf.keras.mixed_precision.set_global_policy(config.train.precision)
    return found, create_task(config)


def run_model(call, dataset, evaluation):
    """Adds all batches of a dataset to an official.task.Evaluation.

    Args:
      call: function of a batch's inputs to outputs, and int32 [batch, blocks, E] or None.
      dataset: a tf.data.Dataset of (inputs, labels).

    Raises:
      ValueError: no examples, or what the evaluation does not take.
    """

    @tf.function(input_signature=dataset.element_spec)
    def outputs_of(inputs, labels):
        outputs, assignments = call(inputs)
        return evaluation.reduce(inputs, labels, outputs), assignments

    for inputs, labels in dataset:
        batch = (inputs, labels, *outputs_of(inputs, labels))
        evaluation.add(*tf.nest.map_structure(lambda tensor: None if tensor is None else tensor.numpy(), batch))
    if not evaluation.examples:
        raise ValueError("the split has no examples")


def write_evaluation(folder, evaluation, **fields):
    """Writes an evaluation's files, in place of those of an earlier one.

    Args:
      folder: a pathlib.Path; made if it does not exist.
      evaluation: an official.task.Evaluation that has its batches.
      **fields: what metrics.json says besides, of the model and the split.

    Returns:
      What metrics.json holds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in {**METRICS_FILE, **evaluation.files}:
        (folder / name).unlink(missing_ok=True)
    metrics = evaluation.write(folder)
    return write_summary(folder / "metrics.json", examples=evaluation.examples, metrics=metrics, **fields)


def data_settings(arguments):
    """{setting: text} of arguments --config.data.SETTING=VALUE; None where there are others."""
    found = {}
    for argument in arguments:
        key, is_setting, value = argument.lstrip("-").partition("=")
        section, _, setting = key.rpartition(".")
        if not is_setting or section != "config.data":
            return None
        found[setting] = value
    return found


def change_data(config, model, data_dir, data):
    """Changes the `data` of a run's config.

    Args:
      config: the ConfigDict.
      model: the run's path, for messages.
      data_dir: in place of data.dir; None for what is there.
      data: {setting: text}, in place of what is there; where that is no text, Python literals.

    Raises:
      ValueError: a setting that there is not, or a value of another kind.
    """
    if data_dir is not None:
        if "dir" not in config.get("data", {}):
            raise ValueError(f"--data_dir={data_dir} is not allowed: the recipe of {model} has no data.dir")
        config.data.dir = str(data_dir)
    for setting, text in data.items():
        _change(config.get("data", {}), setting, text)


def _change(data, setting, text):
    given = f"--config.data.{setting}={text} is not allowed"
    if setting not in data:
        raise ValueError(f"{given}: the recipe's data settings are {', '.join(sorted(data)) or 'none'}")
    if isinstance(data[setting], str):
        data[setting] = text
        return
    try:
        data[setting] = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError) as error:
        raise ValueError(f"{given}: the recipe has {data[setting]!r}") from error


def report(written, files):
    """Prints the metrics and where the files are."""
    of_step = "" if written["step"] is None else f" after {written['step']} steps"
    print(f"\n{written['model']}{of_step}, {written['examples']:,} {written['unit']} of the {written['split']} split:")
    for name, value in written["metrics"].items():
        print(f"  {name.replace('top_', 'top-').replace('_', ' '):28}{value:.4f}")
    print()
    for path, what in files.items():
        print(f"  {path}: {what}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="workdir of a run, checkpoint in one, SavedModel, or handle")
    parser.add_argument(
        "--split", default="validation", help="train, validation, test or what the task knows (default: %(default)s)"
    )
    parser.add_argument("--output", help="folder for the files (default: WORKDIR/evaluation/SPLIT, or beside the SavedModel)")
    parser.add_argument("--data_dir", help="where the data set is, in place of the recipe's data.dir")
    parser.add_argument("--batch_size", type=int, help="in place of the recipe's")
    parser.add_argument(
        "--no_average", action="store_true", help="of a run with train.ema_decay, the weights and not their averages"
    )
    parser.epilog = "Settings of the recipe's data may be changed: --config.data.SETTING=VALUE"
    given, more = parser.parse_known_args()
    data = data_settings(more)
    if data is None:
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    averaged = not given.no_average
    try:
        report(*evaluate(given.model, given.split, given.output, given.data_dir, given.batch_size, averaged, data))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    # Where a checkpoint does not fit, TensorFlow also warns of each value that was not read.
    tf.get_logger().setLevel("ERROR")
    main()
