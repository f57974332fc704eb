"""The tasks of GLUE (arXiv:1804.07461) under the names of TensorFlow Datasets: one table."""

from typing import NamedTuple

MAIN_SPLITS = dict(train="train", validation="validation", test="test")


class GlueTask(NamedTuple):
    """A row of the table.

    Attributes:
      texts: the features that hold an example's text, one or two.
      metrics: GLUE's own, by their names in bert.texts.metrics; the first one is the one to choose a checkpoint by.
      submission: {a part of a split's name: the file in which GLUE's server takes the predictions for it}, the first that fits.
      names: whether that file holds the names of classes; else their numbers, or scores.
      classes: how many; 1 where the label is a score.
      splits: the split of each role.
      other_sets: {split: (another set, its split)} that the same models are evaluated on.
    """

    texts: tuple
    metrics: tuple
    submission: dict
    names: bool = False
    classes: int = 2
    splits: dict = MAIN_SPLITS
    other_sets: dict = {}  # noqa: RUF012, never changed


SENTENCES = ("sentence1", "sentence2")

GLUE = {
    "cola": GlueTask(("sentence",), ("matthews", "accuracy"), {"": "CoLA.tsv"}),
    "sst2": GlueTask(("sentence",), ("accuracy",), {"": "SST-2.tsv"}),
    "mrpc": GlueTask(SENTENCES, ("f1", "accuracy"), {"": "MRPC.tsv"}),
    "qqp": GlueTask(("question1", "question2"), ("f1", "accuracy"), {"": "QQP.tsv"}),
    "stsb": GlueTask(SENTENCES, ("pearson", "spearman"), {"": "STS-B.tsv"}, classes=1),
    "mnli": GlueTask(
        ("premise", "hypothesis"),
        ("accuracy",),
        {"mismatched": "MNLI-mm.tsv", "matched": "MNLI-m.tsv", "ax": "AX.tsv"},
        names=True,
        classes=3,
        splits=dict(train="train", validation="validation_matched", test="test_matched"),
        other_sets={"ax": ("glue/ax", "test")},
    ),
    "qnli": GlueTask(("question", "sentence"), ("accuracy",), {"": "QNLI.tsv"}, names=True),
    "rte": GlueTask(SENTENCES, ("accuracy",), {"": "RTE.tsv"}, names=True),
    "wnli": GlueTask(SENTENCES, ("accuracy",), {"": "WNLI.tsv"}),
}

# Sets without a training split, and with what --split= a model of which task is evaluated on them.
EVALUATION_ONLY = {
    "ax": ("mnli", "ax"),
    "mnli_matched": ("mnli", "validation_matched"),
    "mnli_mismatched": ("mnli", "validation_mismatched"),
}
SCORES = (0.0, 5.0)  # of the semantic textual similarity; the server refuses others


def glue_task(name):
    """The GlueTask of a data set's name such as "glue/sst2", or None where it is none of GLUE.

    Raises:
      ValueError: a task that there is not, or cannot be trained on.
    """
    group, _, task = name.partition("/")
    if group != "glue":
        return None
    if task in EVALUATION_ONLY:
        other, split = EVALUATION_ONLY[task]
        raise ValueError(
            f"data.name={name!r} is not allowed: it has no training split; train on 'glue/{other}' and evaluate that model with "
            f"--split={split}"
        )
    if task not in GLUE:
        raise ValueError(f"data.name={name!r} is not allowed: the tasks of GLUE are {', '.join(f'glue/{key}' for key in GLUE)}")
    return GLUE[task]


def submission_file(task, split):
    """Name of the file in which GLUE's server takes a GlueTask's predictions for a split; None where it takes none."""
    return next((file for part, file in task.submission.items() if part in split), None)
