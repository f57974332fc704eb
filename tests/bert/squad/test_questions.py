"""SQuAD's JSON files: what is read, and messages about invalid files."""

import json
import re

import pytest

from bert.squad.questions import Question, UnusableQuestion, locate_answers, read_json

CONTEXT = "Zoë\u2019s café opened in 1990.\nIt closed in 2001."


def entry(**changes):
    """One question of a file, as SQuAD 2.0 has it."""
    answers = [{"text": "1990", "answer_start": 21}, {"text": "in 1990", "answer_start": 18}]
    return {"id": "q1", "question": "When did it open?", "answers": answers, "is_impossible": False, **changes}


def article(*entries, **changes):
    return {"title": "Cafés", "paragraphs": [{"context": CONTEXT, "qas": list(entries), **changes}]}


def written(path, data):
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


def test_reads_both_versions(tmp_path):
    """SQuAD 1.1 has no is_impossible; what else stands there, such as plausible answers, is passed over."""
    old = {key: value for key, value in entry().items() if key != "is_impossible"}
    new = entry(id="q2", question="Who?", answers=[], is_impossible=True, plausible_answers=[{"text": "Zoë", "answer_start": 0}])
    path = written(tmp_path / "some.json", {"version": "2.0", "data": [article(old), article(new, context="Nobody.")]})
    answers = (("1990", 21), ("in 1990", 18))
    assert read_json(path) == [
        Question("q1", f"{path}, question q1", "When did it open?", CONTEXT, answers, False),
        Question("q2", f"{path}, question q2", "Who?", "Nobody.", (), True),
    ]


def test_byte_order_mark(tmp_path):
    path = written(tmp_path / "some.json", "\ufeff" + json.dumps({"data": [article(entry())]}))
    assert len(read_json(path)) == 1


def without(dictionary, key):
    return {k: value for k, value in dictionary.items() if k != key}


WRONG = [
    ("{", " is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
    ([], " has no 'data'"),
    ({"data": "all"}, " has 'data': 'all', which is not a list"),
    ({"data": []}, " has no questions"),
    ({"data": [{"title": "Cafés"}]}, ", article 0 has no 'paragraphs'"),
    ({"data": [article(), {"paragraphs": [{"qas": []}]}]}, ", article 1, paragraph 0 has no 'context'"),
    ({"data": [article(entry(), without(entry(), "id"))]}, ", article 0, paragraph 0, question 1 has no 'id'"),
    ({"data": [article(entry(id=7))]}, ", article 0, paragraph 0, question 0 has 'id': 7, which is not a string"),
    ({"data": [article(without(entry(), "question"))]}, ", question q1 has no 'question'"),
    ({"data": [article(without(entry(), "answers"))]}, ", question q1 has no 'answers'"),
    ({"data": [article(entry(answers={}))]}, ", question q1 has 'answers': {}, which is not a list"),
    ({"data": [article(entry(answers=["1990"]))]}, ", question q1 has no 'text'"),
    ({"data": [article(entry(answers=[{"text": "1990"}]))]}, ", question q1 has no 'answer_start'"),
    (
        {"data": [article(entry(answers=[{"text": "1990", "answer_start": True}]))]},
        ", question q1 has 'answer_start': True, which is not an integer",
    ),
    ({"data": [article(entry(is_impossible=None))]}, ", question q1 has 'is_impossible': None, which is not true or false"),
    ({"data": [article(entry()), article(entry())]}, ", question q1 is a duplicate"),
]


@pytest.mark.parametrize("data, said", WRONG, ids=[said for _, said in WRONG])
def test_wrong_files(tmp_path, data, said):
    """The message names the file and, if possible, the question."""
    path = written(tmp_path / "some.json", data)
    with pytest.raises(ValueError, match="^" + re.escape(f"{path}{said}") + "$"):
        read_json(path)


def test_no_file_and_no_text(tmp_path):
    with pytest.raises(ValueError, match=rf"^{re.escape(str(tmp_path / 'no.json'))} cannot be read: No such file or directory$"):
        read_json(tmp_path / "no.json")
    (tmp_path / "some.json").write_bytes(b"\xff{}")
    with pytest.raises(ValueError, match="some.json is not JSON: 'utf-8' codec can't decode byte 0xff in position 0"):
        read_json(tmp_path / "some.json")


def question(answers=(), impossible=False, context=CONTEXT):
    return Question("q1", "file, question q1", "When?", context, tuple(answers), impossible)


def test_answers_in_bytes():
    """Characters before an answer that take two bytes (ë, é) or three (the apostrophe), white space around it, and four in it."""
    context = CONTEXT.replace("ed in", "ed\nin")
    spans = locate_answers(question([("1990", 21), (" opened\n", 10), ("café", 6)], context=context), no_answer=False)
    assert spans == [(25, 29), (15, 21), (9, 14)]
    assert locate_answers(question([("🐈🐈", 2)], context="🐈 🐈🐈"), False) == [(5, 13)]
    assert locate_answers(question(), no_answer=True) == []


SAID = "should start at character"


@pytest.mark.parametrize(
    "wrong, said",
    [
        (question(), "it has no answer, which data.no_answer=False does not allow"),
        (question([("1990", 21)], impossible=True), "is_impossible is true, but it has answers"),
        (question([("1990", 45)]), f"its answer '1990' {SAID} 45, but the context has 45 characters"),
        (question([("1990", -5)]), f"its answer '1990' {SAID} -5, but the context has 45 characters"),
        (question([("1990", 20)]), f"its answer '1990' {SAID} 20, but the context has ' 199' there"),
        (question([("1990", 21), ("2001.", 21)]), f"its answer '2001.' {SAID} 21, but the context has '1990.' there"),
        (question([("2001. The end", 40)]), f"its answer '2001. The end' {SAID} 40, but the context has '2001.' there"),
        (question([(" ", 5)]), "its answer ' ' is empty"),
        (question(context="\ud800"), "its context is not Unicode: 'utf-8' codec can't encode character '\\ud800' in position 0"),
    ],
)
def test_questions_that_cannot_be_used(wrong, said):
    with pytest.raises(UnusableQuestion, match="^" + re.escape(said)):
        locate_answers(wrong, no_answer=False)
