"""From logits to answers: by hand, and against a search through every span of every window."""

import numpy as np
import pytest
import tensorflow as tf

from bert.squad.answers import Spans, best_spans, n_best
from bert.squad.windows import context_tokens, is_max_context, make_windows


def every_span(logits, windows, tokens, counts, max_answer_length):
    """{question: [(score, first, last, start logit, end logit)]}, best first, by loops over all pairs of positions."""
    found = {}
    for w, question in enumerate(windows.question.numpy()):
        spans = found.setdefault(int(question), [])
        for i in range(logits.shape[1]):
            for j in range(i, logits.shape[1]):
                inside = tokens[w, i] >= 0 and tokens[w, j] >= 0
                if inside and counts[w, i] and tokens[w, j] - tokens[w, i] < max_answer_length:
                    start, end = logits[w, i, 0], logits[w, j, 1]
                    spans.append((start + end, tokens[w, i], tokens[w, j], start, end))
    return {question: sorted(spans, key=lambda span: -span[0]) for question, spans in found.items()}


@pytest.mark.parametrize("graph", [False, True])
def test_best_spans_are_those_of_a_full_search(graph):
    """Of random logits, with the largest ones where no answer may be: the question, [CLS], [SEP] and padding."""
    random = np.random.default_rng(0)
    call = tf.function(best_spans) if graph else best_spans
    for stride, max_answer_length, candidates in ((3, 4, 6), (7, 1, 40), (2, 30, 500)):
        contexts = tf.constant([0, 1, 9, 25, 40])
        windows = make_windows(tf.constant([3, 1, 5, 2, 3]), contexts, 16, stride)
        tokens = context_tokens(windows, 18)  # two more positions than a window has tokens
        logits = random.normal(size=(len(windows.question), 18, 2)).astype(np.float32)
        logits[tokens.numpy() < 0] += 100
        counts, numbers = is_max_context(windows, tokens).numpy(), tokens.numpy()
        expected = every_span(logits, windows, numbers, counts, max_answer_length)
        spans = Spans(*(value.numpy() for value in call(tf.constant(logits), windows, max_answer_length, candidates)))
        for question, of_question in expected.items():
            length = min(len(of_question), candidates)
            scores, first, last, start, end = np.array(of_question[:candidates]).reshape(-1, 5).T
            np.testing.assert_array_equal(spans.scores[question, :length], scores.astype(np.float32))
            assert np.isneginf(spans.scores[question, length:]).all()
            np.testing.assert_array_equal(spans.tokens[question, :length].T, [first, last])
            np.testing.assert_array_equal(spans.logits[question, :length].T, np.array([start, end], np.float32))
            of_windows = logits[windows.question.numpy() == question, 0]
            np.testing.assert_array_equal(spans.null[question], of_windows[of_windows.sum(axis=-1).argmin()])
        assert spans.scores.shape == (5, candidates)


def test_max_answer_length():
    """Start at token 1 and end at token 4 of five are the best: four tokens, which three do not reach."""
    windows = make_windows(tf.constant([2]), tf.constant([5]), 12, 4)
    logits = np.zeros((1, 12, 2), np.float32)
    logits[0, 4 + 1, 0], logits[0, 4 + 4, 1], logits[0, 4 + 2, 1] = 5, 5, 1
    assert best_spans(tf.constant(logits, tf.float64), windows, 4, 1).tokens.numpy().tolist() == [[[1, 4]]]
    # Token 2's start logit is 0 with the end logit 5; token 1's 5 with 1.
    assert best_spans(tf.constant(logits), windows, 3, 1).tokens.numpy().tolist() == [[[1, 2]]]


def test_an_end_before_its_start_is_no_answer():
    windows = make_windows(tf.constant([2]), tf.constant([3]), 12, 4)
    logits = np.full((1, 12, 2), -1, np.float32)
    logits[0, 4 + 2, 0], logits[0, 4 + 0, 1] = 10, 10
    spans = best_spans(tf.constant(logits), windows, 3, 2)
    assert spans.tokens.numpy()[0].tolist() == [[0, 0], [2, 2]]  # 9 each, and the earlier one first
    assert spans.scores.numpy()[0].tolist() == [9, 9]


def spans_of(entries, null=(0.0, 0.0)):
    """Spans of one question from (start logit, end logit, token), best first."""
    logits = np.array([entry[:2] for entry in entries], np.float32)
    tokens = np.array([entry[2:] * 2 for entry in entries])
    return Spans(logits.sum(axis=-1), tokens, logits, np.array(null, np.float32))


class TestNBest:
    texts = ("Paris", "the city", "Paris", "France")

    def n_best(self, spans, count, no_answer):
        return n_best(spans, lambda first, last: self.texts[first], count, no_answer)

    def test_by_hand(self):
        """Paris comes twice and counts once, as the better one; the third text falls off. Scores 3 and 1 of e^3 + e^1."""
        spans = spans_of([(2, 1, 0), (1, 1, 2), (1, 0, 1), (0, 0, 3)], null=(0.5, 1.5))
        entries, null_odds = self.n_best(spans, 2, no_answer=False)
        assert [entry["text"] for entry in entries] == ["Paris", "the city"]
        assert [entry["probability"] for entry in entries] == pytest.approx([0.880797, 0.119203], abs=1e-6)
        assert [(entry["start_logit"], entry["end_logit"]) for entry in entries] == [(2, 1), (1, 0)]
        assert null_odds == 2 - 3

    def test_no_answer(self):
        """It stands at its place, though two others are asked for: scores 3, 2 and 1."""
        spans = spans_of([(2, 1, 0), (1, 1, 2), (1, 0, 1), (0, 0, 3)], null=(0.5, 1.5))
        entries, null_odds = self.n_best(spans, 2, no_answer=True)
        assert [entry["text"] for entry in entries] == ["Paris", "", "the city"]
        assert [entry["probability"] for entry in entries] == pytest.approx([0.665241, 0.244728, 0.090031], abs=1e-6)
        assert (entries[1]["start_logit"], entries[1]["end_logit"]) == (0.5, 1.5)
        assert null_odds == -1

    def test_fewer_spans_than_asked_for(self):
        spans = spans_of([(2, 1, 0), (-np.inf, 0, 0)])
        entries, _ = self.n_best(spans, 20, no_answer=False)
        assert [(entry["text"], entry["probability"]) for entry in entries] == [("Paris", 1)]
