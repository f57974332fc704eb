"""Opens data sets of pairs of texts and of single texts by name; where examples have labels, they only choose the pairs."""

import itertools
import pathlib
from typing import NamedTuple

import numpy as np

from bert.corpus.open import EMBEDDED, open_corpus, text_lines
from bert.corpus.segments import text_segments
from bert.texts.datasets import open_dataset
from bert.texts.examples import Examples, hash_order, held_out, part_of, select
from bert.texts.user_files import SplitFiles

# Names of the classes whose pairs of texts mean the same, or one of which follows from the other.
POSITIVE = ("entailment", "equivalent", "duplicate")
HELD_OUT = 20  # of as many documents of a corpus, one is for validation


class Sentences(NamedTuple):
    """The examples of a split, each a single text or a pair.

    Attributes:
      texts: a bert.texts.examples.Examples of one text each, all different.
      rows: int64 [N, 1] or [N, 2], the places of each example's texts among them.
      scores: float32 [N], the similarity of the texts of each pair; None for pairs that are all positive, and for single texts.
      numbers: int64 [N], identify the examples in files of an evaluation.
    """

    texts: Examples
    rows: np.ndarray
    scores: np.ndarray | None
    numbers: np.ndarray


def open_sentences(data, tokenizer, bad_examples):
    """Opens the data set of a recipe, with the attributes `splits` and `class_names` and the method `load` of PreparedTexts.

    Args:
      data: the recipe's `data` settings.
      tokenizer: a bert.tokenizer.Tokenizer, which measures the segments of a corpus.
      bad_examples: an official.data.bad_examples.BadExamples.

    Raises:
      ValueError: an unknown data set, or one that is not on this machine.
    """
    if not data.name:
        corpora = ", ".join(map(repr, EMBEDDED))
        raise ValueError(
            f"data.name='' is not allowed: it must be 'file', 'lines', {corpora} (or both with + between them), "
            "'rotten_tomatoes', a GLUE task such as 'glue/mnli', or another data set of TensorFlow Datasets"
        )
    if data.name == "file":
        return PairFiles(data, bad_examples)
    if data.name == "lines":
        return LineFiles(data, bad_examples)
    names = data.name.split("+")
    return CorpusTexts(names, tokenizer, data.max_length - 2) if set(names) <= set(EMBEDDED) else open_dataset(data, bad_examples)


def load_sentences(found, split, bad_examples, pairs=None):
    """The Sentences of a split.

    Args:
      found: of `open_sentences`.
      split: as its `load` takes it.
      bad_examples: as of `open_sentences`.
      pairs: whether an example is a pair, of those whose class is one of POSITIVE; False takes each text once, whatever its
        label; None takes pairs, with their scores if they have any, where the data have pairs.

    Raises:
      ValueError: an unknown split, or one without such examples.
    """
    examples = found.load(split, bad_examples)
    is_pair = len(examples.texts) == 2
    if pairs and not is_pair:
        raise ValueError(f"data.pairs=True is not allowed: {split!r} has single texts")
    if pairs is not False and is_pair:
        if examples.labels is None:
            raise ValueError(f"{split!r} has no labels, which say how alike the texts of its pairs are")
        if examples.labels.dtype != np.float32:
            return _distinct(_positive(examples, found.class_names, split), None)
        if pairs:
            raise ValueError("data.pairs=True is not allowed: the pairs have scores, which only the evaluation uses")
        return _distinct(examples, examples.labels)
    texts = _distinct(examples, None)
    places = np.arange(len(texts.texts.numbers))
    return texts._replace(rows=places[:, np.newaxis], numbers=places)


def _positive(examples, class_names, split):
    """The Examples whose class is one of POSITIVE."""
    classes = [number for number, name in enumerate(class_names) if name in POSITIVE]
    places = np.flatnonzero(np.isin(examples.labels, classes))
    if not len(places):
        known = ", ".join(class_names)
        raise ValueError(
            f"{split!r} has no pairs of a class {', '.join(POSITIVE)}; its classes are {known}; data.pairs=False takes all texts "
            "singly"
        )
    return select(examples, places.tolist())


def _distinct(examples, scores):
    """The Sentences of Examples, whose rows are those of the examples."""
    place_of, firsts = {}, []
    rows = np.empty((len(examples.numbers), len(examples.texts)), np.int64)
    for example, texts in enumerate(zip(*examples.texts, strict=True)):
        for column, text in enumerate(texts):
            place = place_of.setdefault(text, len(place_of))
            if place == len(firsts):
                firsts.append(example)
            rows[example, column] = place
    distinct = Examples((list(place_of),), None, np.arange(len(place_of)), lambda place: examples.name_of(firsts[place]))
    return Sentences(distinct, rows, scores, examples.numbers)


class PairFiles(SplitFiles):
    """TSV, CSV or JSON files (bert.texts.table_files) with single texts, or with pairs and optionally their classes or scores.

    Without classes and scores all pairs are positive. Arguments and errors as of SplitFiles.
    """

    class_names = (*POSITIVE, "other")

    def _read(self, file, needs_labels=False):
        fields = [field for field in ("text", "text_pair") if file.has[field]]
        targets = [field for field in ("label", "score") if file.has[field]] if len(fields) == 2 else []
        if len(targets) == 2:
            label, score = self._columns.label, self._columns.score
            raise ValueError(f"{file.path} has columns {label!r} and {score!r}: disable one of them, as by data.score_column=''")
        found = list(file.rows((*fields, *targets), self._bad_examples))
        if not found:
            raise ValueError(f"{file.path} has no usable examples")
        lines, rows = zip(*found, strict=True)
        labels = None
        if targets == ["score"]:
            labels = np.array([row["score"] for row in rows], np.float32)
        elif len(fields) == 2:
            known = {name: number for number, name in enumerate(self.class_names)}
            labels = np.array([known.get(row.get("label", POSITIVE[0]), known["other"]) for row in rows], np.int64)
        texts = tuple([row[field] for row in rows] for field in fields)
        return Examples(texts, labels, np.arange(len(rows)), lambda place: file.name_of(lines[place]))


class LineFiles(SplitFiles):
    """Text files in UTF-8 with a text on each line; empty lines are left out. Arguments and errors as of SplitFiles."""

    class_names = ()

    def _is_path(self, split):
        return pathlib.Path(split).expanduser().is_file()

    def _open(self, path, setting, folder=None):
        found = (self._folder if folder is None else folder) / pathlib.Path(path).expanduser()
        if not path or not found.is_file():
            raise ValueError(f"{setting}={path!r} is not allowed: it must be the path of a file with a text on each line")
        return found

    def _read(self, file, needs_labels=False):
        lines = [(number, line.strip()) for number, line in enumerate(text_lines(str(file)), start=1)]
        lines = [(number, line) for number, line in lines if line]
        if not lines:
            raise ValueError(f"{file} has no text")
        texts = [line for _, line in lines]
        return Examples((texts,), None, np.arange(len(lines)), lambda place: f"{file}, line {lines[place][0]}")


class CorpusTexts:
    """Open corpora (bert.corpus.open) in segments of consecutive sentences.

    Sorted by the SHA-256 of their text, the last documents, one in HELD_OUT, are the validation split.

    Args:
      names: list of the corpora.
      tokenizer: a bert.tokenizer.Tokenizer.
      max_tokens: of a segment, without special tokens.

    Raises:
      ValueError: a corpus whose package is not installed.
    """

    class_names = ()

    def __init__(self, names, tokenizer, max_tokens):
        self._name = "+".join(names)
        self._cut = lambda documents: text_segments(documents, tokenizer, max_tokens)
        corpora = [open_corpus(name) for name in names]
        self._documents = list(dict.fromkeys(itertools.chain.from_iterable(corpus.documents() for corpus in corpora)))
        train, validation = held_out(hash_order(self._documents), HELD_OUT)
        self._places = {"train": train, "validation": validation}
        self._splits = {}
        self.splits = {name: name for name in self._places}

    def load(self, split, bad_examples):
        del bad_examples  # no text is unusable
        names = [name for name in self._places if name in split] or list(self._places)  # an unknown split is refused below
        for name in names:
            if name not in self._splits:
                texts = self._cut([self._documents[place] for place in self._places[name]])
                self._splits[name] = Examples((texts,), None, np.arange(len(texts)), f"{self._name}, segment {{}}".format)
        return part_of(split, {name: self._splits[name] for name in names}, self._name)
