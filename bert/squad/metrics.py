"""Exact match and F1 by the published rules of SQuAD 1.1 and 2.0."""

import collections
import re
import string

import numpy as np

ARTICLES = re.compile(r"\b(?:a|an|the)\b")
WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(text):
    """Normalizes an answer: lower case, no ASCII punctuation, then no English articles, single spaces."""
    bare = text.lower().translate(WITHOUT_PUNCTUATION)
    return " ".join(ARTICLES.sub(" ", bare).split())


def score(golds, prediction, no_answer):
    """The exact match and the F1 of a prediction, each the best over the gold answers.

    Args:
      golds: list of str; empty if the question has no answer.
      prediction: str; empty for "no answer".
      no_answer: whether to follow SQuAD 2.0, which ignores gold answers that normalize to "", and where a prediction that does so
        matches "no answer". In SQuAD 1.1 the F1 of such a prediction is 0.

    Returns:
      (0 or 1, float in [0, 1]).
    """
    golds = [normalized(gold) for gold in golds]
    if no_answer:
        golds = list(filter(None, golds)) or [""]
    prediction = normalized(prediction)
    exact = max(int(gold == prediction) for gold in golds)
    return exact, max(_f1(gold.split(), prediction.split(), both_empty=float(no_answer)) for gold in golds)


def _f1(gold, prediction, both_empty):
    """F1 of two lists of words as multisets."""
    if not gold and not prediction:
        return both_empty
    shared = sum((collections.Counter(gold) & collections.Counter(prediction)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(prediction), shared / len(gold)
    return 2 * precision * recall / (precision + recall)


def score_all(golds, predictions, no_answer):
    """Exact matches and F1 of many questions.

    Args:
      golds: {id of a question: list of str}.
      predictions: {id of a question: str}; other questions are ignored.
      no_answer: as of `score`.

    Returns:
      Two float64 arrays [questions], in the order of `golds`.

    Raises:
      ValueError: a question without a prediction, or no questions.
    """
    missing = [name for name in golds if name not in predictions]
    if missing:
        raise ValueError(f"{len(missing)} of {len(golds)} questions have no prediction, such as {missing[0]!r}")
    if not golds:
        raise ValueError("there are no questions")
    scores = [score(golds[name], predictions[name], no_answer) for name in golds]
    exact, f1 = np.array(scores, np.float64).T
    return exact, f1


def with_threshold(scores, answerable, odds, threshold):
    """The scores [N] if questions with null odds above the threshold are predicted to have no answer.

    Args:
      scores: float [N], exact matches or F1 of the answers.
      answerable: bool [N], whether the question has an answer.
      odds: float [N], the null odds; the larger, the less likely an answer.
      threshold: float.
    """
    return np.where(odds > threshold, ~answerable, scores)


def best_threshold(scores, answerable, odds):
    """Finds the threshold on null odds with the highest mean score, the lowest one if several reach it.

    The candidates are the odds themselves, as in the published evaluation, and one value below them all, for which that writes 0.
    Unlike there, questions with equal odds are treated together, so that the threshold really gives the score.

    Args:
      scores, answerable, odds: as of `with_threshold`.

    Returns:
      (the mean score, the threshold).
    """
    order = np.argsort(odds, kind="stable")
    odds, none = odds[order], ~answerable[order]
    totals = none.sum() + np.cumsum(scores[order] - none)
    is_last = np.append(odds[1:] != odds[:-1], True)  # of its equals
    nothing_answered = 0.0 if odds[0] > 0 else odds[0] - 1
    totals = np.concatenate([[none.sum()], totals[is_last]])
    thresholds = np.concatenate([[nothing_answered], odds[is_last]])
    best = np.argmax(totals)
    return totals[best] / len(scores), float(thresholds[best])


def summarize(exact, f1, answerable, no_answer):
    """Mean scores in percent, with the names of the published evaluation.

    Args:
      exact, f1: float [N].
      answerable: bool [N].
      no_answer: whether to add the means over the questions with and without an answer.
    """
    parts = {"": np.ones_like(answerable)}
    if no_answer:
        parts |= {"HasAns_": answerable, "NoAns_": ~answerable}
    summary = {}
    for prefix, part in parts.items():
        if part.any():
            summary[f"{prefix}exact"] = 100 * float(exact[part].mean())
            summary[f"{prefix}f1"] = 100 * float(f1[part].mean())
            summary[f"{prefix}total"] = int(part.sum())
    return summary
