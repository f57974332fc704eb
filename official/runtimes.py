"""Exported models for other runtimes: converted, compared with the original, and measured beside it."""

import collections
import contextlib
import os
import pathlib
import statistics
import tempfile
import time
from importlib import metadata
from typing import Any, NamedTuple

import tensorflow as tf

from official import onnx_format, tflite_format
from official.agreement import LIMIT, NEAR_TIE, Comparison
from official.evaluate import open_recipe, run_model
from official.example_inputs import dataset_examples, random_examples, read_examples
from official.export import CONFIG_FILE
from official.signatures import numeric_signature
from official.summary import write_summary
from official.tables import text_table
from official.trained_models import call_by_names
from official.updates import plain_name
from official.weights import read_weights

REPORT_FILE = "runtimes.json"
BATCHES = (1, 32)  # whose latency is measured
RANDOM = "random"  # in place of a file of examples


class Variant(NamedTuple):
    """One file that a format makes.

    Attributes:
      title: of its row.
      file: its name.
      convert: function of a NumericSignature and the path, which writes it.
      load: function of the path, which makes a callable of {name: array}.
      limit: the largest difference from the SavedModel that is allowed; None for any.
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
    """One line of the table that `convert` prints."""

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
    count=64,
    split="test",
    evaluated=None,
    rounds=20,
    data_dir=None,
    data=None,
):
    """Converts the signature of numbers of a SavedModel, refuses what differs from it, and tells size, latency and accuracy.

    Args:
      saved_model: path of its folder. With the config of its run the recipe's data are at hand.
      formats: names of FORMATS.
      output: pathlib.Path of the folder for the files; other files in it are left alone.
      signature: its name; None for the only one of numbers.
      examples: path of an .npz file (official.example_inputs.read_examples), or RANDOM; None for the first of the recipe's `split`,
        and where there is no recipe random ones.
      count: how many examples are compared, of a file all.
      split: of the recipe's data, on which all are evaluated.
      evaluated: how many examples of it at most, to whole batches; None for all, 0 for none.
      rounds: how often each latency is measured.
      data_dir, data: in place of the recipe's, as in official.evaluate.evaluate.

    Returns:
      What REPORT_FILE holds.

    Raises:
      ValueError: no such format, signature or example; what a format lacks; outputs further apart than the limit, where no token
        of the example is nearly as well sent to another expert. No file of a model is left that was refused.
      ModuleNotFoundError: a format whose packages are not installed, saying how to install them.
    """
    _check(formats)
    served = numeric_signature(saved_model, signature)
    task = None
    if (pathlib.Path(saved_model) / CONFIG_FILE).exists():
        _, task = open_recipe(str(saved_model), data_dir, data=data, setting="saved_model")
    inputs = _examples(served, task, examples, count, split)
    print(f"Converting {saved_model}, signature {served.name}; to be compared: {inputs.origin}.", flush=True)
    output.mkdir(parents=True, exist_ok=True)
    margins = _margins(task, saved_model)
    models, agreements = {"SavedModel": served}, {}
    paths = {"SavedModel": pathlib.Path(saved_model)}
    for variant in (variant for name in formats for variant in FORMATS[name]):
        path = output / variant.file
        with _refused(path):
            variant.convert(served, path)
            models[variant.title], paths[variant.title] = variant.load(path), path
            agreements[variant.title] = _compare(served, models[variant.title], inputs, margins, variant)
        print(f"{path}: {agreements[variant.title]}", flush=True)
    latencies = {batch: _latencies(models, inputs.first(batch), rounds) for batch in BATCHES}
    metrics = {}
    if task is not None and evaluated != 0:
        metrics = {title: _evaluate(model, served, task, split, evaluated) for title, model in models.items()}
    rows = [
        {
            "model": title,
            "path": str(paths[title]),
            "bytes": _size(paths[title]),
            **(agreements[title]._asdict() if title in agreements else {}),
            "milliseconds": {str(batch): times[title] for batch, times in latencies.items()},
            "metrics": metrics.get(title),
        }
        for title in models
    ]
    print("\n" + text_table([_row(row) for row in rows]))
    return write_summary(
        output / REPORT_FILE,
        signature=served.name,
        examples=inputs.origin,
        limit=LIMIT,
        near_tie=NEAR_TIE,
        split=split if metrics else None,
        rounds=rounds,
        cores=len(os.sched_getaffinity(0)),
        rows=rows,
        packages={package: metadata.version(package) for name in formats for package in PACKAGES[name]},
    )


def _check(formats):
    for name in formats:
        if name not in FORMATS:
            raise ValueError(f"format={name!r} is not allowed: it must be one of {', '.join(FORMATS)}")
        for package in PACKAGES[name]:
            try:
                metadata.version(package)
            except metadata.PackageNotFoundError:
                needed = "pip install -r requirements-onnx.txt, or sh scripts/setup.sh requirements-onnx.lock"
                raise ModuleNotFoundError(f"format={name!r} needs {package}, which is not installed: {needed}") from None


def _examples(served, task, examples, count, split):
    if examples not in (None, RANDOM):
        return read_examples(examples, served.inputs)
    if examples == RANDOM or task is None:
        return random_examples(served.inputs, count)
    return dataset_examples(task.evaluation_dataset(split), served.inputs, count, f"the recipe's {split} split")


def _margins(task, saved_model):
    """Function of {name: array} to float [batch] (widenet.Model.call_with_margins), or to None where the model is not known."""
    if task is None:
        return lambda inputs: None
    model = task.create_model()
    if not hasattr(model, "call_with_margins"):
        return lambda inputs: None
    weights = read_weights(saved_model)
    for weight in model.weights:
        weight.assign(weights[plain_name(weight.name)])
    call = tf.function(model.call_with_margins, reduce_retracing=True)

    def margins(inputs):
        named = inputs if isinstance(model.input, dict) else next(iter(inputs.values()))
        found = call(tf.nest.map_structure(tf.constant, named))[1]
        # A model without experts routes nothing.
        return [float("inf")] * len(next(iter(inputs.values()))) if found is None else found.numpy()

    return margins


@contextlib.contextmanager
def _refused(path):
    """Takes the file away where what is done inside fails."""
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _compare(served, model, inputs, margins, variant):
    comparison = Comparison(variant.limit)
    for batch in inputs.batches:
        comparison.add(served(batch), model(batch), margins(batch))
    return comparison.result(f"The outputs of {variant.title}")


def _latencies(models, inputs, rounds):
    """{title: median milliseconds of a call}, the models in turns, so that what else the machine does falls on all alike."""
    seconds = collections.defaultdict(list)
    for model in models.values():
        for _ in range(2):  # the first calls of a shape prepare for it
            model(inputs)
    for _ in range(rounds):
        for title, model in models.items():
            start = time.perf_counter()
            model(inputs)
            seconds[title].append(time.perf_counter() - start)
    return {title: statistics.median(times) * 1e3 for title, times in seconds.items()}


def _evaluate(model, served, task, split, evaluated):
    """{name: value}: the metrics of the task's evaluation of a model's outputs."""
    dataset = task.evaluation_dataset(split)
    if evaluated is not None:
        size = len(tf.nest.flatten(next(iter(dataset))[0])[0])
        dataset = dataset.take(-(-evaluated // size))
    evaluation = task.evaluation(split)
    run_model(lambda inputs: (call_by_names(_in_graph(model, served), list(served.inputs), inputs), None), dataset, evaluation)
    with tempfile.TemporaryDirectory() as folder:
        return evaluation.write(pathlib.Path(folder))


def _in_graph(model, served):
    """The model as an operation of a graph: inputs by name to a dict of outputs."""

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
        row["model"],
        f"{row['bytes'] / 2**20:.2f}",
        text("largest", ".2g"),
        text("near_ties", ""),
        text("flipped", ""),
        *(f"{row['milliseconds'][str(batch)]:.2f}" for batch in BATCHES),
        ", ".join(f"{name} {value:.4f}" for name, value in (row["metrics"] or {}).items()),
    )
