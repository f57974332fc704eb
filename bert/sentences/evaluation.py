"""Evaluation of sentence embeddings: partners found among all texts, correlation with scores, or nearest texts.

Every different text of the split is embedded once.
"""

import json

import numpy as np

from bert.texts.metrics import regression_scores
from official.evaluation.plots import draw_scatter
from official.task import Evaluation

NEAREST = (1, 10)  # k of recall_at_k
BLOCK = 1024  # texts that are compared with all others at once


class SentenceEvaluation(Evaluation):
    """An official.task.Evaluation of embeddings, float [batch, width] of length 1.

    Labels are a dict of `place`, int [batch], the places of the texts among the different texts of the split. The metrics are

    - of pairs with scores: `spearman` and `pearson`, the correlations of cosine and score;
    - of pairs without: how the cosine ranks a first text's partner among all different second texts of the split, of which
      equally near ones count as nearer. `recall_at_1` and `recall_at_10`: share of pairs whose partner is the nearest, or among
      the ten nearest; `mean_reciprocal_rank`;
    - of single texts: `uniformity` (arXiv:2005.10242, equation 3 with t = 2), log of the mean of exp(-2 d^2) over all pairs of
      different texts at distance d: 0 if all embeddings are equal, near -4 where they are spread evenly over the sphere.

    Args:
      sentences: the bert.sentences.datasets.Sentences of the split.
      title: of the picture (official.task.evaluation_title).
    """

    def __init__(self, sentences, title=""):
        self._sentences = sentences
        self._title = title
        self._places, self._embeddings = [], []
        self._is_pair = sentences.rows.shape[1] == 2
        self.files = {"pairs.jsonl": "the texts and the cosine of every pair, and its score or its partner's rank"}
        if sentences.scores is not None:
            self.files["scores.png"] = "cosines against scores"
        if not self._is_pair:
            self.files = {"nearest.jsonl": "every text, the nearest other one, and their cosine"}

    @property
    def examples(self):
        return len(self._sentences.rows) if self._places else 0

    def add(self, inputs, labels, outputs, assignments):
        finite = np.all(np.isfinite(outputs), axis=-1)
        if not np.all(finite):
            first = labels["place"][np.argmin(finite)]
            raise ValueError(f"{self._sentences.texts.name_of(int(first))}: its embedding is not finite")
        self._places.append(labels["place"])
        self._embeddings.append(outputs)

    def write(self, folder):
        places = np.concatenate(self._places)
        embeddings = np.concatenate(self._embeddings).astype(np.float32)[np.argsort(places)]
        if self._sentences.scores is not None:
            metrics, facts = self._scored(folder, embeddings)
        else:
            metrics, facts = ranked(embeddings, self._sentences.rows) if self._is_pair else neighbours(embeddings)
        name = next(iter(self.files))
        texts = [text.decode(errors="replace") if isinstance(text, bytes) else text for text in self._sentences.texts.texts[0]]
        nearest = facts.pop("nearest", None)
        with (folder / name).open("w", encoding="utf-8") as file:
            for example, (number, row) in enumerate(zip(self._sentences.numbers.tolist(), self._sentences.rows, strict=True)):
                line = {"number": number, **dict(zip(("text", "text_pair"), (texts[place] for place in row), strict=False))}
                if nearest is not None:
                    line["nearest"] = texts[nearest[example]]
                line |= {key: values[example].item() for key, values in facts.items()}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        return metrics

    def _scored(self, folder, embeddings):
        cosines = cosines_of(embeddings, self._sentences.rows)
        scores = self._sentences.scores
        draw_scatter(folder / "scores.png", scores, cosines * np.max(np.abs(scores)), "score", self._title)
        return regression_scores(("spearman", "pearson"), scores, cosines), {"cosine": cosines, "score": scores}


def cosines_of(embeddings, rows):
    """float64 [N], the cosines of pairs; embeddings float [texts, width] of length 1, rows int [N, 2]."""
    first, second = (embeddings[rows[:, side]].astype(np.float64) for side in (0, 1))
    return np.sum(first * second, axis=1)


def ranked(embeddings, rows):
    """How near each first text's partner is.

    Args:
      embeddings: float32 [texts, width] of length 1.
      rows: int64 [N, 2], the places of each pair's texts.

    Returns:
      {metric: value}, and {"cosine": float64 [N], "rank": int64 [N]}: the partner's rank, from 1, among all second texts.
    """
    candidates, partners = np.unique(rows[:, 1], return_inverse=True)
    partners = partners.reshape(-1)
    ranks = np.empty(len(rows), np.int64)
    for start in range(0, len(rows), BLOCK):
        block = slice(start, start + BLOCK)
        cosines = embeddings[rows[block, 0]] @ embeddings[candidates].T
        own = np.take_along_axis(cosines, partners[block, np.newaxis], axis=1)
        ranks[block] = np.sum(cosines >= own, axis=1)  # the partner itself is one of them
    metrics = {f"recall_at_{k}": float(np.mean(ranks <= k)) for k in NEAREST}
    return {**metrics, "mean_reciprocal_rank": float(np.mean(1 / ranks))}, {"cosine": cosines_of(embeddings, rows), "rank": ranks}


def neighbours(embeddings):
    """The nearest other text of each text.

    Args:
      embeddings: float32 [N, width] of length 1.

    Returns:
      {"uniformity": value}, {} for a single text; and {"nearest": int64 [N], "cosine": float64 [N]}.
    """
    texts = len(embeddings)
    nearest = np.empty(texts, np.int64)
    total = 0.0
    for start in range(0, texts, BLOCK):
        cosines = embeddings[start : start + BLOCK] @ embeddings.T
        own = np.arange(len(cosines)), np.arange(start, start + len(cosines))
        cosines[own] = -np.inf
        nearest[start : start + BLOCK] = np.argmax(cosines, axis=1)
        total += np.sum(np.exp(4 * cosines.astype(np.float64) - 4))  # of vectors of length 1, d^2 is 2 - 2 cos
    pairs = texts * (texts - 1)
    rows = np.stack([np.arange(texts), nearest], axis=1)
    return {"uniformity": float(np.log(total / pairs))} if pairs else {}, {
        "nearest": nearest,
        "cosine": cosines_of(embeddings, rows),
    }
