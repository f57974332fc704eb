"""Batch inference with an exported model: python -m official.predict --model=MODEL --input='photos/*.jpg' --output=out.jsonl

Takes images or texts, whatever strings the signature takes, and writes a line of JSON for each. The input is a table, as for
training (TSV, CSV or JSON, official.data.rows), whose columns are the signature's inputs ("text", "text_pair", ...; for an image
its path, as "file"); or a glob of images, or of .txt files with a text each. The line of an invalid input has the reason as
"error". If the command was stopped, the same command resumes. Of embeddings it also prints which inputs are nearest to each
other.
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
from official.data.rows import CSV, ENDINGS, JSONL, Rows, is_table
from official.files.checked_json import decoded
from official.files.layout import printable
from official.files.nearest import VECTOR, nearest_table
from official.files.summary import read_facts
from official.serving.signatures import exported_folder, load_exported

SIGNATURE = "serving_default"
ESCAPED = "backslashreplace"  # a name that is not UTF-8 has surrogates, which become JSON's escapes, such as \udcff
TABLES_OF_FILES = (*CSV, ".tsv", ".tab", *JSONL)  # for images; there a .txt file is not a table
FILE_CONTENT = "_bytes"  # an input whose name ends so is the content of a file, such as image_bytes
FILE = "file"  # the column of a table for the path of such a file
# Outputs of a batch, their rank, and their names in one example's answer.
SINGULAR = {"class_ids": (1, "class_id"), "labels": (1, "label"), "embeddings": (2, VECTOR)}


class Example(NamedTuple):
    """One input.

    Attributes:
      name: its "input" in the output file: a path, or "FILE.jsonl:3".
      read: function that returns {input of the signature: bytes}; raises ValueError or OSError if it cannot be read.
    """

    name: str
    read: object


def predict(model, inputs, output, batch_size=32, signature=SIGNATURE, columns=None):
    """Writes a model's predictions for many inputs; of embeddings it also prints which inputs are nearest to each other.

    Args:
      model: path of a SavedModel, or of the workdir of a run that has exported one, or handle of a published one
        (official.serving.signatures.exported_folder).
      inputs: as of `find_examples`.
      output: path of a JSONL file. Complete lines that it already has are kept.
      batch_size: number of inputs in a call of the model.
      signature: name of the signature to call; its inputs must be strings.
      columns: {input of the signature: column of the table}, where the names differ.

    Returns:
      (number of lines in the output, how many of them are of invalid inputs).

    Raises:
      ValueError: an unknown signature, no inputs, inputs that are neither a table nor files of one input each, or an output that
        is not of these inputs.
      OSError: a model or a file that cannot be read or written.
    """
    if batch_size < 1:
        raise ValueError(f"--batch_size={batch_size} is not allowed: it must be at least 1")
    call, names = _open(exported_folder(model), signature)
    examples = find_examples(inputs, names, columns)
    output = pathlib.Path(output)
    done, bad = kept_lines(output, [example.name for example in examples])
    output.parent.mkdir(parents=True, exist_ok=True)
    line = StatusLine(log_every=10)
    started, first = time.perf_counter(), done
    with output.open("a", encoding="utf-8", errors=ESCAPED) as file:
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
    nearest = nearest_table(output, lambda number: _shown(examples[number], names))
    if nearest:
        print(nearest)
    return done, bad


def _shown(example, names):
    """What a table shows of an Example: its text, or the name of an image's file."""
    is_text = not any(name.endswith(FILE_CONTENT) for name in names)
    return " | ".join(example.read()[name].decode(errors="replace") for name in names) if is_text else example.name


def _open(folder, signature):
    """(function of {name: list of bytes} to {name: array or list}, names of the inputs)."""
    model = load_exported(folder)
    if signature not in model.signatures:
        raise ValueError(f"--signature={signature} is not allowed: it must be one of {', '.join(model.signatures)}")
    specs = model.signatures[signature].structured_input_signature[1]
    others = [name for name, spec in specs.items() if spec.dtype != tf.string]
    if others:
        raise ValueError(
            f"--signature={signature} is not allowed: its inputs must be strings, and {', '.join(sorted(others))} are not"
        )
    class_names = read_facts(folder).get("class_names") or []

    def call(columns):
        tensors = {name: tf.constant(values, tf.string) for name, values in columns.items()}
        # Looked up here, since the function must keep the model alive: its variables are deleted with it.
        outputs = {name: tensor.numpy() for name, tensor in model.signatures[signature](**tensors).items()}
        return of_examples(outputs, class_names)

    return call, sorted(specs)


def of_examples(outputs, class_names):
    """Renames a batch's outputs for answers about single examples, and gives probabilities the names of their classes.

    Args:
      outputs: {name: array [N, ...]}.
      class_names: list of the model's classes; [] for a model without.

    Returns:
      {name: array [N, ...] or list of N dicts}.
    """
    found = {}
    for name, value in outputs.items():
        rank, singular = SINGULAR.get(name, (value.ndim, name))
        found[singular if value.ndim == rank else name] = value
    shares = found.get("probabilities")
    if class_names and shares is not None and shares.shape[1:] == (len(set(class_names)),):
        found["probabilities"] = [dict(zip(class_names, row, strict=True)) for row in shares]
    return found


def find_examples(inputs, names, columns=None):
    """The Examples of a table, or of the files of a glob in the order of their paths.

    Args:
      inputs: the path of a table (official.data.rows), whose columns are the inputs; or, for a signature of one input, a glob of
        files with one input each: of texts their names must end in .txt. A path to a single .txt file is that of a table.
      names: of the signature's inputs.
      columns: {input: column of the table}, where the names differ.

    Raises:
      ValueError: no files, a table that lacks a column, files that are neither, or an unknown input in `columns`.
    """
    unknown = (columns or {}).keys() - set(names)
    if unknown:
        raise ValueError(f"--column={unknown.pop()}=... is not allowed: the signature's inputs are {', '.join(names)}")
    columns = {name: (columns or {}).get(name, name) for name in names}
    path = pathlib.Path(inputs).expanduser()
    is_text = not any(name.endswith(FILE_CONTENT) for name in names)
    if is_table(path) and path.is_file() and (is_text or path.suffix.lower() in TABLES_OF_FILES):
        return _of_table(path, columns)
    # A path is not read as a glob, since names may have brackets.
    pattern = os.path.expanduser(inputs)
    found = [pattern] if path.is_file() else glob.glob(pattern, recursive=True)
    paths = sorted(path for path in found if os.path.isfile(path))
    if not paths:
        raise ValueError(
            f"--input={printable(inputs)} is not allowed: it must be a table ({', '.join(ENDINGS)}) or a glob of existing files"
        )
    if len(names) > 1:
        raise ValueError(
            f"--input={printable(inputs)} is not allowed: it must be a table with the columns {', '.join(columns.values())}"
        )
    others = [path for path in paths if not path.lower().endswith(".txt")]
    if is_text and others:
        what = "one of several files" if is_table(others[0]) else "neither"
        raise ValueError(
            f"--input={printable(inputs)} is not allowed: it must be one table ({', '.join(ENDINGS)}), or a glob of .txt files "
            f"with a text each; {printable(others[0])} is {what}"
        )
    return [Example(path, lambda path=path: {names[0]: _of_file(path, is_text)}) for path in paths]


def _of_file(path, is_text):
    content = pathlib.Path(path).read_bytes()
    try:
        return content.decode("utf-8-sig").encode() if is_text else content
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8: {error.reason} at byte {error.start}") from error


def _of_table(path, columns):
    """The Examples of a table's rows; raises ValueError for a header, or JSON objects all of them, without one of the columns."""
    rows = Rows(path)
    if rows.is_json:
        found = list(rows)
        objects = [(number, row) for number, row in found if not isinstance(row, ValueError)]
        has = {key for _, row in objects for key in row}
        first = objects[0] if objects else None
    else:
        first = rows.columns()
        found, has = list(rows), first[1]
    for name, column in columns.items():
        if first and _column(name, column, has) not in has:
            shown = ", ".join(map(repr, first[1]))
            raise ValueError(
                f"{printable(rows.name_of(first[0]))}: it has no column {_column(name, column, has)!r}; its columns are {shown} "
                f"(--column {name}=COLUMN reads another one)"
            )
    return [Example(f"{path.name}:{number}", lambda found=row: _of_row(found, columns, path.parent)) for number, row in found]


def _column(name, column, names):
    """The column of an input: for the content of a file it may be FILE, which has the file's path."""
    return FILE if name.endswith(FILE_CONTENT) and column not in names else column


def _of_row(found, columns, folder):
    """{input: bytes} of a row; raises ValueError."""
    if isinstance(found, ValueError):
        raise found
    content = {}
    for name, column in columns.items():
        key = _column(name, column, found)
        if not isinstance(found.get(key), str):
            raise ValueError(f"it has no string {key!r}")
        is_path = name.endswith(FILE_CONTENT) and key == FILE
        try:
            content[name] = (folder / found[key]).read_bytes() if is_path else found[key].encode()
        except UnicodeEncodeError as error:  # such as "\ud83d" in JSON
            raise ValueError(f"its {key!r} has half of a surrogate pair at character {error.start}") from error
    return content


def kept_lines(output, names):
    """Removes an incomplete last line from an earlier output, once all of it is known to be of the same inputs.

    Args:
      output: a pathlib.Path.
      names: of the examples, in order.

    Returns:
      (number of complete lines, how many of them are errors).

    Raises:
      ValueError: an output that does not begin with lines of these inputs; it stays as it was.
    """
    if not output.exists():
        return 0, 0
    content = output.read_bytes()
    *rows, torn = content.split(b"\n")
    bad = 0
    for number, (row, name) in enumerate(itertools.zip_longest(rows, names[: len(rows)]), start=1):
        try:
            fields = decoded(row)
        except ValueError:
            fields = None
        if name is None or not isinstance(fields, dict) or fields.get("input") != name or _is_of_0_1_0(fields):
            raise _foreign(output, number, name)
        bad += "error" in fields
    if torn:
        name = names[len(rows)] if len(rows) < len(names) else None
        begin = (json.dumps({"input": name}, ensure_ascii=False)[:-1] + ", ").encode("utf-8", ESCAPED)
        if name is None or not (torn.startswith(begin) or begin.startswith(torn)):
            raise _foreign(output, len(rows) + 1, name)
        with output.open("rb+") as file:
            file.truncate(len(content) - len(torn))
    return len(rows), bad


def _is_of_0_1_0(fields):
    """Whether a line has the names of outputs that version 0.1.0 wrote, unlike the lines that would follow."""
    return any(name in fields and not isinstance(fields[name], list) for name in SINGULAR)


def _foreign(output, number, name):
    what = "after the last input" if name is None else f"not of the input {printable(name)}, as this version writes it"
    return ValueError(f"{printable(output)}, line {number}, is {what}: delete the file, or choose another --output")


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
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if getattr(value, "ndim", 0):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = float(str(value)) if value.dtype.kind == "f" else value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _renamed(text):
    name, is_pair, column = text.partition("=")
    if not is_pair:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: it must be INPUT=COLUMN")
    return name, column


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m official.predict", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model(parser, "workdir of a finished run, path of an exported model, or handle", aliases=("--handle",))
    parser.add_argument("--input", required=True, help="a table (.tsv, .csv, .jsonl, ...), or a glob of files (in quotes)")
    parser.add_argument("--output", required=True, help=".jsonl file to write, or to resume")
    parser.add_argument("--batch_size", metavar="N", type=int, default=32, help="inputs in a call (default: %(default)s)")
    parser.add_argument("--signature", metavar="NAME", default=SIGNATURE, help="signature to call (default: %(default)s)")
    parser.add_argument(
        "--column",
        metavar="INPUT=COLUMN",
        action="append",
        default=[],
        type=_renamed,
        help="column of a table for an input of the signature, such as text=review (default: the input's name)",
    )
    args = parser.parse_args(argv)
    try:
        done, bad = predict(args.model, args.input, args.output, args.batch_size, args.signature, dict(args.column))
    except (ValueError, OSError) as error:
        sys.exit(printable(f"error: {error}"))
    except KeyboardInterrupt:
        sys.exit("\nstopped; the same command resumes here")
    print(f"{printable(args.output)}: {done:,} lines, {bad:,} of them of invalid inputs")


if __name__ == "__main__":
    tf.get_logger().setLevel("ERROR")
    main()
