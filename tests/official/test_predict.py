"""Batch inference by a signature: order, invalid inputs, and resuming."""

import json
import math
import os
import pathlib
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
        rows[1:], ("it is not JSON", "be a JSON object", "no string 'text_pair'", "no string 'text_pair'"), strict=True
    ):
        assert said in row["error"]
    (folder / "lone text.txt").write_text("a")
    with pytest.raises(ValueError, match="must be a table with the columns text, text_pair"):
        run(folder, "pairs", "lone*.txt", "pairs_out.jsonl")
    (folder / "lone text.txt").unlink()


@pytest.mark.parametrize("name", ["reviews.TSV", "reviews.txt", "reviews.Csv", "reviews.json"])
def test_tables(folder, name):
    """Of every kind that training reads, by the same rules; an input is named by its line."""
    content = 'id\ttext\n1\t"one ""two"""\n2\n3\t"three\nlines"\n'
    if name.endswith("Csv"):
        content = content.replace("\t", ",")
    if name.endswith("json"):
        content = json.dumps([{"text": 'one "two"'}, {"id": 2}, {"text": "three\nlines"}])
    (folder / name).write_text(content)
    result, rows = run(folder, inputs=name, output=f"{name}.jsonl")
    assert result == (3, 1)
    assert [row.get("upper") for row in rows] == ['ONE "TWO"', None, "THREE\nLINES"]
    numbers = (1, 2, 3) if name.endswith("json") else (2, 3, 4)
    assert [row["input"] for row in rows] == [f"{name}:{number}" for number in numbers]
    (folder / name).unlink()


def test_columns_of_other_names(folder, tmp_path, capsys):
    (folder / "named.csv").write_text("label,review\nx,one\n")
    given = [f"--model={folder / 'texts'}", f"--input={folder / 'named.csv'}", f"--output={tmp_path / 'out.jsonl'}"]
    predict.main([*given, "--column", "text=review"])
    assert json.loads((tmp_path / "out.jsonl").read_text())["upper"] == "ONE"
    with pytest.raises(SystemExit, match="--column=txt=... is not allowed: the signature's inputs are text$"):
        predict.main([*given, "--column=txt=review"])
    with pytest.raises(SystemExit):
        predict.main([*given, "--column=review"])
    assert "it must be INPUT=COLUMN" in capsys.readouterr().err


def test_texts_in_files(folder, tmp_path):
    """A glob of .txt files has a text each; what is not UTF-8 is an error of its line."""
    (tmp_path / "a.TXT").write_text("two\nlines")
    (tmp_path / "b.txt").write_bytes(b"PK\xff")
    result, rows = run(folder, inputs=tmp_path / "*.[tT]*", output="texts.jsonl")
    assert result == (2, 1)
    assert rows[0]["upper"] == "TWO\nLINES"
    assert rows[1]["error"] == "it is not UTF-8: invalid start byte at byte 2"


def test_a_name_with_brackets(folder, tmp_path):
    """A path is not a glob if there is such a file."""
    (tmp_path / "a [1].txt").write_text("x")
    result, rows = run(folder, "images", tmp_path / "a [1].txt", "brackets.jsonl")
    assert (result, rows[0]["input"]) == ((1, 0), f"{tmp_path}/a [1].txt")


def test_half_of_a_surrogate_pair(folder, tmp_path):
    """As in training, it is an error, and not answered as another text."""
    (tmp_path / "rows.jsonl").write_text('{"text": "ab\\ud83d"}\n{"text": "\\ud83d\\ude00"}\n')
    result, rows = run(folder, inputs=tmp_path / "rows.jsonl", output="surrogates.jsonl")
    assert result == (2, 1)
    assert [row.get("error") for row in rows] == ["its 'text' has half of a surrogate pair at character 2", None]


def test_a_name_that_is_not_utf_8(folder, tmp_path, capsys):
    """It stands in the output as JSON escapes it, and the output resumes; so may the output's own name be."""
    os.mkdir(os.fsencode(tmp_path) + b"/in")
    for name in (b"/in/a\xff.txt", b"/in/b.txt"):
        with open(os.fsencode(tmp_path) + name, "wb") as file:
            file.write(b"x")
    output = os.fsdecode(os.fsencode(tmp_path) + b"/out\xff.jsonl")
    for _ in range(2):
        predict.main([f"--model={folder / 'images'}", f"--input={tmp_path}/in/*.txt", f"--output={output}"])
        rows = [json.loads(line) for line in pathlib.Path(output).read_text().splitlines()]
        assert [row["input"] for row in rows] == [f"{tmp_path}/in/a\udcff.txt", f"{tmp_path}/in/b.txt"]
    assert f"{tmp_path}/out\\udcff.jsonl: 2 lines" in capsys.readouterr().out


def test_answers_of_a_classifier(tmp_path):
    """Of a run's workdir, for what it exported: one class, one label, and probabilities by the names of the classes."""
    outputs = {"class_ids": [1, 0], "labels": [b"positive", b"negative"], "probabilities": [[0.1, 0.9], [0.75, 0.25]]}
    outputs = {name: tf.constant(value) for name, value in outputs.items()}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serve(text):
        return {name: value[: tf.shape(text)[0]] for name, value in outputs.items()}

    model = tmp_path / "run" / "saved_model"
    tf.saved_model.save(tf.Module(), str(model), serve.get_concrete_function())
    (model / "assets.extra").mkdir()
    (model / "assets.extra" / "model.json").write_text('{"class_names": ["negative", "positive"]}')
    (tmp_path / "rows.csv").write_text("text\na\nb\n")
    predict.predict(tmp_path / "run", str(tmp_path / "rows.csv"), tmp_path / "out.jsonl")
    first, second = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert first == {
        "input": "rows.csv:2",
        "class_id": 1,
        "label": "positive",
        "probabilities": {"negative": 0.1, "positive": 0.9},
    }
    assert second["probabilities"] == {"negative": 0.75, "positive": 0.25}
    checkpoints = tmp_path / "unfinished" / "checkpoints"
    tf.train.Checkpoint(x=tf.Variable(1.0)).save(str(checkpoints / "step"))
    for place in (checkpoints / "step-1", checkpoints, checkpoints.parent):
        with pytest.raises(ValueError, match=f"export it by python -m official.export --model={re.escape(str(place))}$"):
            predict.predict(place, str(tmp_path / "rows.csv"), tmp_path / "other.jsonl")


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
    "content", ["Dear", '{"input": "rows.jsonl:2"', '{"input": "rows.jsonl:1", "class_ids": 3}\n', "[1]\nDe", "{}\n" * 6]
)
def test_an_output_that_is_not_its_own(folder, content):
    """Not a byte of it changes: not of an incomplete last line either, and nothing follows answers of another form."""
    path = folder / "letter.txt.jsonl"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"letter\.txt\.jsonl, line 1, is not of the input rows\.jsonl:1"):
        run(folder, output=path.name)
    assert path.read_text() == content


@pytest.mark.parametrize(
    "settings, said",
    [
        (dict(batch_size=0), "--batch_size=0 is not allowed"),
        (dict(signature="serve"), "--signature=serve is not allowed: it must be one of serving_default"),
        (dict(model="numbers"), "its inputs must be strings, and x are not"),
        (dict(inputs="*.nothing"), ", .json) or a glob of existing files"),
        (dict(inputs="rows.xlsx"), "rows.xlsx is neither"),
        (dict(inputs="rows.csv*"), "rows.csv.gz is neither"),
        (dict(inputs="[n-o]*.csv"), "named.csv is one of several files"),
        (
            dict(inputs="other.csv"),
            "other.csv, line 1: it has no column 'text'; its columns are 'review', 'label' (--column text=",
        ),
        (dict(inputs="other.jsonl"), "other.jsonl, line 2: it has no column 'text'; its columns are 'review' (--column text="),
    ],
)
def test_refused(folder, settings, said):
    """Among them files that are neither tables nor texts, which would otherwise be answered as one text."""
    for name in ("rows.xlsx", "rows.csv.gz"):
        (folder / name).write_bytes(b"PK")
    (folder / "other.csv").write_text("review,label\na,b\n")
    (folder / "named.csv").write_text("label,review\nx,one\n")
    (folder / "other.jsonl").write_text('{\n{"review": "a"}\n{"review": "b"}\n')
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
