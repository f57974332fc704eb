"""Evaluation of text classification and regression: metrics, plots, predictions, and submissions to GLUE."""

import abc
import json

import numpy as np

from bert.texts.examples import SCORE_NAME
from bert.texts.glue import SCORES
from bert.texts.metrics import classification_scores, regression_scores
from official.evaluation.classification import ClassificationEvaluation
from official.evaluation.plots import draw_scatter
from official.task import Evaluation

PREDICTIONS = {"predictions.jsonl": "text, label and prediction of every example"}


class TextEvaluation(Evaluation):
    """An official.task.Evaluation of texts.

    Outputs are float [N, classes], logits or one score. Labels are a dict of `place`, int [N], the indices of the examples, and
    `label` if the split has labels. Without labels only predictions are written, and there are no metrics.

    Args:
      class_names: of the classes in their order, or (SCORE_NAME,).
      metrics: names of bert.texts.metrics.
      examples: the bert.texts.examples.Examples of the split.
      submission: (file name of a submission to GLUE's server, whether it holds names of classes), or None.
      title: of the pictures (official.task.evaluation_title).
    """

    def __init__(self, class_names, metrics, examples, submission=None, title=""):
        self.class_names = class_names
        self._title = title
        self._metrics = metrics
        self._examples = examples
        self._submission = submission
        self._places, self._outputs = [], []
        self.files = dict(PREDICTIONS)
        if submission:
            self.files[submission[0]] = "predictions in the format of GLUE's server"

    @property
    def examples(self):
        return sum(map(len, self._places))

    def add(self, inputs, labels, outputs, assignments):
        if outputs.shape[-1] != len(self.class_names):
            raise ValueError(f"the model has {outputs.shape[-1]} outputs and the task {len(self.class_names)} classes")
        if not np.all(np.isfinite(outputs)):
            first = labels["place"][np.argmin(np.all(np.isfinite(outputs), axis=-1))]
            raise ValueError(f"{self._examples.name_of(int(first))}: the model's output for it is not finite")
        self._places.append(labels["place"])
        self._outputs.append(np.asarray(outputs, np.float64))

    def write(self, folder):
        places, outputs = np.concatenate(self._places), np.concatenate(self._outputs)
        order = np.argsort(places)
        places, outputs = places[order], outputs[order]
        with (folder / "predictions.jsonl").open("w", encoding="utf-8") as file:
            for place, output in zip(places.tolist(), outputs, strict=True):
                row = {"number": int(self._examples.numbers[place]), **self._texts(place), **self._predicted(output)}
                if self._examples.labels is not None:
                    row["label"] = self._named(self._examples.labels[place])
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        if self._submission:
            name, by_name = self._submission
            write_submission(folder / name, self._examples.numbers[places], self._submitted(outputs, by_name))
        return {} if self._examples.labels is None else self._measured(folder, self._examples.labels[places], outputs)

    def _texts(self, place):
        found = [texts[place] for texts in self._examples.texts]
        found = [text.decode(errors="replace") if isinstance(text, bytes) else text for text in found]
        return dict(zip(("text", "text_pair"), found, strict=False))

    @abc.abstractmethod
    def _named(self, label):
        """A label in the form of predictions.jsonl."""

    @abc.abstractmethod
    def _predicted(self, output):
        """The fields of predictions.jsonl for an example's outputs, a dict."""

    @abc.abstractmethod
    def _submitted(self, outputs, by_name):
        """The predictions of a submission to GLUE's server, one per example."""

    @abc.abstractmethod
    def _measured(self, folder, labels, outputs):
        """Returns {metric: value} and writes plots into the folder."""


class TextClassificationEvaluation(TextEvaluation):
    """Also writes the files of official.evaluation.classification; arguments as of TextEvaluation."""

    def __init__(self, class_names, metrics, examples, submission=None, title=""):
        super().__init__(class_names, metrics, examples, submission, title)
        self._classification = ClassificationEvaluation(list(class_names), title)
        if examples.labels is not None:
            self.files = {**self._classification.files, **self.files}

    def add(self, inputs, labels, outputs, assignments):
        super().add(inputs, labels, outputs, assignments)
        if self._examples.labels is not None:
            self._classification.add(inputs, labels["label"], outputs, assignments)

    def confusion_picture(self):
        """As of official.evaluation.classification.ClassificationEvaluation."""
        return self._classification.confusion_picture()

    def _named(self, label):
        return self.class_names[int(label)]

    def _predicted(self, output):
        probabilities = np.exp(output - np.logaddexp.reduce(output))
        shares = {name: round(float(share), 6) for name, share in zip(self.class_names, probabilities, strict=True)}
        return {"prediction": self._named(np.argmax(output)), "probabilities": shares}

    def _submitted(self, outputs, by_name):
        predicted = np.argmax(outputs, axis=-1).tolist()
        return [self._named(label) for label in predicted] if by_name else predicted

    def _measured(self, folder, labels, outputs):
        found = classification_scores(self._metrics, labels, np.argmax(outputs, axis=-1), len(self.class_names))
        shared = self._classification.write(folder)
        if "accuracy" in found:
            shared.pop("top_1")  # the same as accuracy
        return {**found, **shared}


class TextRegressionEvaluation(TextEvaluation):
    """The loss is the mean squared error; arguments as of TextEvaluation."""

    def __init__(self, metrics, examples, submission=None, title=""):
        super().__init__((SCORE_NAME,), metrics, examples, submission, title)
        if examples.labels is not None:
            self.files["scores.png"] = "predicted scores against true scores"

    def _named(self, label):
        return float(label)

    def _predicted(self, output):
        return {"prediction": float(output[0])}

    def _submitted(self, outputs, by_name):
        return [f"{score:.3f}" for score in np.clip(outputs[:, 0], *SCORES)]

    def _measured(self, folder, labels, outputs):
        draw_scatter(folder / "scores.png", labels, outputs[:, 0], "score", self._title)
        found = regression_scores(self._metrics, labels, outputs[:, 0])
        return {**found, "loss": float(np.mean((labels - outputs[:, 0]) ** 2))}


def write_submission(path, numbers, predictions):
    """Writes a submission to GLUE's server: a header, then lines "index<TAB>prediction", sorted by index."""
    lines = [f"{number}\t{prediction}\n" for number, prediction in sorted(zip(numbers.tolist(), predictions, strict=True))]
    path.write_text("index\tprediction\n" + "".join(lines), encoding="utf-8")
