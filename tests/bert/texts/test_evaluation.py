"""What an evaluation of texts writes: metrics, pictures, predictions, and GLUE's files."""

import json

import numpy as np
import pytest
from scipy import special, stats
from sklearn import metrics

from bert.texts.evaluation import TextClassificationEvaluation, TextRegressionEvaluation
from bert.texts.examples import Examples

NLI = ("entailment", "neutral", "contradiction")


def examples(labels, pairs=False):
    count = 7 if labels is None else len(labels)
    texts = ([f"text {i}" for i in range(count)], [f"pair {i}".encode() for i in range(count)])
    return Examples(texts[: 1 + pairs], labels, np.arange(count) + 100, "example {}".format)


def written(evaluation, outputs, folder, assignments=None):
    """Adds outputs in batches of three, the last examples first, and writes."""
    labels = evaluation._examples.labels
    for places in np.array_split(np.arange(len(outputs))[::-1], 3):
        batch = {"place": places} if labels is None else {"place": places, "label": labels[places]}
        evaluation.add({}, batch, outputs[places], None if assignments is None else assignments[places])
    assert evaluation.examples == len(outputs)
    found = evaluation.write(folder)
    assert {path.name for path in folder.iterdir()} <= set(evaluation.files)
    return found, [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


def test_classification(tmp_path):
    """Metrics are scikit-learn's, and what was predicted stands beside each text, in the order of the split."""
    random = np.random.default_rng(0)
    labels, logits = random.integers(0, 3, 7), random.normal(size=(7, 3)).astype(np.float32)
    evaluation = TextClassificationEvaluation(NLI, ("accuracy", "f1", "matthews"), examples(labels, pairs=True))
    found, rows = written(evaluation, logits, tmp_path, assignments=np.ones([7, 2, 3], np.int32))
    predicted = logits.argmax(axis=-1)
    assert list(found) == ["accuracy", "f1", "matthews", "loss", "expected_calibration_error"]
    assert found["accuracy"] == pytest.approx(np.mean(predicted == labels))
    assert found["f1"] == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    probabilities = special.softmax(logits.astype(float), axis=-1)
    assert found["loss"] == pytest.approx(metrics.log_loss(labels, probabilities, labels=range(3)))
    for place, row in enumerate(rows):
        assert (row["number"], row["text"], row["text_pair"]) == (100 + place, f"text {place}", f"pair {place}")
        assert (row["label"], row["prediction"]) == (NLI[labels[place]], NLI[predicted[place]])
        assert list(row["probabilities"].values()) == pytest.approx(probabilities[place], abs=1e-6)
    assert set(evaluation.files) == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("by_name, expected", [(True, ["neutral", "entailment", "contradiction"]), (False, ["1", "0", "2"])])
def test_submission_without_labels(tmp_path, by_name, expected):
    """GLUE's file has a header and goes by the examples' numbers; there are no metrics, and nothing about labels."""
    logits = np.eye(3)[[1, 0, 2, 1, 1, 0, 0]]
    evaluation = TextClassificationEvaluation(NLI, ("accuracy",), examples(None), ("MNLI-m.tsv", by_name))
    found, rows = written(evaluation, logits, tmp_path)
    assert found == {}
    assert {path.name for path in tmp_path.iterdir()} == {"predictions.jsonl", "MNLI-m.tsv"} == set(evaluation.files)
    lines = (tmp_path / "MNLI-m.tsv").read_bytes().decode().split("\n")
    assert lines[:4] == ["index\tprediction", *(f"{100 + i}\t{value}" for i, value in enumerate(expected))]
    assert len(lines) == 9 and lines[-1] == ""
    assert "label" not in rows[0]


def test_regression(tmp_path):
    """Correlations are SciPy's; GLUE's file has scores from 0 to 5, others than those would be refused."""
    random = np.random.default_rng(0)
    labels = np.append(random.uniform(0, 5, 5), [0.0, 5.0]).astype(np.float32)
    scores = np.append(labels[:5] + random.normal(size=5), [-0.7, 5.6]).astype(np.float32)[:, np.newaxis]
    evaluation = TextRegressionEvaluation(("pearson", "spearman"), examples(labels, pairs=True), ("STS-B.tsv", False))
    found, rows = written(evaluation, scores, tmp_path)
    assert found == {
        "pearson": pytest.approx(stats.pearsonr(labels, scores[:, 0])[0], abs=1e-6),
        "spearman": pytest.approx(stats.spearmanr(labels, scores[:, 0])[0]),
        "loss": pytest.approx(np.mean((labels - scores[:, 0]) ** 2), rel=1e-6),
    }
    submitted = (tmp_path / "STS-B.tsv").read_text().splitlines()
    assert submitted[0] == "index\tprediction"
    assert submitted[1] == f"100\t{scores[0, 0]:.3f}"
    assert submitted[6:] == ["105\t0.000", "106\t5.000"]
    assert rows[6] == {"number": 106, "text": "text 6", "text_pair": "pair 6", "prediction": float(scores[6, 0]), "label": 5.0}
    assert set(evaluation.files) == {path.name for path in tmp_path.iterdir()}
    assert (tmp_path / "scores.png").stat().st_size > 5000


def test_outputs_that_do_not_fit():
    """Another number of them, or one that is not finite, which is named."""
    evaluation = TextClassificationEvaluation(NLI, ("accuracy",), examples(np.arange(3)))
    batch = {"place": np.array([0, 2]), "label": np.array([0, 2])}
    with pytest.raises(ValueError, match=r"^the model has 2 outputs and the task 3 classes$"):
        evaluation.add({}, batch, np.zeros([2, 2]), None)
    with pytest.raises(ValueError, match=r"^example 2: the model's output for it is not finite$"):
        evaluation.add({}, batch, np.array([[0, 1, 2], [0, np.nan, 2]]), None)
