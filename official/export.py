"""Exports a trained model: python -m official.export --workdir=runs/digits

Writes a SavedModel of a run's newest checkpoint (with `train.best` of its best one), or of any checkpoint of it. It serves
requests by its signatures, is a reusable module for tensorflow_hub, and needs nothing of this project to be loaded. The whole
model is written, or a part of it: --part=encoder, and of text models --part=preprocessor. With --format=onnx or tflite its
signature of numbers is written for another runtime, compared with the SavedModel and measured beside it.
"""

import argparse
import pathlib
import re
import sys
import tempfile

from official.cli import quiet

with quiet.startup():
    import tensorflow as tf

from official import config as configs
from official.checkpoints.trained_models import change_data, fill_in, find_model, restore_weights
from official.checkpoints.weights import locate
from official.cli.arguments import add_task_modules, parse_with_data, positive
from official.files.summary import metrics_of_step, run_facts
from official.files.workdir import SAVED_MODEL
from official.serving import runtimes
from official.serving.saved_models import write_saved_model
from official.task import create_task

# {format: function that writes an ExportSpec}, with arguments and results as of write_saved_model. What the model's
# numbers alone are written as, for other runtimes, is in official.serving.runtimes.FORMATS.
FORMATS = {SAVED_MODEL: write_saved_model}


def export(
    model,
    output=None,
    file_format=SAVED_MODEL,
    part="model",
    versioned=False,
    averaged=True,
    data_dir=None,
    data=None,
    precision=None,
    task_modules=(),
):
    """Exports a checkpoint of a run.

    Args:
      model: path of a workdir or of a checkpoint in one (official.checkpoints.trained_models.find_model).
      output: the folder to write; None for one in the workdir.
      file_format: of FORMATS.
      part: of the task's `parts`.
      versioned: whether to write into the next number under `output`, as TensorFlow Serving looks for versions of a model.
      averaged: whether of a checkpoint with averages of the weights (`train.ema_decay`) these are exported, as at a run's end.
      data_dir, data: in place of what the recipe says, as of official.evaluate.evaluate. The data set need not be there for a
        finished run of images; other tasks look for it.
      precision: in which the exported model computes; None for that of the run.
      task_modules: names of modules outside this project that may define the task (official.task.create_task).

    Returns:
      (the folder, a pathlib.Path, what its official.files.saved_model_layout.FACTS_FILE holds).

    Raises:
      ValueError: no model there, weights that do not fit, a setting that is not allowed, an output that is something else.
      OSError: where it cannot be written.
    """
    if file_format not in FORMATS:
        raise ValueError(f"--format={file_format} is not allowed: it must be one of {', '.join(FORMATS)}")
    found = find_model(model, setting="--workdir or --checkpoint")
    if found.is_saved_model:
        raise ValueError(f"{model} is not allowed: it must be a workdir or a checkpoint, and it is an exported model")
    config, workdir = found.config, found.evaluations.parent
    fill_in(config, workdir)
    place = _place(output, workdir, found.path, part, whole_run=pathlib.Path(model).is_dir(), versioned=versioned)
    change_data(config, model, data_dir, data or {})
    config.train.precision = precision or config.train.precision
    tf.keras.mixed_precision.set_global_policy(config.train.precision)
    task = create_task(config, task_modules)
    exported = task.part(part)
    step = None if exported.model is None else restore_weights(exported.model, found, averaged)
    facts = run_facts(config.get("name", ""), task.unit, step, {} if step is None else metrics_of_step(workdir, step))
    place.parent.mkdir(parents=True, exist_ok=True)
    return place, FORMATS[file_format](exported, place, configs.to_plain(config), facts)


def export_for_runtimes(
    model, formats, output=None, part="model", averaged=True, data_dir=None, data=None, task_modules=(), **settings
):
    """Exports a model for other runtimes than TensorFlow, in float32, which all of them know.

    Args:
      model: as of `export`, or the path or handle of what `export` has written.
      formats: names of official.serving.runtimes.FORMATS.
      output: the folder to write; None for one in the workdir, or beside the exported model.
      part, averaged, data_dir, data, task_modules: as of `export`.
      **settings: of official.serving.runtimes.convert.

    Returns:
      (the folder, a pathlib.Path, what official.serving.runtimes.convert returns).

    Raises:
      ValueError, ModuleNotFoundError, OSError: as of `export` and of official.serving.runtimes.convert.
    """
    runtimes.check_formats(formats)
    name = "-".join(formats if part == "model" else [part, *formats])
    located = locate(model, "--workdir, --checkpoint or --saved_model")
    settings["task_modules"] = task_modules
    if located.is_saved_model:
        if output is None and located.is_fetched:
            why = "nothing is written into the cache of published models"
            raise ValueError(f"--output is needed with --saved_model={model}: {why}")
        exported = located.path
        place = pathlib.Path(output or exported.with_name(f"{exported.name}_{name}"))
        return place, runtimes.convert(exported, formats, place, data_dir=data_dir, data=data, **settings)
    found = find_model(located)
    name = name if pathlib.Path(model).is_dir() else f"{name}-{found.path.name}"
    place = pathlib.Path(output or found.evaluations.parent / name)
    with tempfile.TemporaryDirectory() as folder:
        saved_model = pathlib.Path(folder) / SAVED_MODEL
        export(model, saved_model, SAVED_MODEL, part, False, averaged, data_dir, data, "float32", task_modules)
        return place, runtimes.convert(saved_model, formats, place, **settings)


def _place(output, workdir, checkpoint, part, whole_run, versioned):
    """The folder to write; raises ValueError where something else is there."""
    if output is None:
        name = SAVED_MODEL if part == "model" else part
        output = workdir / (name if whole_run else f"{name}-{checkpoint.name}")
    place = pathlib.Path(output)
    holds_model = (place / "saved_model.pb").exists()
    if versioned:
        if holds_model:
            raise ValueError(f"--output={place} is not allowed: it is an exported model, and --versioned wants a folder of them")
        numbers = [int(path.name) for path in place.iterdir() if re.fullmatch(r"\d+", path.name)] if place.is_dir() else []
        return place / str(max(numbers, default=0) + 1)
    is_empty = not place.exists() or (place.is_dir() and not any(place.iterdir()))
    if not (is_empty or holds_model):
        raise ValueError(f"--output={place} is not allowed: it must be a new folder or an exported model, which is replaced")
    return place


def report(place, facts):
    """Prints where an exported model is, and what it can be asked."""
    step = "" if facts["step"] is None else f" of step {facts['step']}"
    print(f"{place}: {facts['model']}{step}, {facts['kind'] or 'a model'}, {facts['parameters']:,} parameters")
    for name, signature in facts["signatures"].items():
        inputs, outputs = (", ".join(f"{key} {told}" for key, told in signature[side].items()) for side in ("inputs", "outputs"))
        print(f"  {name}: {inputs} -> {outputs}")


def main():
    known = ", ".join(runtimes.FORMATS)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--workdir", help="of a run: its best checkpoint where there is one, or else the newest")
    source.add_argument("--checkpoint", help="in a run's workdir, such as runs/digits/checkpoints/step-1610")
    source.add_argument("--saved_model", help="path or handle of an exported model, for the other formats")
    parser.add_argument("--output", help="folder to write (default: in the workdir, saved_model or the name of the part)")
    parser.add_argument("--format", default=SAVED_MODEL, help=f"{SAVED_MODEL} (default), or of {known} one or more with commas")
    parser.add_argument("--part", default="model", help="model, encoder or preprocessor, as the task has them (default: model)")
    parser.add_argument("--versioned", action="store_true", help="write OUTPUT/1, or the number after the largest one there")
    parser.add_argument("--no_average", action="store_true", help="of a run with train.ema_decay, the weights themselves")
    parser.add_argument("--data_dir", help="where the data set is, in place of the recipe's data.dir")
    others = parser.add_argument_group(f"for the formats {known}")
    others.add_argument("--signature", help="the one to convert (default: the only one that takes and gives numbers)")
    others.add_argument("--examples", help="FILE.npz to compare on, or random (default: the first of --split)")
    others.add_argument(
        "--compared", type=positive, default=64, help="how many examples, but of a file all (default: %(default)s)"
    )
    others.add_argument("--split", default="test", help="of the recipe's data, to compare and evaluate on (default: %(default)s)")
    others.add_argument(
        "--evaluated", type=int, help="at most so many examples of it, to whole batches; 0 for none (default: all)"
    )
    others.add_argument("--rounds", type=positive, default=20, help="calls whose median is the latency (default: %(default)s)")
    add_task_modules(parser)
    given, data = parse_with_data(parser)
    model, averaged = given.workdir or given.checkpoint or given.saved_model, not given.no_average
    try:
        if given.format in FORMATS:
            settings = dict(data_dir=given.data_dir, data=data, task_modules=given.task_modules)
            report(*export(model, given.output, given.format, given.part, given.versioned, averaged, **settings))
            return
        if given.versioned:
            raise ValueError(f"--versioned is not allowed with --format={given.format}: TensorFlow Serving serves SavedModels")
        runtimes.report(
            *export_for_runtimes(
                model,
                given.format.split(","),
                given.output,
                given.part,
                averaged,
                given.data_dir,
                data,
                given.task_modules,
                signature=given.signature,
                examples=given.examples,
                compared=given.compared,
                split=given.split,
                evaluated=given.evaluated,
                rounds=given.rounds,
            )
        )
    except (ValueError, OSError, ModuleNotFoundError, tf.errors.OpError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    # Of saving, TensorFlow tells what is no news, and of a checkpoint that does not fit each value that was not read.
    tf.get_logger().setLevel("ERROR")
    main()
