"""The user's TSV, CSV and JSON files as a data set."""

import abc
import pathlib

import numpy as np
from absl import logging

from bert.texts.examples import SCORE_NAME, Examples, hash_order, held_out, part_of, select
from bert.texts.metrics import CLASSIFICATION, REGRESSION
from bert.texts.table_files import Columns, TableFile
from official.data.rows import is_table


class SplitFiles(abc.ABC):
    """The user's files, one for each split.

    Without a validation file, the last tenth of the training file by `hash_order` is the validation split. `load` also takes the
    path of another file.

    Args:
      data: the recipe's `data` settings.
      bad_examples: an official.data.bad_examples.BadExamples, which gets all unusable lines.

    Attributes:
      splits: {role: split}.
    """

    def __init__(self, data, bad_examples):
        self._folder = pathlib.Path(data.dir).expanduser()
        self._columns = Columns(data.text_column, data.pair_column, data.label_column, data.score_column)
        self._files = {name: data[f"{name}_file"] for name in ("train", "validation", "test") if data[f"{name}_file"]}
        self._bad_examples = bad_examples
        self._loaded = {}
        self.splits = {name: name for name in ("train", "validation", *self._files)}

    def load(self, split, bad_examples):
        """Reads the Examples of a split in TensorFlow Datasets' syntax, or of the file at a path.

        Raises:
          ValueError: an unknown split, or a file that cannot be used.
        """
        del bad_examples  # the constructor got it
        if self._is_path(split):
            return self._read(self._open(split, "split", pathlib.Path()))
        names = [name for name in self.splits if name in split]
        if not names:
            raise ValueError(f"{split!r} is not a split of the files: it must be {', '.join(self.splits)} or the path of a file")
        return part_of(split, {name: self._split(name) for name in names}, "the files")

    def _is_path(self, split):
        return is_table(split)

    def _open(self, path, setting, folder=None):
        """The file at a path, which is relative to `folder` (None: data.dir)."""
        if not path:
            raise ValueError(f"{setting}={path!r} is not allowed: it must be the path of a TSV, CSV or JSON file")
        folder = self._folder if folder is None else folder
        return TableFile(folder / pathlib.Path(path).expanduser(), setting, self._columns)

    @abc.abstractmethod
    def _read(self, file, needs_labels=False):
        """The Examples of what `_open` returns; with `needs_labels`, a file without what training needs is refused."""

    def _split(self, name):
        if name not in self._loaded:
            if name == "validation" and name not in self._files:
                train = self._read(self._open(self._files.get("train", ""), "data.train_file"))
                places = held_out(hash_order(*train.texts), 10)
                for part, of_part in zip(("train", "validation"), places, strict=True):
                    self._loaded[part] = select(train, sorted(of_part))
            elif name == "train" and "validation" not in self._files:
                self._split("validation")
            else:
                self._loaded[name] = self._read(self._open(self._files[name], f"data.{name}_file"), needs_labels=name != "test")
        return self._loaded[name]


class UserFiles(SplitFiles):
    """TSV, CSV or JSON files (bert.texts.table_files) with a text or a pair of texts, and a class or a score.

    The classes are those of the training file, sorted by name, or by value if all are integers. Attributes and methods as in
    bert.texts.datasets.PreparedTexts; `load` also takes the path of another file, which may lack labels.

    Args:
      data, bad_examples: as of SplitFiles.

    Raises:
      ValueError: a file that does not exist, has no examples or lacks a column; a training file with only one class.
    """

    def __init__(self, data, bad_examples):
        super().__init__(data, bad_examples)
        if data.pairs is not None:  # set when the run began; the training file may be gone by now
            self.class_names, self.pairs = tuple(data.classes), data.pairs
        else:
            train = self._open(data.train_file, "data.train_file")
            self.pairs = train.has["text_pair"]
            self.class_names = tuple(data.classes or ()) or self._classes_of(train)
        self.metrics = REGRESSION if self._target == "score" else CLASSIFICATION

    @property
    def _target(self):
        return "score" if self.class_names == (SCORE_NAME,) else "label"

    def submission(self, split):
        return None

    def _classes_of(self, train):
        """The classes of the training file; reads all its lines."""
        if train.has["label"] and train.has["score"]:
            label, score = self._columns.label, self._columns.score
            raise ValueError(f"{train.path} has columns {label!r} and {score!r}: disable one of them, as by data.score_column=''")
        if train.has["score"]:
            return (SCORE_NAME,)
        train.need("label", instead="score")
        labels = {row["label"] for _, row in train.rows(("label",), self._bad_examples)}
        if not labels:
            raise ValueError(f"{train.path} has no usable examples")
        if len(labels) == 1:
            raise ValueError(f"{train.path} has only one class, {labels.pop()!r}: it must have at least two")
        try:
            return tuple(sorted(labels, key=int))
        except ValueError:
            return tuple(sorted(labels))

    def _read(self, file, needs_labels=False):
        """The Examples of a file."""
        if needs_labels:
            file.need(self._target)
        fields = ["text", *(["text_pair"] if self.pairs else []), *([self._target] if file.has[self._target] else [])]
        if self.pairs:
            file.need("text_pair")
        number_of = {name.strip(): number for number, name in enumerate(self.class_names)}
        lines, rows = [], []
        for line, row in file.rows(fields, self._bad_examples):
            label = row.get("label")
            if label is not None and label not in number_of:
                known = ", ".join(self.class_names)
                self._bad_examples.add(file.name_of(line), f"its label is {label!r}, and the training file has {known}")
                continue
            lines.append(line)
            rows.append(row)
        if file.stripped:
            logging.warning(
                "%s and %d more: white space around the label is removed", file.name_of(file.stripped[0]), len(file.stripped) - 1
            )
        if not rows:
            raise ValueError(f"{file.path} has no usable examples")
        labels = None
        if self._target in fields:
            of_row = {"label": lambda row: number_of[row["label"]], "score": lambda row: row["score"]}[self._target]
            labels = np.array([of_row(row) for row in rows], np.float32 if self._target == "score" else np.int64)
        texts = tuple([row[field] for row in rows] for field in fields if field.startswith("text"))
        return Examples(texts, labels, np.arange(len(rows)), lambda place: file.name_of(lines[place]))
