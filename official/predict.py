"""Batch inference with an exported model: python -m official.predict --model=MODEL --input='photos/*.jpg' --output=out.jsonl

Takes images or texts, whatever strings the signature takes, and writes a line of JSON for each. The input is a glob of files,
or a JSONL file whose lines have the signature's inputs by name ("text", "text_pair", ...; for an image its path, as "file").
The line of an invalid input has the reason as "error". If the command was stopped, the same command resumes.
"""

import argparse
import glob
import itertools
import json
import math
import os
import pathlib
import sys
import time
from typing import NamedTuple

from official.cli import quiet

with quiet.startup():
    import tensorflow as tf

from official.cli.arguments import add_model
from official.cli.status_line import StatusLine
from official.data.bad_examples import op_message
from official.serving.signatures import load_exported

SIGNATURE = "serving_default"
FILE_CONTENT = "_bytes"  # an input whose name ends so is the content of a file, such as image_bytes
FILE = "file"  # the key in a JSONL file for the path of such a file


class Example(NamedTuple):
    """One input.

    Attributes:
      name: its "input" in the output file: a path, or "FILE.jsonl:3".
      read: function that returns {input of the signature: bytes}; raises ValueError or OSError if it cannot be read.
    """

    name: str
    read: object


def predict(model, inputs, output, batch_size=32, signature=SIGNATURE):
    """Writes a model's predictions for many inputs.

    Args:
      model: path of a SavedModel or handle of a published one (official.checkpoints.weights.local_path).
      inputs: a glob of files, or the path of a JSONL file.
      output: path of a JSONL file. Complete lines that it already has are kept.
      batch_size: number of inputs in a call of the model.
      signature: name of the signature to call; its inputs must be strings.

    Returns:
      (number of lines in the output, how many of them are of invalid inputs).

    Raises:
      ValueError: an unknown signature, no inputs, or an output that belongs to other inputs.
      OSError: a model or a file that cannot be read or written.
    """
    if batch_size < 1:
        raise ValueError(f"--batch_size={batch_size} is not allowed: it must be at least 1")
    call, names = _open(model, signature)
    examples = find_examples(inputs, names)
    output = pathlib.Path(output)
    done, bad = kept_lines(output, [example.name for example in examples])
    output.parent.mkdir(parents=True, exist_ok=True)
    line = StatusLine(log_every=10)
    started, first = time.perf_counter(), done
    with output.open("a", encoding="utf-8") as file:
        for start in range(done, len(examples), batch_size):
            batch = examples[start : start + batch_size]
            for example, answer in zip(batch, answers(call, batch), strict=True):
                bad += "error" in answer
                file.write(json.dumps({"input": example.name, **answer}, ensure_ascii=False) + "\n")
            file.flush()
            done = start + len(batch)
            if line.is_due():
                rate = (done - first) / (time.perf_counter() - started)
                line.show(f"{done:,} of {len(examples):,} inputs, {rate:,.0f} a second, {bad:,} of them invalid")
    line.clear()
    return done, bad


def _open(path, signature):
    """(function of {name: list of bytes} to {name: array}, names of the inputs)."""
    model = load_exported(path)
    if signature not in model.signatures:
        raise ValueError(f"--signature={signature} is not allowed: it must be one of {', '.join(model.signatures)}")
    specs = model.signatures[signature].structured_input_signature[1]
    others = [name for name, spec in specs.items() if spec.dtype != tf.string]
    if others:
        raise ValueError(
            f"--signature={signature} is not allowed: its inputs must be strings, and {', '.join(sorted(others))} are not"
        )

    def call(columns):
        tensors = {name: tf.constant(values, tf.string) for name, values in columns.items()}
        # Looked up here, since the function must keep the model alive: its variables are deleted with it.
        return {name: tensor.numpy() for name, tensor in model.signatures[signature](**tensors).items()}

    return call, sorted(specs)


def find_examples(inputs, names):
    """The Examples of a glob, in the order of their paths, or of a JSONL file.

    Args:
      inputs: a glob, or the path of a JSONL file.
      names: of the signature's inputs.

    Raises:
      ValueError: no files, or files for a signature that takes several strings.
    """
    if inputs.endswith(".jsonl"):
        path = pathlib.Path(inputs)
        lines = path.read_bytes().splitlines()
        return [
            Example(f"{path.name}:{number}", lambda line=line: _of_line(line, names, path.parent))
            for number, line in enumerate(lines, start=1)
            if line.strip()
        ]
    paths = sorted(path for path in glob.glob(os.path.expanduser(inputs), recursive=True) if os.path.isfile(path))
    if not paths:
        raise ValueError(f"--input={inputs} is not allowed: it must be a .jsonl file or a glob of existing files")
    if len(names) > 1:
        raise ValueError(f"--input={inputs} is not allowed: it must be a .jsonl file with {', '.join(names)} in each line")
    return [Example(path, lambda path=path: {names[0]: pathlib.Path(path).read_bytes()}) for path in paths]


def _of_line(line, names, folder):
    """{input: bytes} of a line of JSON; raises ValueError."""
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ValueError("it is not a JSON object")
    content = {}
    for name in names:
        key = FILE if name.endswith(FILE_CONTENT) and name not in fields else name
        if not isinstance(fields.get(key), str):
            raise ValueError(f"it has no string {key!r}")
        content[name] = (folder / fields[key]).read_bytes() if key == FILE else fields[key].encode("utf-8", "replace")
    return content


def kept_lines(output, names):
    """Removes an incomplete last line from an earlier output.

    Args:
      output: a pathlib.Path.
      names: of the examples, in order.

    Returns:
      (number of complete lines, how many of them are errors).

    Raises:
      ValueError: lines of other inputs.
    """
    if not output.exists():
        return 0, 0
    with output.open("rb+") as file:
        content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        file.truncate(len(whole))
    bad = 0
    rows = whole.splitlines()
    for number, (row, name) in enumerate(itertools.zip_longest(rows, names[: len(rows)]), start=1):
        try:
            fields = json.loads(row)
        except ValueError:
            fields = None
        if not isinstance(fields, dict) or fields.get("input") != name:
            raise ValueError(f"{output}, line {number}, is not of the input {name}: delete the file, or choose another --output")
        bad += "error" in fields
    return len(rows), bad


def answers(call, batch):
    """A dict for each Example of a batch: the model's outputs, or "error"."""
    results, contents = {}, {}
    for index, example in enumerate(batch):
        try:
            contents[index] = example.read()
        except (ValueError, OSError) as error:
            results[index] = {"error": str(error)}
    if contents:
        try:
            rows = ask(call, list(contents.values()))
        except tf.errors.OpError:
            rows = [ask_alone(call, content) for content in contents.values()]  # one invalid input fails the whole call
        results |= zip(contents, rows, strict=True)
    return [results[index] for index in range(len(batch))]


def ask(call, contents):
    """The outputs for a list of inputs, a list of dicts for JSON; raises tf.errors.OpError if the model refuses one of them."""
    outputs = call({name: [content[name] for content in contents] for name in contents[0]})
    return [{name: plain(value[row]) for name, value in sorted(outputs.items())} for row in range(len(contents))]


def ask_alone(call, content):
    """The outputs for one input, or its error."""
    try:
        return ask(call, [content])[0]
    except tf.errors.OpError as error:
        return {"error": op_message(error)}


def plain(value):
    """A value for JSON of an array or an element of one: bytes as text, floats in the fewest digits, NaN and infinity as None."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if getattr(value, "ndim", 0):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = float(str(value)) if value.dtype.kind == "f" else value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m official.predict", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model(parser, "path of an exported model, or handle", aliases=("--handle",))
    parser.add_argument("--input", required=True, help="glob of files (in quotes), or a .jsonl file")
    parser.add_argument("--output", required=True, help=".jsonl file to write, or to resume")
    parser.add_argument("--batch_size", metavar="N", type=int, default=32, help="inputs in a call (default: %(default)s)")
    parser.add_argument("--signature", metavar="NAME", default=SIGNATURE, help="signature to call (default: %(default)s)")
    args = parser.parse_args(argv)
    try:
        done, bad = predict(args.model, args.input, args.output, args.batch_size, args.signature)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("\nstopped; the same command resumes here")
    print(f"{args.output}: {done:,} lines, {bad:,} of them of invalid inputs")


if __name__ == "__main__":
    tf.get_logger().setLevel("ERROR")
    main()
