"""From a model's logits to SQuAD's files and scores: by hand on a small file, and with perfect logits on a real set."""

import json

import numpy as np
import pytest
from ml_collections import ConfigDict

from bert.squad.datasets import open_questions
from bert.squad.evaluation import SquadEvaluation
from bert.squad.metrics import score
from bert.squad.pipeline import QuestionPipeline
from bert.squad.questions import locate_answers, read_json
from bert.squad.settings import data_settings
from bert.tokenizer import open_tokenizer
from official.data.bad_examples import BadExamples
from tests.bert.squad_examples import PREPARED, needs_real_set, write_questions, write_vocabulary

CONTEXT = "Zoë's café opened in 1990. It closed in 2001, and Zoë left."  # 17 tokens
PARAGRAPHS = {
    CONTEXT: {"When did it open?": ["1990", "in 1990"], "When did it burn?": [], "Who left?": ["Zoë"]},
    "Short.": {"What is it?": ["Short"]},
}


def settings(**overrides):
    return ConfigDict(data_settings(**{**dict(max_length=16, max_query_length=4, doc_stride=6, n_best=3), **overrides}))


def windows_of(questions, folder, data):
    texts = [text for question in questions for text in (question.context, question.question)]
    tokenizer = open_tokenizer(write_vocabulary(folder / "vocab.txt", texts, words=3000))
    return QuestionPipeline(questions, tokenizer, data, BadExamples("refuse"), data.name)


def evaluate(windows, data, logits, folder, batch=4):
    """(metrics, {file: its content}) of logits [W, l, 2], which come in batches."""
    evaluation = SquadEvaluation(windows, data)
    for first in range(0, len(logits), batch):
        places = np.arange(first, min(first + batch, len(logits)))
        evaluation.add(None, {"place": places}, logits[places], None)
    metrics = evaluation.write(folder)
    assert evaluation.examples == len(windows.questions)
    written = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}
    assert set(written) == set(evaluation.files)
    return metrics, written


@pytest.fixture
def small(tmp_path):
    """QuestionPipeline of PARAGRAPHS: three windows for each of the first three questions, and one."""
    questions = read_json(write_questions(tmp_path / "some.json", PARAGRAPHS))
    return windows_of(questions, tmp_path, settings(name="file"))


def small_logits(windows):
    """Logits for the answers "1990", "closed", "Zoë left" and "." with the null odds -9, -2, -3 and 4; all others are 0."""
    assert windows.windows.question.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]
    logits = np.zeros([10, 16, 2], np.float32)
    logits[:9, 0] = 8  # where "no answer" is not at its least
    logits[2, 0] = (0.5, 0.5)
    logits[0, 6 + 6] = (5, 5)  # 1990, which has more context in the first window
    logits[1, 6 + 0] = (9, 9)  # than here, so that this does not count
    logits[4, 0] = (1, 2)
    logits[4, 6 + 3] = (2, 3)  # closed
    logits[8, 0] = (1, 1)
    logits[8, 5 + 2, 0], logits[8, 5 + 3, 1] = 2, 3  # Zoë left
    logits[9, 0] = (3, 3)
    logits[9, 6 + 1] = (1, 1)  # .
    return logits


NULL_ODDS = {"q0": -9, "q1": -2, "q2": -3, "q3": 4}
BEST = {
    "best_exact": 50,  # "1990" alone is answered, and q1 is right not to be: 2 of 4
    "best_exact_thresh": -9,
    "best_f1": pytest.approx(100 * (2 + 2 / 3) / 4),  # "Zoë left" has the precision 1/2 and the recall 1
    "best_f1_thresh": -3,
}


@pytest.mark.parametrize("batch", [1, 4, 10])
def test_threshold_0(small, tmp_path, batch):
    """Only "." is not written; of four one is right and one is to two thirds."""
    (tmp_path / "evaluation").mkdir()
    metrics, written = evaluate(small, settings(null_threshold=0), small_logits(small), tmp_path / "evaluation", batch)
    assert written["null_odds.json"] == NULL_ODDS
    assert written["predictions.json"] == {"q0": "1990", "q1": "closed", "q2": "Zoë left", "q3": ""}
    assert metrics == {
        "exact": 25,
        "f1": pytest.approx(100 * (1 + 2 / 3) / 4),
        "total": 4,
        "HasAns_exact": pytest.approx(100 / 3),
        "HasAns_f1": pytest.approx(100 * (1 + 2 / 3) / 3),
        "HasAns_total": 3,
        "NoAns_exact": 0,
        "NoAns_f1": 0,
        "NoAns_total": 1,
        **BEST,
        "null_threshold": 0,
    }


def test_best_threshold(small, tmp_path):
    """That of the F1: what is written reaches it."""
    (tmp_path / "evaluation").mkdir()
    metrics, written = evaluate(small, settings(), small_logits(small), tmp_path / "evaluation")
    assert written["predictions.json"] == {"q0": "1990", "q1": "", "q2": "Zoë left", "q3": ""}
    assert {key: metrics[key] for key in BEST} == BEST
    assert (metrics["exact"], metrics["f1"], metrics["null_threshold"]) == (50, BEST["best_f1"], -3)
    assert (metrics["NoAns_f1"], metrics["HasAns_exact"]) == (100, pytest.approx(100 / 3))


def test_n_best(small, tmp_path):
    """As SQuAD has it: the best first, "no answer" where it stands, and three others at most; q1's logits as they were given."""
    (tmp_path / "evaluation").mkdir()
    _, written = evaluate(small, settings(), small_logits(small), tmp_path / "evaluation")
    n_best = written["nbest_predictions.json"]
    assert list(n_best) == ["q0", "q1", "q2", "q3"]
    for entries in n_best.values():
        assert len(entries) == 4
        assert sum(entry["probability"] for entry in entries) == pytest.approx(1)
        sums = [entry["start_logit"] + entry["end_logit"] for entry in entries]
        assert sums == sorted(sums, reverse=True)
        assert len({entry["text"] for entry in entries}) == 4
        assert "" in {entry["text"] for entry in entries}
    assert [(entry["text"], entry["start_logit"], entry["end_logit"]) for entry in n_best["q1"][:1]] == [("closed", 2, 3)]
    assert {"text": "", "start_logit": 1, "end_logit": 2}.items() <= next(e for e in n_best["q1"] if not e["text"]).items()


def test_there_is_always_an_answer(tmp_path):
    """By the rules of SQuAD 1.1: "no answer" is nowhere, whatever its logits."""
    questions = read_json(write_questions(tmp_path / "some.json", {"Short.": {"What is it?": ["Short"], "What?": ["."]}}))
    data = settings(name="file", no_answer=False)
    windows = windows_of(questions, tmp_path, data)
    logits = np.zeros([2, 16, 2], np.float32)
    logits[:, 0] = 50
    logits[0, 6], logits[1, 4 + 1] = 1, 1
    (tmp_path / "evaluation").mkdir()
    metrics, written = evaluate(windows, data, logits, tmp_path / "evaluation")
    assert written["predictions.json"] == {"q0": "Short", "q1": "."}
    assert metrics == {"exact": 100, "f1": 50, "total": 2}  # "." normalizes to nothing
    assert [entry["text"] for entry in written["nbest_predictions.json"]["q0"]] == ["Short", "Short.", "."]


def test_answers_that_are_not_known(tmp_path):
    """Predictions without scores, at the threshold 0 or the one given."""
    questions = read_json(write_questions(tmp_path / "some.json", {"Short.": {"What is it?": None}}), needs_answers=False)
    windows = windows_of(questions, tmp_path, settings(name="file"))
    logits = np.zeros([1, 16, 2], np.float32)
    logits[0, 0], logits[0, 6] = 2, 1
    for threshold, answer in (("best", ""), (2.5, "Short")):
        folder = tmp_path / str(threshold)
        folder.mkdir()
        metrics, written = evaluate(windows, settings(null_threshold=threshold), logits, folder)
        assert metrics == {"null_threshold": 0 if threshold == "best" else 2.5}
        assert written["predictions.json"] == {"q0": answer}


def test_refused(small, tmp_path):
    """Missing windows, and logits that are not finite."""
    evaluation = SquadEvaluation(small, settings())
    evaluation.add(None, {"place": np.arange(5)}, small_logits(small)[:5], None)
    assert evaluation.examples == 1
    with pytest.raises(ValueError, match=r"^only 1 of 4 questions are answered: windows are missing$"):
        evaluation.write(tmp_path)
    with pytest.raises(ValueError, match=r"some.json, question q2: the model's output for it is not finite$"):
        evaluation.add(None, {"place": np.array([6])}, np.full([1, 16, 2], np.nan), None)


def test_windows_in_any_order_and_of_any_length(small, tmp_path):
    """The same files."""
    logits, written = small_logits(small), []
    for name, order, lengths in (("a", range(10), [16] * 10), ("b", [9, 3, 8, 0, 4, 7, 2, 5, 6, 1], [16, 16, 16, 16, 15] * 2)):
        evaluation = SquadEvaluation(small, settings())
        for place, length in zip(order, lengths, strict=True):
            evaluation.add(None, {"place": np.array([place])}, logits[place : place + 1, :length], None)
        (tmp_path / name).mkdir()
        evaluation.write(tmp_path / name)
        written.append({path.name: path.read_text() for path in (tmp_path / name).iterdir()})
    assert written[0] == written[1]


@needs_real_set
@pytest.mark.parametrize("split, answerable", [pytest.param("train", 1910, marks=pytest.mark.further), ("validation", 384)])
def test_perfect_logits_on_a_real_set(tmp_path, capsys, split, answerable):
    """Logits that point at the first gold answer, or at [CLS] where it is not in the window: F1 and exact match are 100.

    But for answers that are not made of whole tokens ("Australia" in "Australian") or have more than 30 of them. Those
    are printed, and are few.
    """
    data = settings(name="squad/v2.0", dir=str(PREPARED), max_length=384, max_query_length=64, doc_stride=128, n_best=20)
    windows = windows_of(open_questions(data).load(split), tmp_path, data)
    logits = np.zeros([len(windows.labels), windows.static_length, 2], np.float32)
    for window, (start, end) in enumerate(windows.labels):
        logits[window, start, 0] = logits[window, end, 1] = 10
    (tmp_path / "evaluation").mkdir()
    metrics, written = evaluate(windows, data, logits, tmp_path / "evaluation", batch=500)
    golds, whole, broken, long = {}, [], [], []
    for number, (question, answers) in enumerate(zip(windows.questions, windows.answers, strict=True)):
        golds[question.id] = [text for text, _ in question.answers]
        if answers:
            first, last = answers[0]
            start, end = locate_answers(question, no_answer=True)[0]
            is_whole = windows.text(number, first, last) == question.context.encode()[start:end].decode()
            (broken if not is_whole else whole if last - first < 30 else long).append(question.id)
    predictions = written["predictions.json"]
    assert len(whole) + len(broken) + len(long) == answerable
    for name in whole:
        assert score(golds[name], predictions[name], no_answer=True) == (1, 1), (golds[name], predictions[name])
    assert metrics["NoAns_exact"] == metrics["NoAns_f1"] == 100
    with capsys.disabled():
        print(f"\n{split}: of {answerable} answers {len(broken)} are not whole tokens and {len(long)} too long")
    assert len(broken) < 0.005 * answerable
    assert len(long) < 0.03 * answerable
