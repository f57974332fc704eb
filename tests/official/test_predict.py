"""Batch inference by a signature: order, invalid inputs, and resuming."""

import json
import math
import re
import sys

import numpy as np
import pytest
import tensorflow as tf

from official import predict
from tests.official.tiny import run_command

ROWS = [{"text": text} for text in ("one", "bad", "three words here", "", "five")]


class Lengths(tf.Module):
    """Returns the lengths of strings, and refuses "bad" as an exported model refuses an invalid image."""

    def answers(self, texts):
        bad = tf.where(texts == "bad")[:, 0]
        message = tf.strings.reduce_join(tf.strings.join(["text[", tf.strings.as_string(bad[:1]), "]: it is bad"]))
        with tf.control_dependencies([tf.debugging.Assert(tf.equal(tf.size(bad), 0), [message])]):
            length = tf.strings.length(texts)
        share = tf.cast(length, tf.float32) / 10
        return {"length": length, "upper": tf.strings.upper(texts), "shares": tf.stack([share, tf.math.log(share)], axis=1)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models that take `text`, `image_bytes`, two strings, and numbers; and a JSONL file."""
    folder, module = tmp_path_factory.mktemp("predict"), Lengths()
    strings = tf.TensorSpec([None], tf.string)

    def save(name, function, *specs):
        tf.saved_model.save(module, str(folder / name), tf.function(function).get_concrete_function(*specs))

    save("texts", lambda text: module.answers(text), strings)
    save("images", lambda image_bytes: module.answers(image_bytes), strings)
    save("pairs", lambda text, text_pair: {"joined": tf.strings.join([text, text_pair])}, strings, strings)
    save("numbers", lambda x: {"x": x}, tf.TensorSpec([None]))
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    return folder


def run(folder, model="texts", inputs="rows.jsonl", output="out.jsonl", **settings):
    """(What predict returns, the lines written)."""
    result = predict.predict(str(folder / model), str(folder / inputs), folder / output, **settings)
    return result, [json.loads(line) for line in (folder / output).read_text().splitlines()]


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_lines_of_json(folder, batch_size):
    """In the order of the inputs, for any batch size. An invalid input gets an error, the others their outputs; NaN is null."""
    output = f"{batch_size}.jsonl"
    result, rows = run(folder, output=output, batch_size=batch_size)
    assert result == (5, 1)
    assert [row["input"] for row in rows] == [f"rows.jsonl:{number}" for number in range(1, 6)]
    assert rows[1] == {"input": "rows.jsonl:2", "error": "text[0]: it is bad"}
    assert [row.get("length") for row in rows] == [3, None, 16, 0, 4]
    assert rows[2]["upper"] == "THREE WORDS HERE"
    assert rows[2]["shares"] == pytest.approx([1.6, math.log(1.6)], rel=1e-6)  # float32
    assert rows[3]["shares"] == [0, None]
    # In the fewest digits that identify a float32.
    assert re.search(r"\[1\.6, 0\.4700\d{1,5}\]", (folder / output).read_text())


def test_files(folder):
    """A glob, in the order of its paths; a file that cannot be read gets an error."""
    for name in ("b.txt", "a.txt", "c.txt"):
        (folder / name).write_text(name * 2)
    (folder / "c.txt").write_text("bad")
    result, rows = run(folder, "images", "*.txt", "files.jsonl")
    assert result == (3, 1)
    assert [row["input"] for row in rows] == [str(folder / name) for name in ("a.txt", "b.txt", "c.txt")]
    assert [row.get("upper") for row in rows] == ["A.TXTA.TXT", "B.TXTB.TXT", None]
    (folder / "named.jsonl").write_text('{"file": "a.txt"}\n{"file": "gone.txt"}\n')
    result, rows = run(folder, "images", "named.jsonl", "named_out.jsonl")
    assert result == (2, 1)
    assert rows[0]["upper"] == "A.TXTA.TXT"
    assert "gone.txt" in rows[1]["error"]


def test_pairs_and_bad_lines(folder):
    """Several strings by name; a line that is not JSON, not an object, or lacks a string gets an error."""
    lines = ['{"text": "a", "text_pair": "é"}', "{", "[1]", '{"text": "a"}', '{"text": "a", "text_pair": 1}']
    (folder / "pairs.jsonl").write_text("\n".join(lines) + "\n")
    result, rows = run(folder, "pairs", "pairs.jsonl", "pairs_out.jsonl")
    assert result == (5, 4)
    assert rows[0]["joined"] == "aé"
    for row, said in zip(
        rows[1:], ("it is not JSON", "not a JSON object", "no string 'text_pair'", "no string 'text_pair'"), strict=True
    ):
        assert said in row["error"]
    with pytest.raises(ValueError, match="must be a .jsonl file with text, text_pair in each line"):
        run(folder, "pairs", "*.txt", "pairs_out.jsonl")


def test_resumes(folder):
    """Complete lines are kept as they are, an incomplete one is written again."""
    path = folder / "resumed.jsonl"
    _, expected = run(folder, output=path.name)
    lines = path.read_text().splitlines(keepends=True)
    kept = lines[0].replace('"ONE"', '"KEPT"')
    for torn in ("", lines[1][:9], lines[1][:-1]):
        path.write_text(kept + torn)
        result, rows = run(folder, output=path.name, batch_size=2)
        assert result == (5, 1)
        assert rows[0]["upper"] == "KEPT"
        assert rows[1:] == expected[1:]
    before = path.read_bytes()
    assert run(folder, output=path.name)[0] == (5, 1)
    assert path.read_bytes() == before


@pytest.mark.parametrize("line", ['{"input": "rows.jsonl:2"}', "not JSON", "[]"])
def test_an_output_of_other_inputs(folder, line):
    """It is refused and stays as it is."""
    path = folder / "other.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=r"other\.jsonl, line 1, is not of the input rows\.jsonl:1"):
        run(folder, output=path.name)
    assert path.read_text() == line + "\n"


@pytest.mark.parametrize(
    "settings, said",
    [
        (dict(batch_size=0), "--batch_size=0 is not allowed"),
        (dict(signature="serve"), "--signature=serve is not allowed: it must be one of serving_default"),
        (dict(model="numbers"), "its inputs must be strings, and x are not"),
        (dict(inputs="*.nothing"), "must be a .jsonl file or a glob of existing files"),
    ],
)
def test_refused(folder, settings, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        run(folder, **settings)


def test_plain():
    """Invalid UTF-8, nested arrays, integers and floats."""
    assert predict.plain(b"\xff") == "\ufffd"
    assert predict.plain(np.array([[1, 2]], np.int32)) == [[1, 2]]
    assert predict.plain(np.array([b"a"], object)) == ["a"]
    assert predict.plain(np.float32(0.1)) == 0.1


def test_command(folder, tmp_path):
    """In a process: how many lines there are, and nothing on standard error."""
    command = [sys.executable, "-m", "official.predict", f"--input={folder / 'rows.jsonl'}", f"--output={tmp_path / 'out.jsonl'}"]
    done = run_command([*command, f"--model={folder / 'texts'}"])
    assert (done.returncode, done.stderr) == (0, "")
    assert "5 lines, 1 of them of invalid inputs" in done.stdout
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 5


def test_command_line(folder, tmp_path, capsys):
    """--handle is an older name of --model, and only one can be given; one sentence if there is no model."""
    given = [f"--input={folder / 'rows.jsonl'}", f"--output={tmp_path / 'out.jsonl'}"]
    predict.main([*given, f"--handle={folder / 'texts'}"])
    assert "5 lines, 1 of them of invalid inputs" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        predict.main([*given, f"--model={folder / 'nothing'}"])
    assert re.fullmatch(r"error: .*nothing.*", stopped.value.code)
    with pytest.raises(SystemExit):
        predict.main([*given, "--model=a", "--handle=b"])
    assert "not allowed with argument" in capsys.readouterr().err
