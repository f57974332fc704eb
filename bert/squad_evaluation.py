"""What an evaluation on SQuAD leaves: predictions in its published formats, exact match and F1."""

import json

import numpy as np
import tensorflow as tf

from bert.squad_answers import SPANS_AN_ANSWER, Spans, best_spans, n_best
from bert.squad_metrics import best_threshold, score_all, summarize
from bert.squad_settings import BEST
from bert.squad_windows import Windows
from official.task import Evaluation

PREDICTIONS, N_BEST, NULL_ODDS = "predictions.json", "nbest_predictions.json", "null_odds.json"


class SquadEvaluation(Evaluation):
    """An official.task.Evaluation of questions; batches are the windows of a QuestionWindows in their order.

    The model's outputs are logits float [batch, length, 2] of start and end.

    Args:
      data: a QuestionWindows.
      settings: the recipe's `data` settings.

    Attributes:
      examples: questions of which all windows have come.
    """

    def __init__(self, data, settings):
        self.files = {
            PREDICTIONS: "each question's answer, in SQuAD's format",
            N_BEST: "its best answers with their probabilities",
        }
        if settings.no_answer:
            self.files[NULL_ODDS] = "by how much 'no answer' is ahead of its best answer"
        self.examples = 0
        self._data = data
        self._settings = settings
        self._windows = Windows(*(value.numpy() for value in data.windows))
        self._seen = 0  # windows
        self._pending = []  # logits of the windows of questions that have more
        self._n_best, self._null_odds = {}, {}

    def add(self, inputs, labels, outputs, assignments):
        del inputs, labels, assignments
        self._seen += len(outputs)
        self._pending.append(outputs)
        of_window = np.append(self._windows.question, len(self._data.questions))
        if self._seen >= len(of_window):
            raise ValueError(f"there are more than the {len(self._windows.question)} windows of the questions")
        first, end = self.examples, int(of_window[self._seen])
        if end > first:
            logits = _joined(self._pending)
            whole = len(logits) - int(np.sum(self._windows.question[: self._seen] == end))
            self._answer(first, end, logits[:whole])
            self._pending = [logits[whole:]]
            self.examples = end

    def _answer(self, first, end, logits):
        """Keeps the best answers to some questions, of the logits of their windows."""
        settings, data = self._settings, self._data
        of_these = slice(*np.searchsorted(self._windows.question, [first, end]))
        question, *others = (value[of_these] for value in self._windows)
        found = best_spans(
            tf.constant(logits),
            Windows(*map(tf.constant, (question - first, *others))),
            settings.max_answer_length,
            SPANS_AN_ANSWER * settings.n_best,
        )
        for number, *spans in zip(range(first, end), *(value.numpy() for value in found), strict=True):
            name = data.questions[number].id
            self._n_best[name], self._null_odds[name] = n_best(
                Spans(*spans), lambda *tokens, number=number: data.text(number, *tokens), settings.n_best, settings.no_answer
            )

    def write(self, folder):
        """Writes `files`; returns the metrics, none where the answers are not known.

        They are bert.squad_metrics.summarize's of the predictions that are written, in percent. Where there may be no answer, also
        the threshold they were made with, and the best there are for exact match and F1, with what these come to.

        Raises:
          ValueError: not all windows have come.
        """
        if self.examples < len(self._data.questions):
            raise ValueError(f"there are answers to {self.examples} of {len(self._data.questions)} questions")
        known = [question for question in self._data.questions if question.answers is not None]
        golds = {question.id: [text for text, _ in question.answers] for question in known}
        answerable = np.array([bool(answers) for answers in golds.values()], bool)
        predictions = {name: next(entry["text"] for entry in entries if entry["text"]) for name, entries in self._n_best.items()}
        metrics = {}
        if self._settings.no_answer:
            threshold = 0.0 if self._settings.null_threshold == BEST else float(self._settings.null_threshold)
            if golds:
                metrics = self._thresholds(golds, answerable, predictions)
                threshold = metrics["best_f1_thresh"] if self._settings.null_threshold == BEST else threshold
            predictions = {name: "" if self._null_odds[name] > threshold else text for name, text in predictions.items()}
            metrics |= dict(null_threshold=threshold)
            _write(folder / NULL_ODDS, self._null_odds)
        _write(folder / PREDICTIONS, predictions)
        _write(folder / N_BEST, self._n_best)
        if not golds:
            return metrics
        exact, f1 = score_all(golds, predictions, self._settings.no_answer)
        return {**summarize(exact, f1, answerable, self._settings.no_answer), **metrics}

    def _thresholds(self, golds, answerable, predictions):
        """The best scores that any threshold on the null odds gives, in percent, and the thresholds."""
        odds = np.array([self._null_odds[name] for name in golds])
        found = {}
        for name, scores in zip(("exact", "f1"), score_all(golds, predictions, no_answer=True), strict=True):
            best, threshold = best_threshold(scores, answerable, odds)
            found |= {f"best_{name}": 100 * float(best), f"best_{name}_thresh": threshold}
        return found


def _joined(batches):
    """Logits [batch, length, 2] of several batches as one; shorter ones are padded with what no answer begins or ends at."""
    length = max(batch.shape[1] for batch in batches)
    return np.concatenate(
        [np.pad(batch, [(0, 0), (0, length - batch.shape[1]), (0, 0)], constant_values=-1e9) for batch in batches]
    )


def _write(path, content):
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
