"""Pretraining data: the same files whoever makes them, whole or not at all, and of what they say they are."""

import hashlib
import importlib.util
import pathlib
import sys

import numpy as np
import pytest
import tensorflow as tf

from bert import prepare as command
from bert.corpus.records import parse
from bert.corpus.segments import MIN_PAIR_TOKENS, sentences
from bert.corpus.shards import Shards, read_info
from bert.prepare import prepare
from bert.tokenizer import open_tokenizer
from tests.bert.corpus_files import documents, write_dump, write_texts, write_vocabulary

MAX_LENGTH = 48


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    return write_vocabulary(tmp_path_factory.mktemp("vocabulary") / "vocab.txt")


@pytest.fixture(scope="module")
def texts():
    return documents(30)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, texts):
    return write_texts(tmp_path_factory.mktemp("corpus"), texts)


def shards_of(folder, vocabulary, **settings):
    settings = dict(max_length=MAX_LENGTH, number=3, validation=0.2) | settings
    return Shards(str(folder), vocabulary.read_bytes(), vocabulary.name, **settings)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, vocabulary, corpus):
    """(folder, what dataset_info.json holds)"""
    folder = tmp_path_factory.mktemp("prepared")
    return folder, prepare(shards_of(folder, vocabulary), [str(corpus)])


def digests(folder):
    """{path in the folder: SHA-256} of all files."""
    files = (path for path in pathlib.Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def examples(folder, split):
    """List of (tokens, first, swapped) of all files of a split, in their order."""
    found = []
    for path in sorted(pathlib.Path(folder).glob(f"{split}-*.tfrecord")):
        records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
        if records:
            tokens, first, swapped = parse(tf.constant(records))
            found += zip(tokens.to_list(), first.numpy().tolist(), swapped.numpy().tolist(), strict=True)
    return found


def in_order(tokens, first, swapped):
    """An example's tokens as they are in the document."""
    return tokens[first:] + tokens[:first] if swapped else tokens


def test_examples_are_the_documents(prepared, texts, vocabulary):
    """Put in order and one after the other, the examples of a document are its tokens, but for a short end.

    Nothing else is there, and a document is in one split alone.
    """
    folder, _ = prepared
    tokenizer = open_tokenizer(vocabulary)
    tokens_of = [tokenizer.tokenize(sentences(text)).flat_values.numpy().tolist() for text in texts]
    splits = {split: [in_order(*example) for example in examples(folder, split)] for split in ("train", "validation")}
    places = {tuple(tokens[:3]): n for n, tokens in enumerate(tokens_of)}  # the number that is a document's own
    used, split_of = [0] * len(texts), {}
    for split, left in splits.items():
        for start in [tokens for tokens in left if tuple(tokens[:3]) in places]:
            n = places[tuple(start[:3])]
            assert split_of.setdefault(n, split) == split
            rest = tokens_of[n]
            while len(rest) >= MIN_PAIR_TOKENS:
                found = next(tokens for tokens in left if rest[: len(tokens)] == tokens)
                left.remove(found)
                used[n] += len(found)
                rest = rest[len(found) :]
        assert not left
    assert all(MIN_PAIR_TOKENS > len(tokens) - n >= 0 for tokens, n in zip(tokens_of, used, strict=True) if n)
    assert {len(tokens) >= MIN_PAIR_TOKENS for tokens, n in zip(tokens_of, used, strict=True) if n} == {True}
    assert set(split_of.values()) == {"train", "validation"}


def test_info(prepared, texts, vocabulary):
    """Counts are those of the files."""
    folder, info = prepared
    assert read_info(folder) == info
    settings = info["settings"]
    assert settings["max_length"] == MAX_LENGTH
    assert settings["vocabulary_sha256"] == hashlib.sha256(vocabulary.read_bytes()).hexdigest()
    assert (folder / settings["vocabulary_name"]).read_bytes() == vocabulary.read_bytes()
    splits = info["splits"]
    assert sum(counts["documents"] for counts in splits.values()) == len(texts)
    assert sum(counts["text_bytes"] for counts in splits.values()) == sum(len(text.encode()) for text in texts)
    for split, counts in splits.items():
        found = examples(folder, split)
        assert counts["examples"] == len(found) == sum(file["examples"] for file in counts["files"].values())
        assert counts["tokens"] == sum(len(tokens) for tokens, *_ in found)
        for name, file in counts["files"].items():
            assert (folder / name).stat().st_size == file["file_bytes"]
    tokens = np.concatenate([tokens for tokens, *_ in examples(folder, "train")])
    np.testing.assert_array_equal(info["token_counts"], np.bincount(tokens, minlength=len(info["token_counts"])))
    assert len(info["token_counts"]) == open_tokenizer(vocabulary).size


def test_shapes_of_examples(prepared):
    """Two segments that are not empty and no longer than an example, about half of them swapped."""
    found = examples(prepared[0], "train")
    assert all(0 < first < len(tokens) <= MAX_LENGTH - 3 for tokens, first, _ in found)
    assert abs(np.mean([swapped for *_, swapped in found]) - 0.5) < 4 * 0.5 / np.sqrt(len(found))


def test_order_and_names_of_documents_do_not_matter(tmp_path, prepared, texts, vocabulary):
    """Nor whether one comes twice."""
    folder = write_texts(tmp_path / "other", [*texts[::-1], texts[3]])
    info = prepare(shards_of(tmp_path / "out", vocabulary), [str(folder)])
    assert info["splits"]["train"]["duplicates"] + info["splits"]["validation"]["duplicates"] == 1
    found, expected = digests(tmp_path / "out"), digests(prepared[0])
    for name in expected:
        if name.endswith(".tfrecord") and not name.startswith("counts"):
            assert found[name] == expected[name]


def test_seed_and_validation(tmp_path, prepared, corpus, vocabulary):
    """Another seed divides the same documents of each split in another way."""
    prepare(shards_of(tmp_path, vocabulary, seed=1), [str(corpus)])
    splits = read_info(tmp_path)["splits"]
    for split in ("train", "validation"):
        assert splits[split]["documents"] == prepared[1]["splits"][split]["documents"]
        assert sorted(examples(tmp_path, split)) != sorted(examples(prepared[0], split))


class TestAgain:
    @pytest.fixture
    def out(self, tmp_path, corpus, vocabulary):
        prepare(shards_of(tmp_path / "out", vocabulary), [str(corpus)])
        return tmp_path / "out"

    def test_finished_files_stay(self, out, corpus, vocabulary):
        """Only what is missing is made, and so that nothing differs."""
        before = digests(out)
        (out / "train-00001-of-00003.tfrecord").unlink()
        (out / "dataset_info.json.1.partial").touch()
        times = {path: path.stat().st_mtime_ns for path in out.glob("*.tfrecord")}
        prepare(shards_of(out, vocabulary), [str(corpus)])
        assert digests(out) == before
        assert times == {path: path.stat().st_mtime_ns for path in times}

    def test_nothing_is_read_where_all_is_there(self, out, corpus, vocabulary, monkeypatch):
        monkeypatch.setattr(command, "run_here", None)
        assert prepare(shards_of(out, vocabulary), [str(corpus)]) == read_info(out)

    @pytest.mark.parametrize(
        "change, message",
        [
            (dict(max_length=64), "max_length: 48 -> 64"),
            (dict(validation=0.3), "validation: 0.2 -> 0.3"),
            (dict(lower_case=False), "lower_case: True -> False"),
            ("vocabulary", "vocabulary_sha256: "),
            ("corpus", "corpora: "),
            ("blank_lines", "blank_lines: False -> True"),
        ],
    )
    def test_other_settings(self, out, corpus, vocabulary, change, message, tmp_path, texts):
        """They are refused, and nothing is changed."""
        before = digests(out)
        shards, more = shards_of(out, vocabulary), {}
        if change == "vocabulary":
            path = write_vocabulary(tmp_path / "vocab.txt")
            path.write_text(path.read_text() + "more\n")
            shards = shards_of(out, path)
        elif change == "corpus":
            corpus = write_texts(tmp_path / "corpus", texts[:20])
        elif change == "blank_lines":
            more = dict(blank_lines=True)
        else:
            shards = shards_of(out, vocabulary, **change)
        with pytest.raises(ValueError, match=f"has pretraining data of other settings.*{message}.*choose another --output"):
            prepare(shards, [str(corpus)], **more)
        assert digests(out) == before

    def test_files_of_unknown_settings(self, out, corpus, vocabulary):
        (out / "dataset_info.json").unlink()
        with pytest.raises(ValueError, match="files of unknown settings"):
            prepare(shards_of(out, vocabulary), [str(corpus)])

    def test_stopped_while_writing(self, tmp_path, corpus, vocabulary, prepared, monkeypatch):
        """Finished files are whole, nothing is left of the unfinished one, and the same command resumes."""
        from bert.corpus import records

        written = []

        def full(record, real=records.serialize):
            written.append(record)
            if len(written) > 60:
                raise OSError("no space left on device")
            return real(record)

        monkeypatch.setattr(records, "serialize", full)
        out = tmp_path / "out"
        with pytest.raises(OSError, match="no space"):
            prepare(shards_of(out, vocabulary), [str(corpus)])
        finished = [name for name in digests(out) if name.endswith(".tfrecord") and "/" not in name]
        assert 0 < len(finished) < 4
        assert not list(out.rglob("*.partial"))
        assert all(digests(out)[name] == digests(prepared[0])[name] for name in finished)
        monkeypatch.undo()
        prepare(shards_of(out, vocabulary), [str(corpus)])
        assert digests(out) == digests(prepared[0])

    def test_dump_that_is_cut_off(self, tmp_path, texts, vocabulary):
        """Finished files survive; the damaged one is named."""
        dump = write_dump(tmp_path / "pages.xml.bz2", [(f"Page {n}", 0, text) for n, text in enumerate(texts)])
        out = tmp_path / "out"
        prepare(shards_of(out, vocabulary), [str(dump)])
        (out / "train-00000-of-00003.tfrecord").unlink()
        before = digests(out)
        content = dump.read_bytes()
        dump.write_bytes(content[:-60] + bytes(60))  # as long as before
        with pytest.raises(ValueError, match=f"^{dump}: it is"):
            prepare(shards_of(out, vocabulary), [str(dump)])
        assert {name: digest for name, digest in digests(out).items() if "tfrecord" in name} == {
            name: digest for name, digest in before.items() if "tfrecord" in name
        }
        dump.write_bytes(content)
        prepare(shards_of(out, vocabulary), [str(dump)])
        assert len(examples(out, "train")) == read_info(out)["splits"]["train"]["examples"]


class TestMistakes:
    @pytest.mark.parametrize(
        "settings, message",
        [
            (dict(max_length=8), "max_length=8 is not allowed: it must be at least 16"),
            (dict(number=0), "shards=0 is not allowed"),
            (dict(validation=0.0), "validation=0.0 is not allowed"),
            (dict(short_share=1.5), "short=1.5 is not allowed"),
        ],
    )
    def test_settings(self, tmp_path, corpus, vocabulary, settings, message):
        with pytest.raises(ValueError, match=f"^{message}"):
            prepare(shards_of(tmp_path, vocabulary, **settings), [str(corpus)])

    def test_empty_corpus(self, tmp_path, vocabulary):
        folder = write_texts(tmp_path / "corpus", [" \n", "\n"])
        with pytest.raises(ValueError, match=f"^corpus={folder} is not allowed: it must have a document"):
            prepare(shards_of(tmp_path / "out", vocabulary), [str(folder)])

    def test_nothing_held_out(self, tmp_path, vocabulary):
        folder = write_texts(tmp_path / "corpus", documents(2))
        with pytest.raises(
            ValueError, match="^the validation split has no examples of the 2 documents; choose another --validation"
        ):
            prepare(shards_of(tmp_path / "out", vocabulary, validation=1e-9), [str(folder)])

    def run(self, monkeypatch, *arguments):
        monkeypatch.setattr(sys, "argv", ["bert.prepare", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            command.main()
        return str(stopped.value)

    def test_command(self, monkeypatch, tmp_path, corpus, vocabulary):
        """One sentence, and no traceback."""
        given = [f"--corpus={corpus}", f"--output={tmp_path}/out"]
        message = self.run(monkeypatch, *given, f"--vocabulary={tmp_path}/nothing.txt")
        assert message.startswith("error: ") and "nothing.txt" in message
        bad = tmp_path / "vocab.txt"
        bad.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nword\n")
        message = self.run(monkeypatch, *given, f"--vocabulary={bad}", "--runner=local")
        assert message.startswith("error: vocab.txt: ") and "[MASK]" in message
        message = self.run(monkeypatch, *given, f"--vocabulary={vocabulary}", "--runner=local", "--shard=3")
        assert message.startswith("error: --shard=3 is not an option of bert.prepare")
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        message = self.run(monkeypatch, *given, f"--vocabulary={vocabulary}")
        assert message.startswith("error: ") and "--runner=local" in message and "\n" not in message


def test_command(monkeypatch, capsys, tmp_path, corpus, vocabulary, prepared):
    """It makes the same files, and prints how many documents, examples and MB per second."""
    arguments = [f"--corpus={corpus}", f"--vocabulary={vocabulary}", f"--output={tmp_path}/out", f"--max_length={MAX_LENGTH}"]
    monkeypatch.setattr(sys, "argv", ["bert.prepare", *arguments, "--shards=3", "--validation=0.2", "--runner=local"])
    command.main()
    assert digests(tmp_path / "out") == digests(prepared[0])
    message = capsys.readouterr().out
    assert "train: " in message and "validation: " in message and "MB of text per second" in message


class TestBeam:
    @pytest.mark.parametrize(
        "options",
        [
            [],
            pytest.param(["--direct_running_mode=multi_processing", "--direct_num_workers=2"], marks=pytest.mark.slow),
        ],
    )
    def test_same_files(self, tmp_path, corpus, vocabulary, prepared, options):
        """Byte by byte, in any number of processes; also of what was still missing alone."""
        prepare(shards_of(tmp_path, vocabulary), [str(corpus)], "DirectRunner", options)
        assert digests(tmp_path) == digests(prepared[0])
        (tmp_path / "train-00002-of-00003.tfrecord").unlink()
        time = (tmp_path / "train-00001-of-00003.tfrecord").stat().st_mtime_ns
        prepare(shards_of(tmp_path, vocabulary), [str(corpus)], "DirectRunner")
        assert digests(tmp_path) == digests(prepared[0])
        assert (tmp_path / "train-00001-of-00003.tfrecord").stat().st_mtime_ns == time

    def test_mistakes(self, tmp_path, vocabulary):
        folder = write_texts(tmp_path / "corpus", ["One."])
        (folder / "bad.txt").write_bytes(b"\xff\n")
        with pytest.raises(ValueError, match=rf"^{folder}/bad.txt, line 1: it is not text in UTF-8 \(invalid start byte\)$"):
            prepare(shards_of(tmp_path / "out", vocabulary), [str(folder)], "DirectRunner")
        with pytest.raises(ValueError, match="^runner='Nobody' is not allowed: it must be local or a runner of Beam"):
            prepare(shards_of(tmp_path / "out", vocabulary), [str(folder)], "Nobody")
