"""Opens data sets of questions by name: prepared sets of TensorFlow Datasets, and the user's files."""

import pathlib

import tensorflow as tf

from bert.squad.questions import Question, read_json
from official.cli.status_line import StatusLine
from official.data.sources import RecordSource
from official.data.tfds import LocalTfds

READ_BATCH = 1024  # records that are parsed in one call
FILES = ("train", "validation", "test")
NO_NAME = "data.name='' is not allowed: it must be 'squad/v1.1', 'squad/v2.0' or 'file'"


class PreparedQuestions:
    """SQuAD 1.1 or 2.0 as prepared by TensorFlow Datasets.

    Args:
      data: the recipe's `data` settings.

    Raises:
      ValueError: a data set that is not prepared on this machine, or without questions.
    """

    def __init__(self, data):
        self._name = data.name
        self._splits = dict(train=data.train_split, validation=data.validation_split)
        self._set = LocalTfds(data.name, data.dir, otherwise="not 'file'")
        if not {"id", "question", "context", "answers"} <= set(self._set.info.features):
            raise ValueError(f"data.name={data.name!r} is not allowed: it must have questions with contexts and answers")

    def load(self, role):
        """Reads the questions of a split, in order.

        Args:
          role: "train" or "validation", or any split in TensorFlow Datasets' syntax.

        Returns:
          List of Question.

        Raises:
          ValueError: an unknown split, or one without examples.
        """
        split = self._splits.get(role, role)
        try:
            files = self._set.files(split)
        except ValueError as error:
            of_role = f"data.{role}_split={split!r} is not allowed: " if role in self._splits else ""
            raise ValueError(f"{of_role}{error}") from error
        keys = ["id", "question", "context", "answers", *({"is_impossible"} & set(self._set.info.features))]
        parse = self._set.parser(keys)
        source = RecordSource(files, lambda record: (record,), buffer=1)
        records = source.in_order().map(lambda _, record: parse(record), num_parallel_calls=tf.data.AUTOTUNE)
        records = records.ragged_batch(READ_BATCH)
        questions, line = [], StatusLine()
        for batch in records:
            if line.is_due():
                line.show(f"{self._name}, {role}: questions read {len(questions):,} of {source.examples:,}")
            columns = {key: _decoded(batch[key].numpy().tolist()) for key in ("id", "question", "context")}
            answers = zip(batch["answers"]["text"].to_list(), batch["answers"]["answer_start"].to_list(), strict=True)
            impossible = batch["is_impossible"].numpy().tolist() if "is_impossible" in batch else [False] * len(columns["id"])
            for identity, question, context, (texts, starts), is_impossible in zip(
                *columns.values(), answers, impossible, strict=True
            ):
                found = tuple(zip(_decoded(texts), starts, strict=True))
                name = f"{self._name} {split}, question {identity}"
                questions.append(Question(identity, name, question, context, found, is_impossible))
        return questions


def _decoded(texts):
    """Bytes as str; invalid UTF-8 becomes lone surrogates, for which locate_answers refuses the question."""
    return [text.decode(errors="surrogateescape") for text in texts]


class QuestionFiles:
    """The user's files in SQuAD's JSON format.

    Args:
      data: the recipe's `data` settings.
    """

    def __init__(self, data):
        self._paths = {role: data[f"{role}_file"] for role in FILES}
        self._folder = pathlib.Path(data.dir).expanduser()

    def load(self, role):
        """Reads the questions of the file for a role, "train", "validation" or "test", as PreparedQuestions.load does.

        Raises:
          ValueError: an unknown role, no file, or an invalid file.
        """
        if role not in self._paths:
            raise ValueError(f"{role!r} is not a split: it must be one of {', '.join(FILES)}")
        if not self._paths[role]:
            raise ValueError(f"data.{role}_file='' is not allowed: it must be the path of a JSON file, because data.name='file'")
        path = self._folder / pathlib.Path(self._paths[role]).expanduser()
        return read_json(path, needs_answers=role != "test")


class NoQuestions:
    """In place of the data of a model that was made elsewhere, which has no split of its own."""

    def load(self, role):
        raise ValueError(NO_NAME)


def open_questions(data):
    """Opens the data set of a recipe, which has a method `load`.

    The recipe of a model that was made elsewhere has no name of a data set, but a number of `questions`.

    Raises:
      ValueError: an unknown data set, or one that is not on this machine.
    """
    if not data.name:
        if data.questions is not None:
            return NoQuestions()
        raise ValueError(NO_NAME)
    return QuestionFiles(data) if data.name == "file" else PreparedQuestions(data)
