"""Many answers of an exported model: python -m official.predict --handle=MODEL --input='photos/*.jpg' --output=out.jsonl

Images or texts in, whatever the model's first signature takes as strings, and one line of JSON out for each. The input is a glob
of files, or a JSONL file whose lines have the signature's inputs by name ("text", "text_pair", ...; of an image its path, as
"file"). A bad input gets a line that says what is wrong with it. The same command goes on where a stopped one was.
"""

import argparse
import glob
import itertools
import json
import math
import os
import pathlib
import re
import sys
import time
from typing import NamedTuple

from official.cli import quiet

with quiet.startup():
    import tensorflow as tf

from official.cli.status_line import StatusLine
from official.serving.signatures import load_exported

SIGNATURE = "serving_default"
FILE_CONTENT = "_bytes"  # how the name of an input ends that is the content of a file, such as image_bytes
FILE = "file"  # the key of a JSONL file under which the path of such a file stands


class Example(NamedTuple):
    """An input.

    Attributes:
      name: how its line calls it: a path, or "FILE.jsonl:3".
      read: function that gives {input of the signature: bytes}; raises ValueError or OSError where it cannot be read.
    """

    name: str
    read: object


def predict(handle, inputs, output, batch_size=32, signature=SIGNATURE):
    """Writes a model's answers.

    Args:
      handle: of a published SavedModel, or the path of one (official.checkpoints.weights.local_path).
      inputs: a glob of files, or the path of a JSONL file.
      output: path of a JSONL file. Lines that it has already are kept, a torn last one is not.
      batch_size: how many inputs the model is given at once.
      signature: name of the signature to call; all that it takes must be strings.

    Returns:
      (how many lines there are now, of how many of them the input was bad).

    Raises:
      ValueError: no such signature, no inputs, or an output that belongs to other inputs.
      OSError: a model or a file that cannot be read or written.
    """
    if batch_size < 1:
        raise ValueError(f"--batch_size={batch_size} is not allowed: it must be at least 1")
    call, names = _open(handle, signature)
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
                line.show(f"{done:,} of {len(examples):,} inputs, {rate:,.0f} a second, {bad:,} of them bad")
    line.clear()
    return done, bad


def _open(handle, signature):
    """(function of {name: list of bytes} to {name: array}, names of the inputs)."""
    model = load_exported(handle)
    if signature not in model.signatures:
        raise ValueError(f"--signature={signature} is not allowed: it must be one of {', '.join(model.signatures)}")
    specs = model.signatures[signature].structured_input_signature[1]
    others = [name for name, spec in specs.items() if spec.dtype != tf.string]
    if others:
        raise ValueError(
            f"--signature={signature} is not allowed: it must take strings, and {', '.join(sorted(others))} are none"
        )

    def call(columns):
        tensors = {name: tf.constant(values, tf.string) for name, values in columns.items()}
        # By the model, whose variables go when it goes.
        return {name: tensor.numpy() for name, tensor in model.signatures[signature](**tensors).items()}

    return call, sorted(specs)


def find_examples(inputs, names):
    """The Examples of a glob, in the order of their paths, or of a JSONL file.

    Args:
      inputs: a glob, or the path of a JSONL file.
      names: of the signature's inputs.

    Raises:
      ValueError: nothing there, or files for a signature that takes several strings.
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
        raise ValueError(f"--input={inputs} is not allowed: it must be a .jsonl file or a glob of files, and there are none")
    if len(names) > 1:
        raise ValueError(f"--input={inputs} is not allowed: it must be a .jsonl file with {', '.join(names)} in each line")
    return [Example(path, lambda path=path: {names[0]: pathlib.Path(path).read_bytes()}) for path in paths]


def _of_line(line, names, folder):
    """{input: bytes} of a line of JSON; raises ValueError."""
    try:
        found = json.loads(line)
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    content = {}
    for name in names:
        key = FILE if name.endswith(FILE_CONTENT) and name not in found else name
        if not isinstance(found.get(key), str):
            raise ValueError(f"it has no {key!r} that is a string")
        content[name] = (folder / found[key]).read_bytes() if key == FILE else found[key].encode("utf-8", "replace")
    return content


def kept_lines(output, names):
    """Takes away a torn last line; (how many whole lines there are, how many of them are errors).

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
            found = json.loads(row)
        except ValueError:
            found = None
        if not isinstance(found, dict) or found.get("input") != name:
            raise ValueError(f"{output}, line {number}, is not of the input {name}: delete the file, or name another --output")
        bad += "error" in found
    return len(rows), bad


def answers(call, batch):
    """A dict for each example of a batch: its outputs, or "error"."""
    found, contents = {}, {}
    for place, example in enumerate(batch):
        try:
            contents[place] = example.read()
        except (ValueError, OSError) as error:
            found[place] = {"error": str(error)}
    if contents:
        try:
            rows = ask(call, list(contents.values()))
        except tf.errors.OpError:
            rows = [ask_alone(call, content) for content in contents.values()]  # a bad one must not lose the others their answers
        found |= zip(contents, rows, strict=True)
    return [found[place] for place in range(len(batch))]


def ask(call, contents):
    """The outputs for each of some examples, a list of dicts as JSON has them; raises tf.errors.OpError where one is refused."""
    outputs = call({name: [content[name] for content in contents] for name in contents[0]})
    return [{name: plain(value[row]) for name, value in sorted(outputs.items())} for row in range(len(contents))]


def ask_alone(call, content):
    """The outputs for one example, or what is wrong with it."""
    try:
        return ask(call, [content])[0]
    except tf.errors.OpError as error:
        return {"error": told(error)}


def told(error):
    """What a tf.errors.OpError says, without the operations and traces that it names: a sentence."""
    assertion = re.search(r"assertion failed: \[(.*)\]", error.message)
    if assertion:
        return assertion[1]
    frame = ("Graph execution error", "Detected at", "<stack traces", "[[", "(0)", "(1)")
    lines = [line.strip() for line in error.message.splitlines()]
    told = next((line for line in lines if line and not line.startswith(frame)), error.message.strip())
    return re.sub(r"\{\{.*?\}\}|\[Op:.*", "", told).strip()


def plain(value):
    """An array, or an element of one, as JSON has it: bytes as text, float32 in as few digits as tell it, no number as null."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if getattr(value, "ndim", 0):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = float(str(value)) if value.dtype.kind == "f" else value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--handle", required=True, help="handle or path of an exported model")
    parser.add_argument("--input", required=True, help="a glob of files (in quotes), or a .jsonl file")
    parser.add_argument("--output", required=True, help="the .jsonl file to write, or to go on with")
    parser.add_argument("--batch_size", type=int, default=32, help="default: %(default)s")
    parser.add_argument("--signature", default=SIGNATURE, help="default: %(default)s")
    given = parser.parse_args()
    try:
        done, bad = predict(given.handle, given.input, given.output, given.batch_size, given.signature)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("\nstopped; the same command goes on from here")
    print(f"{given.output}: {done:,} lines, {bad:,} of them of bad inputs")


if __name__ == "__main__":
    tf.get_logger().setLevel("ERROR")
    main()
