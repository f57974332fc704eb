"""Questions with their contexts and answers, and the reader of SQuAD's JSON format."""

import pathlib
from typing import NamedTuple

from official.files.checked_json import decoded


class Question(NamedTuple):
    """A question about a context.

    Attributes:
      id: of the question; the key of its prediction.
      name: of the question in messages.
      question, context: str.
      answers: tuple of (text, start), the annotated answers and where they start in the context, in characters (Unicode code
        points); () if there is no answer, None if the answers are not known.
      impossible: whether the data set marks the question as unanswerable.
    """

    id: str
    name: str
    question: str
    context: str
    answers: tuple | None
    impossible: bool


def read_json(path, needs_answers=True):
    """Reads the questions of a file: {"data": [{"paragraphs": [{"context", "qas": [{"id", "question", "answers"}]}]}]}.

    `answers` is a list of {"text", "answer_start"}. A question may have `is_impossible`, as in SQuAD 2.0. Other keys are ignored.

    Args:
      path: of the file, UTF-8.
      needs_answers: whether every question must have `answers`; otherwise all of them may lack it.

    Returns:
      List of Question.

    Raises:
      ValueError: a file that cannot be read or is not JSON, a missing key, a value of the wrong type, or a duplicate question;
        names the file and, if possible, the question.
    """
    path = pathlib.Path(path)
    try:
        articles = decoded(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # also UnicodeDecodeError
        raise ValueError(f"{path} is not JSON: {error}") from error
    questions, seen = [], set()
    for a, article in enumerate(_value(articles, "data", list, f"{path}")):
        for p, paragraph in enumerate(_value(article, "paragraphs", list, f"{path}, article {a}")):
            where = f"{path}, article {a}, paragraph {p}"
            context = _value(paragraph, "context", str, where)
            for q, entry in enumerate(_value(paragraph, "qas", list, where)):
                question = _question(entry, context, path, f"{where}, question {q}", needs_answers)
                if question.id in seen:
                    raise ValueError(f"{question.name} is a duplicate")
                seen.add(question.id)
                questions.append(question)
    if not questions:
        raise ValueError(f"{path} has no questions")
    if len({question.answers is None for question in questions}) == 2:
        lacking = next(question for question in questions if question.answers is None)
        raise ValueError(f"{lacking.name} has no 'answers', unlike other questions")
    return questions


def _question(entry, context, path, where, needs_answers):
    identity = _value(entry, "id", str, where)
    name = f"{path}, question {identity}"
    answers = None
    if needs_answers or "answers" in entry:
        answers = tuple(
            (_value(answer, "text", str, name), _value(answer, "answer_start", int, name))
            for answer in _value(entry, "answers", list, name)
        )
    impossible = _value({"is_impossible": False, **entry}, "is_impossible", bool, name)
    return Question(identity, name, _value(entry, "question", str, name), context, answers, impossible)


KINDS = {list: "a list", str: "a string", int: "an integer", bool: "true or false"}


def _value(entry, key, kind, where):
    """entry[key], which must be of that type."""
    if not isinstance(entry, dict) or key not in entry:
        raise ValueError(f"{where} has no {key!r}")
    value = entry[key]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{where} has {key!r}: {value!r:.50}, which is not {KINDS[kind]}")
    return value


class UnusableQuestion(ValueError):
    """A question that cannot be used for training or scoring, with the reason."""


def locate_answers(question, no_answer):
    """Finds the answers in the UTF-8 bytes of the context, without the white space around them.

    Args:
      question: a Question.
      no_answer: whether a question may have no answer.

    Returns:
      List of (start, end), the end exclusive; empty if there is no answer or it is not known.

    Raises:
      UnusableQuestion: a missing answer, an answer that is not at its position, or text that is not Unicode.
    """
    context = question.context
    for what, text in (("context", context), ("question", question.question)):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UnusableQuestion(f"its {what} is not Unicode: {error}") from error
    if question.impossible and question.answers:
        raise UnusableQuestion("is_impossible is true, but it has answers")
    if question.answers == () and not no_answer:
        raise UnusableQuestion("it has no answer, which data.no_answer=False does not allow")
    found = []
    for text, start in question.answers or ():
        if not text.strip():
            raise UnusableQuestion(f"its answer {text!r} is empty")
        said = f"its answer {text!r} should start at character {start}"
        if not 0 <= start < len(context):
            raise UnusableQuestion(f"{said}, but the context has {len(context)} characters")
        there = context[start : start + len(text)]
        if there != text:
            raise UnusableQuestion(f"{said}, but the context has {there!r} there")
        before = len(text) - len(text.lstrip())
        first = len(context[: start + before].encode())
        found.append((first, first + len(text.strip().encode())))
    return found
