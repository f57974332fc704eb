"""Pairs and single texts of every source: which texts are examples, and a sentence for what cannot be used."""

import re

import numpy as np
import pytest
from ml_collections import ConfigDict

from bert.corpus.base import Corpus
from bert.corpus.segments import sentences, text_segments
from bert.sentences import datasets
from bert.sentences.datasets import load_sentences, open_sentences
from bert.sentences.settings import data_settings
from bert.tokenizer import open_tokenizer
from official.data.bad_examples import BadExamples
from tests.bert.prepared_texts import prepare_glue, write_jsonl, write_tsv, write_vocabulary


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return open_tokenizer(write_vocabulary(tmp_path_factory.mktemp("vocabulary") / "vocab.txt", ("one", "two", "three")))


def load(split="train", pairs=None, bad_examples=None, tokenizer=None, **settings):
    bad_examples = bad_examples or BadExamples("refuse")
    settings = {name: str(value) if name.endswith("file") else value for name, value in settings.items()}
    found = open_sentences(ConfigDict(data_settings(**settings)), tokenizer, bad_examples)
    return load_sentences(found, split, bad_examples, pairs)


def examples_of(found):
    """The texts of each example, as str."""
    texts = [text.decode() if isinstance(text, bytes) else text for text in found.texts.texts[0]]
    assert len(set(texts)) == len(texts) == len(found.texts.numbers)
    return [tuple(texts[place] for place in row) for row in found.rows]


PAIRS = [("a", "b"), ("c", "d"), ("a", "d"), ("d", "e")]


class TestFiles:
    @pytest.fixture
    def train(self, tmp_path):
        return write_tsv(tmp_path / "train.tsv", ("text", "text_pair"), *PAIRS)

    def test_pairs(self, train):
        """All of them, and each of their texts once; names are those of the lines."""
        found = load("train+validation", name="file", train_file=train)
        assert sorted(examples_of(found)) == sorted(PAIRS)
        assert len(found.texts.numbers) == 5
        assert found.scores is None
        whole = load(name="file", train_file=train, validation_file=train)
        assert whole.texts.texts[0] == ["a", "b", "c", "d", "e"]
        assert [whole.texts.name_of(place) for place in (0, 3, 4)] == [f"{train}, line {line}" for line in (2, 3, 5)]

    def test_singly(self, train):
        """Every text of both columns once."""
        found = load(name="file", train_file=train, validation_file=train, pairs=False)
        assert examples_of(found) == [("a",), ("b",), ("c",), ("d",), ("e",)]

    def test_classes(self, tmp_path):
        """Only pairs of which one text follows from the other, or that mean the same; singly, all texts."""
        rows = [("a", "b", "entailment"), ("c", "d", "neutral"), ("e", "f", " duplicate "), ("g", "h", "equivalent")]
        path = write_tsv(tmp_path / "nli.tsv", ("premise", "hypothesis", "label"), *rows)
        columns = dict(text_column="premise", pair_column="hypothesis")
        found = load(name="file", train_file=path, validation_file=path, **columns)
        assert examples_of(found) == [("a", "b"), ("e", "f"), ("g", "h")]
        assert found.numbers.tolist() == [0, 2, 3]
        assert len(load(name="file", train_file=path, validation_file=path, pairs=False, **columns).rows) == 8
        assert len(load(name="file", train_file=path, validation_file=path, label_column="", **columns).rows) == 4
        other = write_tsv(tmp_path / "other.tsv", ("text", "text_pair", "label"), ("a", "b", "yes"))
        with pytest.raises(ValueError, match="^'train' has no pairs of a class entailment, equivalent, duplicate; "):
            load(name="file", train_file=other, validation_file=other)

    def test_scores_are_for_the_evaluation(self, tmp_path):
        path = write_jsonl(
            tmp_path / "sts.jsonl", {"text": "a", "text_pair": "b", "score": 4}, {"text": "b", "text_pair": "c", "score": 1}
        )
        found = load(str(path), name="file", train_file="gone.jsonl")
        assert examples_of(found) == [("a", "b"), ("b", "c")]
        assert found.scores.tolist() == [4, 1]
        assert examples_of(load(str(path), name="file", pairs=False)) == [("a",), ("b",), ("c",)]
        with pytest.raises(ValueError, match="^data.pairs=True is not allowed: the pairs have scores"):
            load(str(path), name="file", pairs=True)

    def test_single_texts(self, tmp_path):
        """Of a file with one column of texts; repeated ones once, labels do not matter."""
        path = write_tsv(tmp_path / "texts.tsv", ("text", "label"), ("a", "x"), ("b", "y"), ("a", "z"))
        assert examples_of(load(name="file", train_file=path, validation_file=path)) == [("a",), ("b",)]
        with pytest.raises(ValueError, match="^data.pairs=True is not allowed: 'train' has single texts$"):
            load(name="file", train_file=path, validation_file=path, pairs=True)

    def test_lines(self, tmp_path):
        """A text on each line, whatever stands in it; empty lines are none."""
        path = tmp_path / "texts.txt"
        path.write_bytes('\ufeffa\tb\r\n\n  "c" é \nd\n'.encode())
        found = load(name="lines", train_file=path, validation_file=path)
        assert examples_of(found) == [("a\tb",), ('"c" é',), ("d",)]
        assert found.texts.name_of(1) == f"{path}, line 3"
        assert examples_of(load(str(path), name="lines")) == examples_of(found)

    def test_refused(self, tmp_path):
        both = write_tsv(tmp_path / "both.tsv", ("text", "text_pair", "label", "score"), ("a", "b", "x", 1))
        with pytest.raises(ValueError, match="^" + re.escape(f"{both} has columns 'label' and 'score': disable one of them")):
            load(name="file", train_file=both, validation_file=both)
        torn = write_tsv(tmp_path / "torn.tsv", ("text", "text_pair"), ("a", "b"), ("c",))
        with pytest.raises(ValueError, match="^" + re.escape(f"{torn}, line 3: it has 1 columns")):
            load(name="file", train_file=torn, validation_file=torn)
        skipping = BadExamples("skip")
        assert examples_of(load(name="file", train_file=torn, validation_file=torn, bad_examples=skipping)) == [("a", "b")]
        assert skipping.facts()["count"] == 1
        latin = tmp_path / "latin.txt"
        latin.write_bytes(b"fine\nna\xefve\n")
        with pytest.raises(ValueError, match="^" + re.escape(f"{latin}, line 2: it is not text in UTF-8")):
            load(name="lines", train_file=latin, validation_file=latin)
        with pytest.raises(ValueError, match="^data.train_file='gone.txt' is not allowed: it must be the path of a file "):
            load(name="lines", train_file="gone.txt")
        with pytest.raises(ValueError, match="^data.name='' is not allowed: it must be 'file', 'lines', 'wikipedia_sample'"):
            load()


class TestGlue:
    def test_entailed_pairs(self, tmp_path):
        """Of mnli, whose first class is entailment; a split without labels has only single texts."""
        rows = [("a", "b", 0), ("c", "d", 1), ("e", "f", 2), ("a", "g", 0)]
        prepare_glue(tmp_path, "mnli", train=rows, validation_matched=rows, test_matched=[("h", "i", -1)])
        data = dict(name="glue/mnli", dir=str(tmp_path))
        assert examples_of(load("train", **data)) == [("a", "b"), ("a", "g")]
        assert len(load("train", pairs=False, **data).rows) == 7
        assert examples_of(load("test_matched", pairs=False, **data)) == [("h",), ("i",)]
        with pytest.raises(ValueError, match="^'test_matched' has no labels, which say how alike the texts of its pairs are$"):
            load("test_matched", **data)

    @pytest.mark.further
    def test_similarity_and_sentences(self, tmp_path):
        prepare_glue(tmp_path, "stsb", train=[("a", "b", 2.5)], validation=[("a", "b", 2.5)], test=[("a", "b", -1.0)])
        assert load(name="glue/stsb", dir=str(tmp_path)).scores.tolist() == [2.5]
        prepare_glue(tmp_path, "sst2", train=[("a", 1), ("b", 0)], validation=[("a", 1)], test=[("c", -1)])
        for split, expected in (("train", [("a",), ("b",)]), ("test", [("c",)])):
            assert examples_of(load(split, name="glue/sst2", dir=str(tmp_path))) == expected


DOCUMENTS = [f"One two {'three ' * number}three. Two one! One." for number in range(40)]


class TestCorpora:
    def test_segments_are_consecutive_sentences(self, tokenizer):
        """Each of at most so many tokens, unless it is one sentence; no sentence is lost, and none would have fitted in."""
        limit = 9
        segments = text_segments([*DOCUMENTS, "", "..."], tokenizer, limit)
        expected = [sentence for document in [*DOCUMENTS, "..."] for sentence in sentences(document)]
        assert [sentence for segment in segments for sentence in sentences(segment)] == expected
        lengths = tokenizer.tokenize(segments).row_lengths().numpy()
        assert all(length <= limit or len(sentences(segment)) == 1 for segment, length in zip(segments, lengths, strict=True))
        assert lengths.max() > limit  # some sentence is too long
        (first,) = text_segments(DOCUMENTS[:1], tokenizer, 100)
        assert first == DOCUMENTS[0]

    def test_documents_are_held_out_whole(self, tokenizer, monkeypatch):
        """A twentieth of the different documents, by hash; two corpora are one set."""

        def open_corpus(name):
            documents = {"wikipedia_sample": DOCUMENTS[:30], "imdb": DOCUMENTS[20:]}[name]
            return Corpus(name, ("piece",), lambda piece: iter(documents), str)

        monkeypatch.setattr(datasets, "open_corpus", open_corpus)
        data = dict(name="wikipedia_sample+imdb", tokenizer=tokenizer, max_length=102)
        train, validation = (examples_of(load(split, **data)) for split in ("train", "validation"))
        assert sorted([*train, *validation]) == sorted((document,) for document in DOCUMENTS)
        assert len(validation) == 2
        assert examples_of(load("train[:10%]", **data)) == train[:4]
        with pytest.raises(ValueError, match="'test' is not a split of wikipedia_sample"):
            load("test", **data)
        assert np.array_equal(load("train", **data).rows[:, 0], np.arange(38))
