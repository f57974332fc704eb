"""SQuAD's scores: hard cases computed by hand, and another implementation on random answers."""

import numpy as np
import pytest

from bert.squad.metrics import best_threshold, normalized, score, score_all, summarize, with_threshold

NORMALIZED = [
    ("The  Eiffel\tTower.", "eiffel tower"),
    ("an apple a day", "apple day"),
    ("theater", "theater"),  # an article is a word
    ("the-dog", "thedog"),  # punctuation goes first, and leaves no article
    ("(the) dog", "dog"),
    ("A.", ""),
    ("a's", "as"),
    ("U.S.", "us"),
    ("$1,000.50", "100050"),
    ("“quoted” — text", "“quoted” — text"),  # only ASCII punctuation is removed
    ("caf\u00e9", "café"),
    ("cafe\u0301", "cafe\u0301"),  # not composed
    ("ÉCOLE", "école"),
    ("\u00a0no-break\u2003space\u00a0", "nobreak space"),
    ("東京", "東京"),
    ("", ""),
]


@pytest.mark.parametrize("text, expected", NORMALIZED)
def test_normalized(text, expected):
    assert normalized(text) == expected


# Golds, prediction, exact match, F1 by the rules of SQuAD 2.0.
SCORES = [
    (["Denver Broncos"], "the Denver Broncos!", 1, 1),
    (["Denver Broncos"], "Denver", 0, 2 / 3),  # precision 1, recall 1/2
    (["Denver Broncos", "Broncos"], "broncos", 1, 1),
    (["in the year 1990", "1990"], "the year 1990", 0, 4 / 5),  # "in year 1990" against "year 1990": 2 of 2 and 2 of 3
    (["1990", "in the year 1990"], "year", 0, 1 / 2),  # precision 1, recall 1/3
    (["a rose is a rose"], "rose rose rose", 0, 2 / 3),  # as bags: two of three, and two of three
    (["saint bernadette soubirous"], "bernadette", 0, 1 / 2),
    (["the Trebuchet"], "a trebuchet", 1, 1),
    (["cat dog"], "dog cat", 0, 1),  # order counts for the exact match alone
    (["café"], "cafe", 0, 0),
    (["東京"], "東京 市", 0, 2 / 3),
    (["Paris"], "", 0, 0),
    (["Paris"], "the", 0, 0),
    ([], "", 1, 1),
    ([], "The.", 1, 1),  # normalizes to nothing, as no answer does
    ([], "Paris", 0, 0),
    (["A", "grade A student"], "grade student", 1, 1),  # the gold that normalizes to nothing is passed over
    (["The", "!"], "", 1, 1),  # all of them are
    (["The"], "who", 0, 0),
]


@pytest.mark.parametrize("golds, prediction, exact, f1", SCORES)
def test_hard_cases(golds, prediction, exact, f1):
    assert score(golds, prediction, no_answer=True) == (exact, pytest.approx(f1, abs=1e-12))


@pytest.mark.parametrize("golds, prediction, exact, f1", SCORES)
def test_rules_of_1_1(golds, prediction, exact, f1):
    """As those of 2.0 wherever a gold and the prediction have words; nothing against nothing is exact and has no F1."""
    if golds and all(normalized(gold) for gold in golds):
        assert score(golds, prediction, no_answer=False) == (exact, pytest.approx(f1, abs=1e-12))
    assert score(["The"], "a", no_answer=False) == (1, 0)


def test_as_another_implementation():
    """Hugging Face's, on random answers of few words, so that most share some."""
    from transformers.data.metrics import squad_metrics

    random = np.random.default_rng(0)
    words = ["the", "a", "Cat", "cat,", "dog", "dog-cat", "é", "«x»", "--", "1,000", "\u2003", "an"]

    def text():
        return " ".join(random.choice(words, random.integers(0, 5)))

    for _ in range(1000):
        golds, prediction = [text() for _ in range(random.integers(0, 4))], text()
        kept = [gold for gold in golds if squad_metrics.normalize_answer(gold)] or [""]
        exact = max(squad_metrics.compute_exact(gold, prediction) for gold in kept)
        f1 = max(squad_metrics.compute_f1(gold, prediction) for gold in kept)
        assert score(golds, prediction, no_answer=True) == (exact, f1), (golds, prediction)


def test_all_questions_in_order():
    golds = {"x": ["Paris"], "y": [], "z": ["London", "the city"]}
    exact, f1 = score_all(golds, {"z": "city of London", "x": "Paris", "y": "", "of another set": "?"}, no_answer=True)
    assert (exact.tolist(), f1.tolist()) == ([1, 1, 0], [1, 1, 0.5])  # "london" is 1 of 3 words and 1 of 1


def test_questions_without_prediction():
    with pytest.raises(ValueError, match=r"^2 of 3 questions have no prediction, such as 'y'$"):
        score_all({"x": ["1"], "y": [], "z": []}, {"x": "1"}, no_answer=True)
    with pytest.raises(ValueError, match=r"^there are no questions$"):
        score_all({}, {}, no_answer=True)


def test_summary():
    """Percentages of all questions, and of those with and without an answer."""
    exact, f1 = np.array([1.0, 0, 0, 1]), np.array([1.0, 0.5, 0, 1])
    answerable = np.array([True, True, True, False])
    assert summarize(exact, f1, answerable, no_answer=True) == {
        "exact": 50,
        "f1": 62.5,
        "total": 4,
        "HasAns_exact": pytest.approx(100 / 3),
        "HasAns_f1": 50,
        "HasAns_total": 3,
        "NoAns_exact": 100,
        "NoAns_f1": 100,
        "NoAns_total": 1,
    }
    assert summarize(exact, f1, np.ones(4, bool), no_answer=False) == {"exact": 50, "f1": 62.5, "total": 4}
    assert "NoAns_total" not in summarize(exact, f1, np.ones(4, bool), no_answer=True)


class TestThreshold:
    def test_by_hand(self):
        """Odds -2, -1, 0, 3 of an answerable one, right; one without answer; one, half right; one, wrong.

        Answering the first k of them scores 1, 2, 1, 1.5, 1.5: with none answered, the one without an answer is right.
        """
        answerable, odds = np.array([True, False, True, True]), np.array([-2.0, -1, 0, 3])
        scores = np.array([1, 0, 0.5, 0])
        assert best_threshold(scores, answerable, odds) == (2 / 4, -2)
        np.testing.assert_array_equal(with_threshold(scores, answerable, odds, -2), [1, 1, 0, 0])
        np.testing.assert_array_equal(with_threshold(scores, answerable, odds, 0), [1, 0, 0.5, 0])  # at it, answered

    def test_nothing_is_answered(self):
        """The threshold lies below all odds."""
        for odds, threshold in (([-2.0, 1], -3), ([0.5, 1.0], 0)):
            assert best_threshold(np.zeros(2), np.array([False, True]), np.array(odds)) == (0.5, threshold)

    def test_equal_odds_are_answered_together(self):
        """One right and two that have no answer, all of odds 1: no threshold can be between them."""
        scores, answerable = np.array([1.0, 0, 0]), np.array([True, False, False])
        assert best_threshold(scores, answerable, np.ones(3)) == (2 / 3, 0)

    def test_gives_the_best_score_of_all(self):
        """On random odds with ties: no threshold does better, and the one returned does as well as said."""
        random = np.random.default_rng(1)
        for _ in range(50):
            answerable, odds = random.random(20) < 0.6, random.integers(-5, 6, 20) / 2
            scores = np.where(answerable, random.integers(0, 5, 20) / 4, 0)
            best, threshold = best_threshold(scores, answerable, odds)
            assert with_threshold(scores, answerable, odds, threshold).mean() == pytest.approx(best, abs=1e-12)
            every = [with_threshold(scores, answerable, odds, t).mean() for t in [-100, *odds]]
            assert best == pytest.approx(max(every), abs=1e-12)

    def test_as_another_implementation(self):
        """Hugging Face's, where no two odds are equal and all are above 0."""
        from transformers.data.metrics import squad_metrics

        random = np.random.default_rng(2)
        for _ in range(50):
            answerable, odds = random.random(20) < 0.6, random.random(20)
            scores = np.where(answerable, random.random(20), 0)
            by_question = [dict(enumerate(values.tolist())) for values in (scores, odds, answerable)]
            expected = squad_metrics.find_best_thresh(dict.fromkeys(range(20), "answered"), *by_question)
            best, threshold = best_threshold(scores, answerable, odds)
            assert (100 * best, threshold) == pytest.approx(expected, rel=1e-12)
