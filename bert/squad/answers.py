"""Turns the logits of all windows of a question into its answers: spans of the context, with texts and probabilities.

N: questions; W: their windows (bert.squad.windows); l: positions of the model's inputs; C: candidates per question.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from bert.squad.windows import context_tokens, is_max_context, windows_by_question

# Candidate spans per requested answer; several spans may have the same text.
SPANS_AN_ANSWER = 8


class Spans(NamedTuple):
    """The best spans of each question, best first, and the logits of "no answer".

    Attributes:
      scores: float32 [N, C], sum of the logits of start and end; -inf for unused candidates.
      tokens: int32 [N, C, 2], first and last token of the context.
      logits: float32 [N, C, 2], of start and end.
      null: float32 [N, 2], the logits of start and end at [CLS], in the window where their sum is the smallest.
    """

    scores: tf.Tensor
    tokens: tf.Tensor
    logits: tf.Tensor
    null: tf.Tensor


def best_spans(logits, windows, max_answer_length, candidates):
    """Finds the best spans inside the context that start in the max-context window of their first token.

    Args:
      logits: float [W, l, 2], of start and end.
      windows: bert.squad.windows.Windows of whole questions.
      max_answer_length: most tokens of a span.
      candidates: C.

    Returns:
      Spans. Equal scores are sorted by window, then by start, then by length.
    """
    logits = tf.cast(logits, tf.float32)
    positions = tf.shape(logits)[1]
    tokens = context_tokens(windows, positions)
    start = tf.where(is_max_context(windows, tokens), logits[..., 0], -np.inf)
    end = tf.where(tokens >= 0, logits[..., 1], -np.inf)
    end = tf.pad(end, [[0, 0], [0, max_answer_length - 1]], constant_values=-np.inf)
    scores = tf.stack([start + end[:, more : more + positions] for more in range(max_answer_length)], axis=-1)
    scores, place = _top(tf.reshape(scores, [-1, positions * max_answer_length]), candidates)
    first, last = place // max_answer_length, place // max_answer_length + place % max_answer_length
    span_logits = tf.stack([tf.gather(start, first, batch_dims=1), tf.gather(end, last, batch_dims=1)], axis=-1)
    span_tokens = tf.gather(tokens, first, batch_dims=1)
    span_tokens = tf.stack([span_tokens, span_tokens + last - first], axis=-1)

    # From the best spans of each window to the best of each question.
    numbers = windows_by_question(windows)
    there, numbers = numbers >= 0, tf.maximum(numbers, 0)

    def of_questions(values):
        """[W, candidates, ...] to [N, most windows * candidates, ...]"""
        shape = tf.shape(values)
        return tf.reshape(tf.gather(values, numbers), tf.concat([[tf.shape(numbers)[0], -1], shape[2:]], axis=0))

    rivals = tf.where(tf.repeat(there, tf.shape(scores)[1], axis=1), of_questions(scores), -np.inf)
    scores, place = _top(rivals, candidates)
    span_tokens, span_logits = (tf.gather(of_questions(value), place, batch_dims=1) for value in (span_tokens, span_logits))
    null = tf.where(there[..., tf.newaxis], tf.gather(logits[:, 0], numbers), np.inf)
    null = tf.gather(null, tf.argmin(tf.reduce_sum(null, axis=-1), axis=1), batch_dims=1)
    return Spans(scores, span_tokens, span_logits, null)


def _top(values, count):
    """tf.math.top_k of [..., n] with exactly `count` results, padded with -inf and index 0."""
    found, place = tf.math.top_k(values, tf.minimum(count, tf.shape(values)[1]))
    lacking = [[0, 0], [0, count - tf.shape(found)[1]]]
    return tf.pad(found, lacking, constant_values=-np.inf), tf.pad(place, lacking)


def n_best(spans, text_of, count, no_answer):
    """The best answers of one question with different texts, in the form of SQuAD's nbest_predictions.json.

    Args:
      spans: Spans of one question, NumPy arrays without the axis N.
      text_of: function of first and last token that returns the text.
      count: most answers, "no answer" not included.
      no_answer: whether the question may have no answer.

    Returns:
      (list of dict(text, probability, start_logit, end_logit), best first, where the text "" is "no answer"; the null odds, the
      logits of "no answer" minus those of the best answer).
    """
    entries = {}
    for tokens, logits in zip(spans.tokens[np.isfinite(spans.scores)], spans.logits, strict=False):
        if len(entries) == count:
            break
        entries.setdefault(text_of(*tokens), logits)
    null_odds = float(spans.null.sum() - spans.scores[0])
    if no_answer:
        entries[""] = spans.null
    ranked = sorted(entries.items(), key=lambda entry: -entry[1].sum())
    totals = np.array([logits.sum() for _, logits in ranked], np.float64)
    shares = np.exp(totals - totals.max())
    return [
        dict(text=text, probability=float(share), start_logit=float(logits[0]), end_logit=float(logits[1]))
        for (text, logits), share in zip(ranked, shares / shares.sum(), strict=True)
    ], null_odds
