"""Converts exported models for other runtimes, compares their outputs with the SavedModel's and measures both."""

import collections
import os
import pathlib
import statistics
import tempfile
import time
from importlib import metadata
from typing import Any, NamedTuple

import tensorflow as tf

from official.checkpoints.trained_models import call_by_names, open_recipe
from official.checkpoints.weights import plain_name, read_weights
from official.evaluation.runner import run_model
from official.files.atomic import atomic_dir
from official.files.layout import CONFIG_FILE, SAVED_MODEL, check_output
from official.files.summary import read_facts, write_summary
from official.files.tables import text_table
from official.serving import onnx_format, tflite_format
from official.serving.example_inputs import dataset_examples, random_examples, read_examples
from official.serving.parity import LIMIT, NEAR_TIE, ParityCheck
from official.serving.signatures import numeric_signature

REPORT_FILE = "runtimes.json"
BATCH_SIZES = (1, 32)  # of the measured latencies
RANDOM = "random"  # instead of a file of examples


class Variant(NamedTuple):
    """One file of a format.

    Attributes:
      title: its name in the table.
      file: its file name.
      convert: function of a NumericSignature and the path that writes the file.
      load: function of the path that returns a callable of {name: array}.
      limit: the largest allowed difference from the SavedModel's outputs; None for any.
    """

    title: str
    file: str
    convert: Any
    load: Any
    limit: float | None


FORMATS = {
    "onnx": [Variant("ONNX", "model.onnx", onnx_format.convert, onnx_format.OnnxModel, LIMIT)],
    "tflite": [
        Variant("TFLite", "model.tflite", tflite_format.convert, tflite_format.TFLiteModel, LIMIT),
        Variant("TFLite, int8", "model-int8.tflite", tflite_format.convert_quantized, tflite_format.TFLiteModel, None),
    ],
}
PACKAGES = {"onnx": ("tf2onnx", "onnx", "onnxruntime"), "tflite": ()}


class Row(NamedTuple):
    """A row of the table that `report` prints."""

    model: str
    MiB: str
    difference: str
    near_ties: str
    flipped: str
    ms_at_1: str
    ms_at_32: str
    metrics: str


def convert(
    saved_model,
    formats,
    output,
    signature=None,
    examples=None,
    compared=64,
    split="test",
    evaluated=None,
    rounds=20,
    data_dir=None,
    data=None,
    task_modules=(),
):
    """Converts the numeric signature of a SavedModel, checks parity, and measures size, latency and accuracy.

    Args:
      saved_model: path of its folder. If it has the config of its run, the recipe's data can be used.
      formats: names of FORMATS.
      output: pathlib.Path of the folder for the files and REPORT_FILE; replaced atomically.
      signature: its name; None for the only numeric one.
      examples: examples to compare on: path of an .npz file (example_inputs.read_examples) or RANDOM; None for the first examples
        of the recipe's `split`, or random ones without a recipe.
      compared: number of examples to compare on; of a file all are used.
      split: split of the recipe's data, to compare and evaluate on.
      evaluated: number of examples to evaluate on, rounded up to whole batches; None for all, 0 for none. A part such as an
        encoder is not evaluated.
      rounds: number of timed calls of each latency.
      data_dir, data, task_modules: as in official.evaluate.evaluate.

    Returns:
      The content of REPORT_FILE.

    Raises:
      ValueError: a format, signature or example that is not allowed, an operation that a format lacks, or outputs that differ by
        more than the limit without being a near tie of experts (official.serving.parity).
      ModuleNotFoundError: the packages of a format are not installed.
    """
    check_formats(formats)
    check_output(output, _is_conversion(output), "a folder with nothing but an earlier conversion", "output")
    if evaluated is not None and evaluated < 0:
        raise ValueError(f"evaluated={evaluated} is not allowed: it must be at least 0, or None for all")
    served = numeric_signature(saved_model, signature)
    task = spec = None
    if (pathlib.Path(saved_model) / CONFIG_FILE).exists():
        _, task = open_recipe(str(saved_model), data_dir, data=data, setting="saved_model", task_modules=task_modules)
        spec = task.part("model")
    inputs = _examples(served, task, examples, compared, split)
    print(f"Converting the signature {served.name}; to be compared on {inputs.origin}.", flush=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_dir(output) as folder:
        variants = [variant for name in formats for variant in FORMATS[name]]
        rows = _measured(served, variants, folder, inputs, _margins(spec and spec.model, served), rounds)
        if spec is not None and evaluated != 0 and _kind(saved_model) in (None, spec.kind):
            for row in rows:
                row["metrics"] = _evaluate(row["model"], served, task, split, evaluated)
        rows = [{key: value for key, value in row.items() if key != "model"} for row in rows]
        return write_summary(
            folder / REPORT_FILE,
            signature=served.name,
            examples=inputs.origin,
            limit=LIMIT,
            near_tie=NEAR_TIE,
            split=split if "metrics" in rows[0] else None,
            rounds=rounds,
            cores=len(os.sched_getaffinity(0)),
            models=rows,
            packages={package: metadata.version(package) for name in formats for package in PACKAGES[name]},
        )


def _is_conversion(folder):
    """Whether a folder holds the files of a conversion and nothing else."""
    known = {REPORT_FILE, *(variant.file for variants in FORMATS.values() for variant in variants)}
    return (folder / REPORT_FILE).is_file() and {path.name for path in folder.iterdir()} <= known


def report(output, written):
    """Prints the table of what `convert` returned, and where the files are."""
    print("\n" + text_table([_row(row) for row in written["models"]]) + "\n")
    ties = [row for row in written["models"] if row.get("near_ties")]
    for row in ties:
        print(f"{row['title']}: {row['near_ties']} examples have a near tie of experts, {row['flipped']} of them a routing flip")
    for row in written["models"][1:]:
        print(f"  {output / row['file']}")
    print(f"  {output / REPORT_FILE}: the table, with versions")


def _measured(served, variants, folder, inputs, margins, rounds):
    """Converts, compares and times. A dict for each model, the SavedModel first; "model" is the model itself."""
    rows = [{"model": served, "title": "SavedModel", "file": None, "bytes": _size(pathlib.Path(served.path))}]
    for variant in variants:
        path = folder / variant.file
        variant.convert(served, path)
        model = variant.load(path)
        parity = _compare(served, model, inputs, margins, variant)
        print(f"{variant.title}: {parity}", flush=True)
        rows.append({"model": model, "title": variant.title, "file": path.name, "bytes": _size(path), **parity._asdict()})
    for row in rows:
        row["milliseconds"] = {}
    for batch in BATCH_SIZES:
        times = _latencies([row["model"] for row in rows], inputs.first(batch), rounds)
        for row, milliseconds in zip(rows, times, strict=True):
            row["milliseconds"][str(batch)] = milliseconds
    return rows


def check_formats(formats):
    """Raises ValueError for an unknown format, ModuleNotFoundError for one whose packages are not installed."""
    for name in formats:
        if name not in FORMATS:
            raise ValueError(
                f"--format={name} is not allowed: it must be {SAVED_MODEL}, or some of {', '.join(FORMATS)}, with commas"
            )
        for package in PACKAGES[name]:
            try:
                metadata.version(package)
            except metadata.PackageNotFoundError:
                raise ModuleNotFoundError(
                    f"--format={name} needs {package}, which is not installed: pip install '.[onnx]' in the checkout"
                ) from None


def _examples(served, task, examples, count, split):
    if examples not in (None, RANDOM):
        return read_examples(examples, served.inputs)
    if examples == RANDOM or task is None:
        return random_examples(served.inputs, count)
    return dataset_examples(task.evaluation_dataset(split), served.inputs, count, f"the recipe's {split} split")


def _kind(saved_model):
    """The kind of model in its facts, such as "image classification"; None if it has none."""
    return read_facts(pathlib.Path(saved_model)).get("kind")


def _margins(model, served):
    """A function of {name: array} to the margins of ParityCheck.add; it returns None if nothing is known of the routers.

    Args:
      model: a fresh Keras model of the recipe (widenet.Model.call_with_margins); None if there is none.
      served: the NumericSignature, whose SavedModel has the weights. That of an encoder lacks the head, which routes nothing.
    """
    if not hasattr(model, "call_with_margins"):
        return lambda inputs: None
    weights = read_weights(served.path)
    for weight in model.weights:
        if plain_name(weight.name) in weights:
            weight.assign(weights[plain_name(weight.name)])
    call = tf.function(lambda inputs: model.call_with_margins(inputs)[1], reduce_retracing=True)

    def margins(inputs):
        named = inputs if isinstance(model.input, dict) else next(iter(inputs.values()))
        leads = call(tf.nest.map_structure(tf.constant, named))
        # A model without experts has no ties.
        return [float("inf")] * len(next(iter(inputs.values()))) if leads is None else leads.numpy()

    return margins


def _compare(served, model, inputs, margins, variant):
    check = ParityCheck(variant.limit)
    for batch in inputs.batches:
        check.add(served(batch), model(batch), margins(batch))
    return check.result(f"The outputs of {variant.title}")


def _latencies(models, inputs, rounds):
    """Median milliseconds of a call of each model. Calls are made in turns, so that other load on the machine affects all."""
    for model in models:
        for _ in range(2):  # the first calls of a shape are slower
            model(inputs)
    seconds = collections.defaultdict(list)
    for _ in range(rounds):
        for index, model in enumerate(models):
            start = time.perf_counter()
            model(inputs)
            seconds[index].append(time.perf_counter() - start)
    return [statistics.median(seconds[index]) * 1e3 for index in range(len(models))]


def _evaluate(model, served, task, split, evaluated):
    """The metrics of the task's evaluation of a model: {name: value}."""
    dataset = task.evaluation_dataset(split)
    if evaluated is not None:
        size = len(tf.nest.flatten(next(iter(dataset))[0])[0])
        dataset = dataset.take(-(-evaluated // size))
    evaluation = task.evaluation(split)
    run_model(lambda inputs: (call_by_names(_in_graph(model, served), list(served.inputs), inputs), None), dataset, evaluation)
    with tempfile.TemporaryDirectory() as folder:
        return evaluation.write(pathlib.Path(folder))


def _in_graph(model, served):
    """The model as a TensorFlow operation: a function of inputs by name to a dict of outputs."""

    def run(*arrays):
        outputs = model(dict(zip(served.inputs, arrays, strict=True)))
        return [outputs[name] for name in served.outputs]

    def call(**inputs):
        specs = served.outputs.values()
        tensors = tf.numpy_function(run, [inputs[name] for name in served.inputs], [spec.dtype for spec in specs])
        shaped = [tf.ensure_shape(tensor, spec.shape) for tensor, spec in zip(tensors, specs, strict=True)]
        return dict(zip(served.outputs, shaped, strict=True))

    return call


def _size(path):
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size


def _row(row):
    def text(key, form):
        return format(row[key], form) if row.get(key) is not None else ""

    return Row(
        row["title"],
        f"{row['bytes'] / 2**20:.2f}",
        text("largest", ".2g"),
        text("near_ties", ""),
        text("flipped", ""),
        *(f"{row['milliseconds'][str(batch)]:.2f}" for batch in BATCH_SIZES),
        ", ".join(f"{name} {value:.4f}" for name, value in row.get("metrics", {}).items()),
    )
