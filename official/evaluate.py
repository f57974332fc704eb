"""Evaluates a trained model: python -m official.evaluate --model=runs/digits --split=validation

The model is a run's workdir, whose newest checkpoint is taken, the path prefix of a checkpoint in a workdir, or a SavedModel that
the driver exported. Writes metrics, a confusion matrix, a reliability diagram and, where there are experts, which of them each
class's tokens are sent to.
"""

import argparse
import pathlib
import sys

from official import quiet

with quiet.startup():
    import tensorflow as tf

from official import config as configs
from official.evaluation import assignments_by_class, join_predictions, predictions
from official.evaluation_files import FILES, Evaluation, write_evaluation
from official.task import create_task
from official.trained_models import find_model, load_forward


def evaluate(model, split="validation", output=None, data_dir=None, batch_size=None, averaged=True):
    """Evaluates a model on a split, in the precision of its run and on one device, and writes official.evaluation_files.FILES.

    Args:
      model: path of a workdir, a checkpoint's prefix or a SavedModel (official.trained_models.find_model).
      split: "train", "validation", "test" or whatever else the recipe's task knows.
      output: the folder to write to; None for WORKDIR/evaluation/SPLIT, or SAVED_MODEL_evaluation/SPLIT beside a SavedModel.
      data_dir: in place of the recipe's data.dir.
      batch_size: in place of the recipe's train.batch_size.
      averaged: whether of a checkpoint with averages of the weights (`train.ema_decay`) these are evaluated, as in training.

    Returns:
      (what metrics.json holds, the pathlib.Path of the folder).

    Raises:
      ValueError: no model at the path, weights that do not fit, a split that there is not, a setting that is not allowed.
    """
    found = find_model(model)
    config = found.config
    if data_dir is not None:
        if "dir" not in config.get("data", {}):
            raise ValueError(f"--data_dir={data_dir} is not allowed: the recipe of {model} has no data.dir")
        config.data.dir = str(data_dir)
    if batch_size is not None:
        if batch_size < 1:
            raise ValueError(f"--batch_size={batch_size} is not allowed: it must be at least 1")
        config.train.batch_size = batch_size
    quiet.first_compilation()
    tf.keras.mixed_precision.set_global_policy(config.train.precision)
    task = create_task(config)
    dataset = task.evaluation_dataset(split)
    forward = load_forward(found, task, dataset.element_spec[0], averaged)
    print(f"Evaluating {found.path} on the {split} split.", flush=True)
    output = pathlib.Path(output) if output else found.evaluations / split
    written = write_evaluation(
        output,
        run_model(forward.call, dataset, task.class_names),
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
    return written, output


def run_model(call, dataset, class_names):
    """The Evaluation of all batches of a dataset.

    Args:
      call: function of a batch's inputs to logits [batch, classes], and int32 [batch, blocks, E] or None.
      dataset: a tf.data.Dataset of (inputs, labels).
      class_names: list of str.

    Raises:
      ValueError: no examples, or other classes than the names say.
    """
    batches, assignments = [], None
    for inputs, labels in dataset:
        logits, counts = call(inputs)
        if logits.shape[-1] != len(class_names):
            raise ValueError(f"the model has {logits.shape[-1]} outputs and the task {len(class_names)} classes")
        batches.append(predictions(logits.numpy(), labels.numpy()))
        if counts is not None:
            of_batch = assignments_by_class(counts.numpy(), batches[-1].labels, len(class_names))
            assignments = of_batch if assignments is None else assignments + of_batch
    if not batches:
        raise ValueError("the split has no examples")
    return Evaluation(join_predictions(batches), class_names, assignments)


def report(written, output):
    """Prints the metrics and where the files are."""
    of_step = "" if written["step"] is None else f" after {written['step']} steps"
    print(f"\n{written['model']}{of_step}, {written['examples']:,} {written['unit']} of the {written['split']} split:")
    for name, value in written["metrics"].items():
        print(f"  {name.replace('top_', 'top-').replace('_', ' '):28}{value:.4f}")
    print()
    for name, what in FILES.items():
        if (output / name).exists():
            print(f"  {output / name}: {what}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="workdir of a run, checkpoint in one, or SavedModel")
    parser.add_argument(
        "--split", default="validation", help="train, validation, test or what the task knows (default: %(default)s)"
    )
    parser.add_argument("--output", help="folder for the files (default: WORKDIR/evaluation/SPLIT, or beside the SavedModel)")
    parser.add_argument("--data_dir", help="where the data set is, in place of the recipe's data.dir")
    parser.add_argument("--batch_size", type=int, help="in place of the recipe's")
    parser.add_argument(
        "--no_average", action="store_true", help="of a run with train.ema_decay, the weights and not their averages"
    )
    given = parser.parse_args()
    averaged = not given.no_average
    try:
        report(*evaluate(given.model, given.split, given.output, given.data_dir, given.batch_size, averaged))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    # Where a checkpoint does not fit, TensorFlow also warns of each value that was not read.
    tf.get_logger().setLevel("ERROR")
    main()
