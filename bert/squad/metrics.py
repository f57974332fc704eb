"""Scores of answers to SQuAD's questions: exact match and F1 by the published rules of SQuAD 1.1 and 2.0."""

import collections
import re
import string

import numpy as np

ARTICLES = re.compile(r"\b(?:a|an|the)\b")
WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(text):
    """What is compared of an answer: lower case, without ASCII punctuation, then without English articles, white space folded."""
    bare = text.lower().translate(WITHOUT_PUNCTUATION)
    return " ".join(ARTICLES.sub(" ", bare).split())


def score(golds, prediction, no_answer):
    """The exact match and the F1 of a prediction, each the best over the gold answers.

    Args:
      golds: list of str; empty where the question has no answer.
      prediction: str; empty says that there is no answer.
      no_answer: whether the rules of SQuAD 2.0 hold. They pass over golds that normalize to nothing, and a prediction that does
        agrees with "no answer" in full. By the rules of SQuAD 1.1 its F1 is 0 with any gold.

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
    """Of two lists of words, as bags."""
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
      golds: {question's id: list of str}.
      predictions: {question's id: str}; those of other questions are passed over.
      no_answer: as of `score`.

    Returns:
      Two float64 arrays [questions], in the order of `golds`.

    Raises:
      ValueError: no prediction for a question, or no question.
    """
    missing = [name for name in golds if name not in predictions]
    if missing:
        raise ValueError(f"there is no prediction for {len(missing)} of {len(golds)} questions, such as {missing[0]!r}")
    if not golds:
        raise ValueError("there are no questions")
    scores = [score(golds[name], predictions[name], no_answer) for name in golds]
    exact, f1 = np.array(scores, np.float64).T
    return exact, f1


def with_threshold(scores, answerable, odds, threshold):
    """The scores [N] where a question whose null odds are above the threshold counts as not answered.

    Args:
      scores: float [N], of the answers, exact matches or F1.
      answerable: bool [N], whether the question has an answer.
      odds: float [N], larger where there is more likely none.
      threshold: float.
    """
    return np.where(odds > threshold, ~answerable, scores)


def best_threshold(scores, answerable, odds):
    """The threshold on null odds with the highest mean score, the lowest of those that reach it.

    The candidates are the odds themselves, as in the published evaluation, and one below them all, for which it writes 0.
    Unlike there, questions of equal odds are answered together, so that the threshold does give the score.

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
    """Means in percent under the published evaluation's names.

    Args:
      exact, f1: float [N].
      answerable: bool [N].
      no_answer: whether some questions have no answer: adds the means of those that have some and of those that have none.
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
