"""From a model's logits to SQuAD's files and scores: by hand on a small file, and with perfect logits on a real set."""

import json

import numpy as np
import pytest
from ml_collections import ConfigDict

from bert.squad_data import QuestionWindows
from bert.squad_evaluation import SquadEvaluation
from bert.squad_files import locate_answers, read_json
from bert.squad_sets import open_questions
from bert.squad_settings import data_settings
from bert.tokenizer import open_tokenizer
from official.bad_examples import BadExamples
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
    return QuestionWindows(questions, tokenizer, data, BadExamples("refuse"), data.name)


def evaluate(windows, data, logits, folder, batch=4):
    """(metrics, {file: its content}) of logits [W, l, 2], which come in batches."""
    evaluation = SquadEvaluation(windows, data)
    for first in range(0, len(logits), batch):
        evaluation.add(None, None, logits[first : first + batch], None)
    metrics = evaluation.write(folder)
    assert evaluation.examples == len(windows.questions)
    written = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}
    assert set(written) == set(evaluation.files)
    return metrics, written


@pytest.fixture
def small(tmp_path):
    """QuestionWindows of PARAGRAPHS: three windows for each of the first three questions, and one."""
    questions = read_json(write_questions(tmp_path / "some.json", PARAGRAPHS))
    return windows_of(questions, tmp_path, settings(name="file"))


def small_logits(windows):
    """For answers that are "1990" (odds -9), "closed" (-2), "café opened" (-3) and "." (4); others have 0, and less is said of
    "no answer" in the windows that do not matter."""
    logits = np.zeros([len(windows.labels), 16, 2], np.float32)
    logits[[0, 1, 3, 5, 7, 8], 0] = 8
    logits[2, 0] = (0.5, 0.5)
    logits[0, 6 + 6] = (5, 5)  # 1990, which counts in the first window
    logits[1, 6 + 0] = (9, 9)  # also 1990, and does not
    logits[4, 0] = (1, 2)
    logits[4, 6 + 3] = (2, 3)  # closed
    logits[6, 0] = (1, 1)
    logits[6, 5 + 3, 0], logits[6, 5 + 4, 1] = 2, 3
    logits[9, 0] = (3, 3)
    logits[9, 6 + 1] = (1, 1)
    return logits


def test_by_hand(small, tmp_path):
    """The best threshold leaves out "." and takes all others: 1 + 0 + 0 + 0 of 4 exact, and no F1 else, is worse than..."""
    logits = small_logits(small)
    for batch in (1, 4, 10):
        folder = tmp_path / str(batch)
        folder.mkdir()
        metrics, written = evaluate(small, settings(null_threshold=0), logits, folder, batch)
        assert written["predictions.json"] == {"q0": "1990", "q1": "closed", "q2": "café opened", "q3": ""}
        assert written["null_odds.json"] == {"q0": -9, "q1": -2, "q2": -3, "q3": 4}
