"""Vocabularies of texts: their words, the cache, and the command."""

import collections
import random
import sys

import pytest
import tensorflow as tf

from bert import vocabulary
from bert.tokenizer import open_tokenizer
from bert.vocabulary import count_words, learn_vocabulary
from tests.bert.tokenizer_references import SENTENCES, SPECIAL, TEXTS, BertReference, random_texts, write_vocabulary


class TestCounts:
    @pytest.mark.parametrize("lower_case", [True, False])
    def test_words(self, tmp_path, lower_case):
        """Those of Hugging Face's version of BERT's rules."""
        reference = BertReference(write_vocabulary(tmp_path / "vocab.txt"), lower_case)
        # Hugging Face composes cased texts, and BERT did not.
        texts = [
            text
            for text in [*SENTENCES, *TEXTS.values(), *random_texts(3, lambda c: ord(c) < 0x300)]
            if lower_case or text.isascii()
        ]
        expected = collections.Counter(word for text in texts for word in reference.words(text))
        assert count_words(texts, lower_case) == (expected, len(texts), sum(len(text.encode()) for text in texts))

    def test_kinds_of_input(self):
        texts = [*SENTENCES, *TEXTS.values()]
        data = tf.data.Dataset.from_tensor_slices(texts)
        expected = count_words(texts)
        for given in (iter(texts), [text.encode() for text in texts], data, data.batch(4), data.batch(4).batch(2)):
            assert count_words(given) == expected

    def test_parts(self, monkeypatch):
        """The same in any batches; and progress is reported."""
        texts = [*SENTENCES, *TEXTS.values()]
        expected = count_words(texts)
        monkeypatch.setattr(vocabulary, "BATCH_BYTES", 100)
        reports = []
        assert count_words(texts, progress=lambda *now: reports.append(now)) == expected
        assert len(reports) > 5
        assert reports == sorted(reports)
        assert reports[-1] == expected[1:]

    def test_rare_words_are_forgotten(self, monkeypatch):
        """Where there are too many; frequent ones keep their counts."""
        monkeypatch.setattr(vocabulary, "BATCH_BYTES", 100)
        monkeypatch.setattr(vocabulary, "MAX_WORDS", 40)
        counts, *_ = count_words([f"often x{i}" for i in range(300)])
        assert counts["often"] == 300
        assert len(counts) <= 40


class TestLearn:
    def test_vocabulary(self, tmp_path):
        """Special tokens first, as large as asked for, and without an unknown word in the texts it is of."""
        path = learn_vocabulary(SENTENCES, 100, cache_dir=tmp_path / "not there yet")
        tokens = path.read_text().splitlines()
        assert tokens[:5] == SPECIAL
        assert len(tokens) == 100
        tokenizer = open_tokenizer(path)
        assert tokenizer.ids == (0, 1, 2, 3, 4)
        assert tokenizer.ids.unk not in tokenizer.tokenize(SENTENCES).flat_values.numpy()

    def test_same_texts_give_the_same(self, tmp_path):
        """In another order, divided otherwise, and learned anew."""
        first = learn_vocabulary(SENTENCES, 100, cache_dir=tmp_path / "a")
        texts = " ".join(random.Random(0).sample(SENTENCES, len(SENTENCES)))
        second = learn_vocabulary([texts], 100, cache_dir=tmp_path / "b")
        assert first.name == second.name
        assert first.read_bytes() == second.read_bytes()

    def test_cache(self, tmp_path, monkeypatch):
        """What is there is not learned again; other settings or words are."""
        path = learn_vocabulary(SENTENCES, 100, cache_dir=tmp_path)
        learned = []
        real = vocabulary.learn_pieces
        monkeypatch.setattr(vocabulary, "learn_pieces", lambda *arguments: learned.append(arguments) or real(*arguments))
        assert learn_vocabulary(SENTENCES, 100, cache_dir=tmp_path) == path
        assert not learned
        others = [
            learn_vocabulary(SENTENCES, 99, cache_dir=tmp_path),
            learn_vocabulary(SENTENCES, 100, lower_case=False, cache_dir=tmp_path),
            learn_vocabulary([*SENTENCES, "more"], 100, cache_dir=tmp_path),
        ]
        assert len(learned) == 3
        assert len({path, *others}) == 4

    def test_whole_or_not_at_all(self, tmp_path, monkeypatch):
        def fails(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(vocabulary.pathlib.Path, "replace", fails)
        with pytest.raises(KeyboardInterrupt):
            learn_vocabulary(SENTENCES, 100, cache_dir=tmp_path)
        assert not list(tmp_path.glob("*.txt"))
        monkeypatch.undo()
        assert learn_vocabulary(SENTENCES, 100, cache_dir=tmp_path).exists()
        assert not list(tmp_path.glob("*.partial"))

    @pytest.mark.parametrize("texts", [[], [""], ["  \n", "\0"]])
    def test_empty_corpus(self, tmp_path, texts):
        with pytest.raises(ValueError, match="^the texts have no words$"):
            learn_vocabulary(texts, 100, cache_dir=tmp_path)
        assert not list(tmp_path.iterdir())


class TestCommand:
    @staticmethod
    def run(monkeypatch, *arguments):
        monkeypatch.setattr(sys, "argv", ["bert.vocabulary", *map(str, arguments)])
        vocabulary.main()

    def test_files(self, tmp_path, monkeypatch, capsys):
        for number, sentence in enumerate(SENTENCES):
            (tmp_path / f"{number}.txt").write_text(sentence)
        output = tmp_path / "made" / "vocab.txt"
        self.run(monkeypatch, f"--input={tmp_path}/*.txt", "--size=100", f"--output={output}")
        assert output.read_bytes() == learn_vocabulary(SENTENCES, 100, cache_dir=tmp_path).read_bytes()
        with pytest.raises(SystemExit, match=r"0\.txt is not allowed: it must be a new path or an earlier vocabulary"):
            self.run(monkeypatch, f"--input={tmp_path}/*.txt", "--size=100", f"--output={tmp_path / '0.txt'}")
        assert (tmp_path / "0.txt").read_text() == SENTENCES[0]
        said = capsys.readouterr().out
        assert "5 documents, 0.0 MB" in said
        assert "MB a second" in said
        assert "100 tokens learned from" in said
        assert "0.000% of the words are unknown" in said

    def test_cased(self, tmp_path, monkeypatch):
        (tmp_path / "a.txt").write_text("Words WORDS words Words")
        self.run(monkeypatch, "--corpus", tmp_path / "a.txt", "--cased", "--size=60", "--output", tmp_path / "vocab.txt")
        assert "Words" in (tmp_path / "vocab.txt").read_text().splitlines()

    @pytest.mark.parametrize(
        "arguments, problem",
        [
            (["--corpus=empty.txt"], "error: the texts have no words"),
            (["--corpus=gone/*.txt"], "error: corpus='gone/*.txt' is not allowed"),
            (["--corpus=a.txt", "--size=7"], "error: size=7 is not allowed: it must be at least"),
            (["--corpus=latin.txt"], "error: latin.txt, line 1: it is not text in UTF-8"),
        ],
    )
    def test_refusals(self, tmp_path, monkeypatch, arguments, problem):
        """One line, and no vocabulary."""
        monkeypatch.chdir(tmp_path)
        (tmp_path / "empty.txt").touch()
        (tmp_path / "a.txt").write_text(SENTENCES[0])
        (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
        with pytest.raises(SystemExit) as refused:
            self.run(monkeypatch, *arguments, "--output=vocab.txt")
        assert str(refused.value).startswith(problem)
        assert "\n" not in str(refused.value)
        assert not (tmp_path / "vocab.txt").exists()
