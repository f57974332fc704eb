"""Metrics of embeddings against their definitions, a pair or a text at a time, and the files."""

import json

import numpy as np
import pytest
from scipy import stats

from bert.sentences import evaluation
from bert.sentences.datasets import Sentences
from bert.sentences.evaluation import SentenceEvaluation, neighbours, ranked
from bert.texts.examples import Examples


def unit_rows(rows, width=4, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def sentences(rows, scores=None):
    rows = np.array(rows)
    texts = [f"text {place}".encode() for place in range(rows.max() + 1)]
    distinct = Examples((texts,), None, np.arange(len(texts)), "line {}".format)
    return Sentences(distinct, rows, scores, np.arange(len(rows)) + 100)


def evaluated(folder, found, vectors):
    """(metrics, the lines of the file) for outputs in two batches, not in the order of the texts."""
    scored = SentenceEvaluation(found, "title")
    order = np.random.default_rng(1).permutation(len(vectors))
    for part in (order[:3], order[3:]):
        scored.add({}, {"place": part}, vectors[part], None)
    metrics = scored.write(folder)
    assert scored.examples == len(found.rows)
    assert {path.name for path in folder.iterdir()} == set(scored.files)
    return metrics, [json.loads(line) for line in (folder / next(iter(scored.files))).read_text().splitlines()]


def test_partners(tmp_path, monkeypatch):
    """Ranks among all different second texts, one by one; a second text of two pairs counts once."""
    monkeypatch.setattr(evaluation, "BLOCK", 4)
    rows = np.array([[i, 20 + i % 13] for i in range(15)])
    vectors = unit_rows(40)
    metrics, lines = evaluated(tmp_path, sentences([*rows, [0, 39]]), vectors)
    rows = np.array([*rows, [0, 39]])
    ranks = []
    for first, second in rows:
        others = {other for other in rows[:, 1] if other != second}
        ranks.append(1 + sum(vectors[first] @ vectors[other] > vectors[first] @ vectors[second] for other in others))
    assert 1 in ranks and max(ranks) > 10
    assert [line["rank"] for line in lines] == ranks
    expected = {"recall_at_1": np.mean(np.array(ranks) == 1), "recall_at_10": np.mean(np.array(ranks) <= 10)}
    assert metrics == pytest.approx({**expected, "mean_reciprocal_rank": np.mean(1 / np.array(ranks))})
    assert lines[3]["text"] == "text 3" and lines[3]["text_pair"] == "text 23" and lines[3]["number"] == 103
    np.testing.assert_allclose([line["cosine"] for line in lines], [vectors[a] @ vectors[b] for a, b in rows], atol=1e-6)


def test_equal_embeddings_find_no_partner():
    """A model that embeds all texts alike has the lowest score, not the highest."""
    metrics, _ = ranked(np.tile(unit_rows(1), (24, 1)), np.arange(24).reshape(12, 2))
    assert metrics == pytest.approx({"recall_at_1": 0, "recall_at_10": 0, "mean_reciprocal_rank": 1 / 12})


def test_scores(tmp_path):
    """SciPy's correlations of cosine and score."""
    rows, vectors = np.array([[0, 1], [2, 3], [0, 4], [5, 1]]), unit_rows(6)
    scores = np.array([0.5, 4.0, 5.0, 2.5], np.float32)
    metrics, lines = evaluated(tmp_path, sentences(rows, scores), vectors)
    cosines = [float(vectors[a].astype(float) @ vectors[b].astype(float)) for a, b in rows]
    expected = {"spearman": stats.spearmanr(cosines, scores)[0], "pearson": stats.pearsonr(cosines, scores)[0]}
    assert metrics == pytest.approx(expected, abs=1e-6)
    assert [line["score"] for line in lines] == scores.tolist()


def test_single_texts(tmp_path, monkeypatch):
    """Each text's nearest other one; uniformity is the log of a mean over all pairs of two texts."""
    monkeypatch.setattr(evaluation, "BLOCK", 3)
    vectors = unit_rows(7)
    metrics, lines = evaluated(tmp_path, sentences(np.arange(7)[:, np.newaxis]), vectors)
    pairs = [(i, j) for i in range(7) for j in range(7) if i != j]
    potentials = [np.exp(-2 * np.sum((vectors[i].astype(float) - vectors[j]) ** 2)) for i, j in pairs]
    assert metrics == pytest.approx({"uniformity": np.log(np.mean(potentials))}, rel=1e-5)
    nearest = [max((j for j in range(7) if j != i), key=lambda j: vectors[i] @ vectors[j]) for i in range(7)]
    assert [line["nearest"] for line in lines] == [f"text {j}" for j in nearest]
    assert neighbours(np.tile(vectors[:1], (5, 1)))[0]["uniformity"] == pytest.approx(0, abs=1e-6)


def test_what_is_not_finite_is_named():
    vectors = unit_rows(3)
    vectors[1, 2] = np.nan
    with pytest.raises(ValueError, match="^line 1: its embedding is not finite$"):
        SentenceEvaluation(sentences([[0], [1], [2]])).add({}, {"place": np.arange(3)}, vectors, None)
