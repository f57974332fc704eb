"""Exports a trained model: python -m official.export --model=runs/digits

Writes a SavedModel of a run's newest checkpoint (with train.best of its best one), or of any checkpoint of the run. It answers
requests by its signatures, is a reusable module for tensorflow_hub, and needs nothing of this project to be loaded.

--part exports a part of the model: encoder, and of text models preprocessor. --format=onnx or tflite converts the signature that
takes and gives numbers to another runtime, compares its outputs with the SavedModel's and measures both.
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
from official.cli.arguments import add_data_dir, add_model, add_task_modules, parse_with_data, positive
from official.files.layout import SAVED_MODEL, check_output, is_export, printable
from official.files.summary import metrics_of_step, run_facts
from official.serving import runtimes
from official.serving.saved_models import write_saved_model
from official.task import create_task


def export(
    model,
    output=None,
    part="model",
    versioned=False,
    averaged=True,
    data_dir=None,
    data=None,
    precision=None,
    task_modules=(),
):
    """Exports a checkpoint of a run as a SavedModel.

    Args:
      model: path of a workdir or of a checkpoint in one (official.checkpoints.trained_models.find_model).
      output: the folder to write; None for one in the workdir.
      part: one of the task's `parts`.
      versioned: whether to write OUTPUT/1, or the next number there, as TensorFlow Serving expects versions of a model.
      averaged: whether to export the averages of the weights if the checkpoint has them (`train.ema_decay`).
      data_dir, data: override the recipe's data, as in official.evaluate.evaluate. The data set of a finished image run need not
        exist; other tasks read it.
      precision: Keras precision of the exported model; None for that of the run.
      task_modules: names of modules outside this project that may define the task (official.task.create_task).

    Returns:
      (the folder, a pathlib.Path; the content of its official.files.layout.FACTS_FILE).

    Raises:
      ValueError: no model at the path, weights that do not fit, a setting that is not allowed, an output that is something else.
      OSError: the output cannot be written.
    """
    trained = find_model(model, setting="--model")
    if trained.is_saved_model:
        raise ValueError(f"--model={model} is not allowed: it must be a workdir or a checkpoint, not an exported model")
    config, workdir = trained.config, trained.evaluations.parent
    fill_in(config, workdir)
    folder = _output_folder(output, workdir, trained.path, part, pathlib.Path(model).is_dir(), versioned)
    change_data(config, model, data_dir, data or {})
    config.train.precision = precision or config.train.precision
    tf.keras.mixed_precision.set_global_policy(config.train.precision)
    task = create_task(config, task_modules)
    spec = task.part(part)
    step = None if spec.model is None else restore_weights(spec.model, trained, averaged)
    facts = run_facts(config.get("name", ""), task.unit, step, {} if step is None else metrics_of_step(workdir, step))
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder, write_saved_model(spec, folder, configs.to_plain(config), facts)


def export_for_runtimes(
    model, formats, output=None, part="model", averaged=True, data_dir=None, data=None, task_modules=(), **settings
):
    """Exports a model for other runtimes than TensorFlow, in float32, which all of them support.

    Args:
      model: as of `export`, or the path or handle of a SavedModel.
      formats: names of official.serving.runtimes.FORMATS.
      output: the folder to write; None for one in the workdir, or beside the SavedModel.
      part, averaged, data_dir, data, task_modules: as of `export`.
      **settings: of official.serving.runtimes.convert.

    Returns:
      (the folder, a pathlib.Path; what official.serving.runtimes.convert returns).

    Raises:
      ValueError, ModuleNotFoundError, OSError: as `export` and official.serving.runtimes.convert.
    """
    runtimes.check_formats(formats)
    name = "-".join(formats if part == "model" else [part, *formats])
    located = locate(model, "--model")
    settings["task_modules"] = task_modules
    if located.is_saved_model:
        if output is None and located.is_fetched:
            reason = "nothing is written into the cache of published models"
            raise ValueError(f"--output is needed with --model={model}: {reason}")
        folder = pathlib.Path(output or located.path.with_name(f"{located.path.name}_{name}"))
        return folder, runtimes.convert(located.path, formats, folder, data_dir=data_dir, data=data, **settings)
    trained = find_model(located)
    name = name if pathlib.Path(model).is_dir() else f"{name}-{trained.path.name}"
    folder = pathlib.Path(output or trained.evaluations.parent / name)
    with tempfile.TemporaryDirectory() as temporary:
        saved_model = pathlib.Path(temporary) / SAVED_MODEL
        export(model, saved_model, part, False, averaged, data_dir, data, "float32", task_modules)
        return folder, runtimes.convert(saved_model, formats, folder, **settings)


def _output_folder(output, workdir, checkpoint, part, whole_run, versioned):
    """The folder to write; raises ValueError if something else is there."""
    if output is None:
        name = SAVED_MODEL if part == "model" else part
        output = workdir / (name if whole_run else f"{name}-{checkpoint.name}")
    folder = pathlib.Path(output)
    holds_model = (folder / "saved_model.pb").exists()
    if versioned:
        if holds_model:
            raise ValueError(
                f"--output={folder} is not allowed: with --versioned it must be a folder of exported models, not one"
            )
        numbers = [int(path.name) for path in folder.iterdir() if re.fullmatch(r"\d+", path.name)] if folder.is_dir() else []
        return folder / str(max(numbers, default=0) + 1)
    check_output(folder, holds_model and is_export(folder), "a folder with nothing but an exported model, which is replaced")
    return folder


def report(folder, facts):
    """Prints where an exported model is, and its signatures."""
    step = "" if facts["step"] is None else f" of step {facts['step']}"
    print(f"{folder}: {printable(facts['model'])}{step}, {facts['kind'] or 'a model'}, {facts['parameters']:,} parameters")
    for name, signature in facts["signatures"].items():
        inputs, outputs = (", ".join(f"{key} {kind}" for key, kind in signature[side].items()) for side in ("inputs", "outputs"))
        print(f"  {name}: {inputs} -> {outputs}")


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m official.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = ",".join(runtimes.FORMATS)
    aliases = ("--workdir", "--checkpoint", "--saved_model")
    add_model(parser, "workdir, checkpoint, SavedModel or handle", aliases)
    parser.add_argument("--output", metavar="FOLDER", help="folder to write (default: one in the workdir)")
    parser.add_argument("--format", default=SAVED_MODEL, help=f"{SAVED_MODEL} (default), or a list: {known}")
    parser.add_argument("--part", default="model", help="model (default), encoder or preprocessor")
    parser.add_argument("--versioned", action="store_true", help="write FOLDER/1, or the next number there")
    parser.add_argument("--no_average", action="store_true", help="export the weights, not their averages (ema_decay)")
    add_data_dir(parser, "folder of the data set (default: the recipe's)")
    add_task_modules(parser)
    others = parser.add_argument_group(f"options of the formats {known}")
    others.add_argument("--signature", metavar="NAME", help="signature to convert (default: the numeric one)")
    others.add_argument("--examples", help="FILE.npz to compare on, or random (default: --split)")
    others.add_argument(
        "--compared", metavar="N", type=positive, default=64, help="examples to compare on (default: %(default)s)"
    )
    others.add_argument("--split", default="test", help="split to compare and evaluate on (default: %(default)s)")
    others.add_argument("--evaluated", metavar="N", type=int, help="examples to evaluate on, 0 for none (default: all)")
    others.add_argument(
        "--rounds", metavar="N", type=positive, default=20, help="timed calls of each latency (default: %(default)s)"
    )
    args, data = parse_with_data(parser, argv)
    shared = dict(part=args.part, averaged=not args.no_average, data_dir=args.data_dir, data=data, task_modules=args.task_modules)
    try:
        if args.format == SAVED_MODEL:
            report(*export(args.model, args.output, versioned=args.versioned, **shared))
            return
        if args.versioned:
            raise ValueError(f"--versioned is not allowed with --format={args.format}: TensorFlow Serving serves SavedModels")
        options = {name: getattr(args, name) for name in ("signature", "examples", "compared", "split", "evaluated", "rounds")}
        runtimes.report(*export_for_runtimes(args.model, args.format.split(","), args.output, **shared, **options))
    except (ValueError, OSError, ModuleNotFoundError, tf.errors.OpError) as error:
        sys.exit(printable(f"error: {error}"))


if __name__ == "__main__":
    # Saving warns of untraced functions, and restoring of each value of a checkpoint that was not read.
    tf.get_logger().setLevel("ERROR")
    main()
