"""TSV, CSV and JSON files of the user's own: what is read, and a sentence with file and line for what cannot be."""

import hashlib
import json
import re

import numpy as np
import pytest
from absl import logging

from official.data.bad_examples import BadExamples
from tests.bert.prepared_texts import open_data, write_jsonl, write_tsv

TRAIN = [("fine", "good"), ("awful", "bad"), ("well", "good"), ("poor", "bad")]


def refused(said, **settings):
    """A file set, all of whose splits are read, is refused in one sentence that begins so."""
    with pytest.raises(ValueError, match="^" + re.escape(said)) as error:
        found = open_data(name="file", **{key: str(value) for key, value in settings.items()})
        for split in found.splits:
            found.load(split, None)
    assert "\n" not in str(error.value)


class TestTsv:
    @pytest.fixture
    def train(self, tmp_path):
        return write_tsv(tmp_path / "train.tsv", ("text", "label"), *TRAIN)

    def test_classes_labels_and_names(self, train, tmp_path):
        """Classes in the order of their names; an example's name is its file and line."""
        validation = write_tsv(tmp_path / "dev.tsv", ("label", "text"), ("good", "nice"))
        found = open_data(name="file", train_file=str(train), validation_file=str(validation))
        assert (found.class_names, found.pairs) == (("bad", "good"), False)
        assert found.splits == dict(train="train", validation="validation")
        examples = found.load("train", None)
        assert examples.texts == (["fine", "awful", "well", "poor"],)
        np.testing.assert_array_equal(examples.labels, [1, 0, 1, 0])
        assert examples.labels.dtype == np.int64
        assert examples.name_of(2) == f"{train}, line 4"
        assert found.load("validation", None).texts == (["nice"],)
        np.testing.assert_array_equal(found.load("train[1:3]+validation", None).labels, [0, 1, 1])
        assert found.load("train[1:3]+validation", None).name_of(2) == f"{validation}, line 2"

    def test_what_stands_between_tabs_is_the_text(self, tmp_path):
        """Quotes, spaces, line separators of Unicode and accents stay; a byte order mark and returns go; empty lines count."""
        path = tmp_path / "train.tsv"
        path.write_bytes('\ufefftext\tlabel\r\n"a ""b" c\tx\r\n\r\n  é\u2028ü \ty\r\n'.encode())
        examples = open_data(name="file", train_file=str(path)).load("train+validation", None)
        found = {text: examples.name_of(place) for place, text in enumerate(examples.texts[0])}
        assert found == {'"a ""b" c': f"{path}, line 2", "  é\u2028ü ": f"{path}, line 4"}

    def test_validation_is_the_last_tenth_by_hash(self, tmp_path):
        """Whatever the order of the lines: by SHA-256, computed here by hand."""
        texts = [f"text {i}" for i in range(40)]
        expected = sorted(texts, key=lambda text: hashlib.sha256(text.encode()).hexdigest())[-4:]
        for name, order in (("one", texts), ("two", texts[::-1])):
            path = write_tsv(tmp_path / f"{name}.tsv", ("text", "label"), *((text, text[-1]) for text in order))
            found = open_data(name="file", train_file=str(path))
            assert set(found.load("validation", None).texts[0]) == set(expected)
            train = found.load("train", None)
            assert train.texts[0] == [text for text in order if text not in expected]
            assert len(train.labels) == 36

    def test_classes_that_are_numbers(self, tmp_path):
        path = write_tsv(tmp_path / "train.tsv", ("text", "label"), ("a", 10), ("b", 9), ("c", -1))
        assert open_data(name="file", train_file=str(path)).class_names == ("-1", "9", "10")

    def test_pairs_and_other_names_of_columns(self, tmp_path):
        path = write_tsv(tmp_path / "train.tsv", ("q1", "q2", "same"), ("a", "b", "no"), ("c", "c", "yes"))
        columns = dict(text_column="q1", pair_column="q2", label_column="same")
        found = open_data(name="file", train_file="train.tsv", dir=str(tmp_path), **columns)
        assert found.pairs
        assert found.load("train+validation", None).texts in ((["a", "c"], ["b", "c"]), (["c", "a"], ["c", "b"]))
        assert path.exists()

    def test_columns_that_are_not_meant(self, tmp_path):
        """An empty name means none, also where the file has a column without a name."""
        path = write_tsv(tmp_path / "train.tsv", ("text", "", "label", "score"), ("a", "b", "no", 1), ("c", "d", "yes", 2))
        found = open_data(name="file", train_file=str(path), pair_column="", score_column="")
        assert (found.pairs, found.class_names) == (False, ("no", "yes"))

    def test_scores(self, tmp_path):
        path = write_tsv(tmp_path / "train.tsv", ("text", "score"), ("a", "-1.5"), ("b", "2e1"))
        found = open_data(name="file", train_file=str(path), validation_file=str(path))
        assert found.class_names == ("score",)
        assert found.load("train", None).labels.dtype == np.float32
        np.testing.assert_array_equal(found.load("train", None).labels, [-1.5, 20])

    def test_a_test_file_or_any_other_may_have_no_labels(self, train, tmp_path):
        other = write_tsv(tmp_path / "other.tsv", ("text",), ("new",), ("newer",))
        found = open_data(name="file", train_file=str(train), test_file=str(other))
        for split in ("test", str(other)):
            examples = found.load(split, None)
            assert examples.texts == (["new", "newer"],)
            assert examples.labels is None
            np.testing.assert_array_equal(examples.numbers, [0, 1])

    def test_without_the_training_file(self, train, tmp_path):
        """What a run has found in it stands in its config, so that another file can be evaluated elsewhere."""
        other = write_tsv(tmp_path / "other.tsv", ("text", "label"), ("new", "good"))
        found = open_data(name="file", train_file="gone.tsv", classes=("bad", "good"), pairs=False)
        np.testing.assert_array_equal(found.load(str(other), None).labels, [1])

    def test_bad_lines(self, train, tmp_path):
        """One after the other: the first is refused; skipped, each counts once and the others are used."""
        lines = ["text\tlabel", "one", "a\tb\tc", "fine\tgood", "\tbad", "odd\t", "new\tugly"]
        validation = tmp_path / "dev.tsv"
        validation.write_bytes("\n".join(lines).encode() + b"\n\xff\xfe\tgood\n")
        expected = {
            f"{validation}, line 2": "it has 1 columns, and line 1 names 2",
            f"{validation}, line 3": "it has 3 columns, and line 1 names 2",
            f"{validation}, line 6": "its 'label' must be the name of a class, not \"\"",
            f"{validation}, line 7": "its label is 'ugly', and the training file has bad, good",
            f"{validation}, line 8": "it is not UTF-8: invalid start byte at byte 0",
        }
        with pytest.raises(ValueError, match="^" + re.escape(f"{validation}, line 2: it has 1 columns")) as error:
            settings = dict(name="file", train_file=str(train), validation_file=str(validation))
            open_data(**settings).load("validation", None)
        assert str(error.value).endswith("(data.bad_examples='skip' leaves such examples out and counts them)")
        skip = BadExamples("skip")
        examples = open_data(skip, **settings).load("validation", None)
        assert examples.texts == (["fine", ""],)
        assert skip.found == expected

    @pytest.mark.parametrize("score", ["", "high", "nan", "inf", "1,5"])
    def test_score_that_is_no_number(self, tmp_path, score):
        path = write_tsv(tmp_path / "train.tsv", ("text", "score"), ("a", 1), ("b", score))
        refused(f"{path}, line 3: its 'score' must be a number, not {json.dumps(score)}", train_file=path)

    def test_files_that_cannot_be_used(self, train, tmp_path):
        """Each by its name, and the line where there is one."""
        empty, header, none = tmp_path / "empty.tsv", tmp_path / "header.tsv", tmp_path / "none.tsv"
        empty.write_text("\n\n")
        write_tsv(header, ("text", "label"))
        write_tsv(none, ("sentence", "label"), ("a", "b"))
        refused(f"{empty} has no examples", train_file=empty)
        refused(f"{header} has no usable examples", train_file=header)
        refused(f"{header} has no usable examples", train_file=train, validation_file=header)
        refused(
            f"{none}, line 1: it has no column 'text'; its columns are 'sentence', 'label' (data.text_column names",
            train_file=none,
        )
        one = write_tsv(tmp_path / "one.tsv", ("text", "label"), ("a", "x"), ("b", "x"))
        refused(f"{one} has only one class, 'x': it must have at least two", train_file=one)
        neither = write_tsv(tmp_path / "neither.tsv", ("text", "class"), ("a", "x"))
        refused(f"{neither}, line 1: it has no column 'label' or 'score'; its columns are 'text', 'class'", train_file=neither)
        refused(f"{neither}, line 1: it has no column 'label'; its", train_file=train, validation_file=neither)
        both = write_tsv(tmp_path / "both.tsv", ("text", "label", "score"), ("a", "x", 1))
        refused(f"{both} has columns 'label' and 'score': disable one of them", train_file=both)
        twice = write_tsv(tmp_path / "twice.tsv", ("text", "label", "text"), ("a", "x", "b"))
        refused(f"{twice}, line 1: two columns are called 'text'", train_file=twice)
        pairs = write_tsv(tmp_path / "pairs.tsv", ("text", "text_pair", "label"), ("a", "b", "good"), ("a", "b", "bad"))
        refused(f"{train}, line 1: it has no column 'text_pair'", train_file=pairs, validation_file=train)

    def test_paths_that_lead_nowhere(self, train, tmp_path):
        refused("data.train_file='' is not allowed: it must be the path of a TSV, CSV or JSON file", train_file="")
        missing = tmp_path / "missing.tsv"
        refused(f"data.train_file={str(missing)!r} is not allowed: the file does not exist", train_file=missing)
        refused(f"data.validation_file={str(missing)!r} is not", train_file=train, validation_file=missing)
        table = tmp_path / "train.xlsx"
        refused(f"data.train_file={str(table)!r} is not allowed: its name must end in .tsv, ", train_file=table)

    def test_splits_that_there_are_not(self, train):
        found = open_data(name="file", train_file=str(train))
        for split, said in (
            ("dev", "'dev' is not a split of the files: it must be train, validation or the path of a file"),
            ("train[9:]", "'train[9:]' is not a split of the files (train of 3 examples): "),
            ("gone.tsv", "split='gone.tsv' is not allowed: the file does not exist"),
        ):
            with pytest.raises(ValueError, match="^" + re.escape(said)):
                found.load(split, None)


def test_labels_with_blanks(tmp_path, monkeypatch):
    """Two classes, not four; one warning says where. A model of before, whose classes had the blanks, still knows them."""
    path = tmp_path / "train.Csv"
    path.write_text("review,stars\na,good\nb,bad \nc, good\nd,bad\n")
    columns = dict(text_column="review", label_column="stars")
    found = open_data(name="file", train_file=str(path), validation_file=str(path), **columns)
    assert found.class_names == ("bad", "good")
    warnings = []
    monkeypatch.setattr(logging, "warning", lambda message, *values: warnings.append(message % values))
    np.testing.assert_array_equal(found.load("train", None).labels, [1, 0, 1, 0])
    assert warnings == [f"{path}, line 3 and 1 more: white space around the label is removed"]
    old = open_data(name="file", train_file="gone.csv", classes=("bad ", "good"), pairs=False, **columns)
    np.testing.assert_array_equal(old.load(str(path), None).labels, [1, 0, 1, 0])


class TestJsonl:
    def test_examples(self, tmp_path):
        """Labels may be texts, integers or truths; tabs and line ends are part of a text; other keys do not matter."""
        rows = [
            {"text": "a\tb\nc", "label": True, "id": 7},
            {"id": 8, "label": False, "text": ""},
            {"text": "\u2028", "label": True},
        ]
        path = write_jsonl(tmp_path / "train.jsonl", *rows)
        found = open_data(name="file", train_file=str(path), validation_file=str(path))
        assert found.class_names == ("false", "true")
        assert found.load("train", None).texts == (["a\tb\nc", "", "\u2028"],)
        np.testing.assert_array_equal(found.load("train", None).labels, [1, 0, 1])

    @pytest.mark.parametrize(
        "line, said",
        [
            ('{"text": "a", "label": "x"', "it is not JSON: Expecting"),
            ('["a", "x"]', 'it must be a JSON object, not ["a", "x"]'),
            ('{"text": "a"}', "it has no 'label'"),
            ('{"label": "x"}', "it has no 'text'"),
            ('{"text": null, "label": "x"}', "its 'text' must be a string, not null"),
            ('{"text": "a", "label": 1.5}', "its 'label' must be the name of a class, not 1.5"),
            ('{"text": "a", "label": ["x"]}', "its 'label' must be the name of a class, not"),
            ('{"text": "\\ud83d", "label": "x"}', "its 'text' has half of a surrogate pair at character 0"),
            ("[" * 100_000, "it is not JSON: it is nested too deeply"),
        ],
    )
    def test_bad_lines(self, tmp_path, line, said):
        path = write_jsonl(tmp_path / "train.jsonl", {"text": "a", "label": "x"}, {"text": "b", "label": "y"})
        path.write_text(path.read_text() + "\n" + line + "\n")
        refused(f"{path}, line 4: {said}", train_file=path)

    @pytest.mark.parametrize("score", ["true", '"5 stars"', "null", "NaN", "[1]", "1e999"])
    def test_score_that_is_no_number(self, tmp_path, score):
        path = write_jsonl(tmp_path / "train.jsonl", {"text": "a", "score": 1})
        path.write_text(path.read_text() + f'{{"text": "b", "score": {score}}}\n')
        refused(f"{path}, line 2: its 'score' must be a number, not", train_file=path)

    def test_first_line_decides(self, tmp_path):
        path = tmp_path / "train.jsonl"
        path.write_text("{'text': 1}\n")
        refused(f"{path}, line 1: it is not JSON: ", train_file=path)
        write_jsonl(path, {"label": "x"})
        refused(f"{path}, line 1: it has no column 'text'; its columns are 'label'", train_file=path)
