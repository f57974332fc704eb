"""Evaluation on SQuAD: exact match, F1, and predictions in SQuAD's formats."""

import json

import numpy as np
import tensorflow as tf

from bert.squad.answers import SPANS_AN_ANSWER, Spans, best_spans, n_best
from bert.squad.metrics import best_threshold, score_all, summarize
from bert.squad.settings import BEST
from bert.squad.windows import Windows
from official.task import Evaluation

PREDICTIONS, N_BEST, NULL_ODDS = "predictions.json", "nbest_predictions.json", "null_odds.json"


class SquadEvaluation(Evaluation):
    """An official.task.Evaluation of questions; it needs all their windows, in any order and any batches.

    Outputs are logits float [batch, length, 2] of start and end. Labels have `place`, int [batch], the indices of the windows.

    Args:
      data: a bert.squad.pipeline.QuestionPipeline.
      settings: the recipe's `data` settings.

    Attributes:
      examples: number of questions whose windows are complete.
    """

    def __init__(self, data, settings):
        self.files = {
            PREDICTIONS: "each question's answer, in SQuAD's format",
            N_BEST: "each question's best answers with probabilities",
        }
        if settings.no_answer:
            self.files[NULL_ODDS] = "each question's logits of 'no answer' minus those of its best answer"
        self.examples = 0
        self._data = data
        self._settings = settings
        self._first_windows = np.searchsorted(data.windows.question, np.arange(len(data.questions) + 1))
        self._pending = {}  # {index: logits} of windows whose question is incomplete
        self._n_best, self._null_odds = {}, {}

    def add(self, inputs, labels, outputs, assignments):
        for place, logits in zip(labels["place"].tolist(), outputs, strict=True):
            if not np.all(np.isfinite(logits)):
                name = self._data.questions[self._data.windows.question[place]].name
                raise ValueError(f"{name}: the model's output for it is not finite")
            self._pending[place] = logits
        touched = np.unique(self._data.windows.question[labels["place"]])
        whole = [question for question in touched if all(place in self._pending for place in self._places(question))]
        if whole:
            self._answer(whole)
            self.examples += len(whole)

    def _places(self, question):
        return range(*self._first_windows[question : question + 2])

    def _answer(self, numbers):
        """Keeps the best answers to the questions with these indices."""
        places = [place for number in numbers for place in self._places(number)]
        windows = Windows(*(value[places] for value in self._data.windows))
        windows = windows._replace(question=np.searchsorted(numbers, windows.question).astype(np.int32))
        found = best_spans(
            tf.constant(_joined([self._pending.pop(place) for place in places])),
            Windows(*map(tf.constant, windows)),
            self._settings.max_answer_length,
            SPANS_AN_ANSWER * self._settings.n_best,
        )
        for number, *spans in zip(numbers, *(value.numpy() for value in found), strict=True):
            name = self._data.questions[number].id
            self._n_best[name], self._null_odds[name] = n_best(
                Spans(*spans),
                lambda first, last, number=number: self._data.text(number, first, last),
                self._settings.n_best,
                self._settings.no_answer,
            )

    def write(self, folder):
        """Writes `files` and returns the metrics, none if the answers are not known.

        The metrics are those of bert.squad.metrics.summarize for the written predictions, in percent. If questions may have no
        answer, they include the threshold on the null odds that was used, and the best exact match and F1 of any threshold.

        Raises:
          ValueError: windows are missing.
        """
        questions, settings = self._data.questions, self._settings
        if self.examples < len(questions):
            raise ValueError(f"only {self.examples} of {len(questions)} questions are answered: windows are missing")
        n_best_of = {question.id: self._n_best[question.id] for question in questions}
        predictions = {name: next(entry["text"] for entry in entries if entry["text"]) for name, entries in n_best_of.items()}
        golds = {question.id: [text for text, _ in question.answers] for question in questions if question.answers is not None}
        best = {}
        if settings.no_answer:
            if golds:
                best = self._best_thresholds(golds, predictions)
            threshold = best.get("best_f1_thresh", 0.0) if settings.null_threshold == BEST else float(settings.null_threshold)
            best["null_threshold"] = threshold
            predictions = {name: "" if self._null_odds[name] > threshold else text for name, text in predictions.items()}
            _write(folder / NULL_ODDS, {question.id: self._null_odds[question.id] for question in questions})
        _write(folder / PREDICTIONS, predictions)
        _write(folder / N_BEST, n_best_of)
        if not golds:
            return best
        exact, f1 = score_all(golds, predictions, settings.no_answer)
        return {**summarize(exact, f1, _answerable(golds), settings.no_answer), **best}

    def _best_thresholds(self, golds, predictions):
        """The best scores of any threshold on the null odds, in percent, and their thresholds."""
        odds = np.array([self._null_odds[name] for name in golds])
        found = {}
        for name, scores in zip(("exact", "f1"), score_all(golds, predictions, no_answer=True), strict=True):
            best, threshold = best_threshold(scores, _answerable(golds), odds)
            found |= {f"best_{name}": 100 * float(best), f"best_{name}_thresh": threshold}
        return found


def _answerable(golds):
    return np.array([bool(texts) for texts in golds.values()], bool)


def _joined(windows):
    """Stacks the logits [length, 2] of windows, padded with a logit at which no answer starts or ends."""
    length = max(map(len, windows))
    return np.stack([np.pad(logits, [(0, length - len(logits)), (0, 0)], constant_values=-1e9) for logits in windows])


def _write(path, content):
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
