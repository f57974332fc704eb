"""A table of the GLUE tasks (arXiv:1804.07461), by their names in TensorFlow Datasets."""

from typing import NamedTuple

MAIN_SPLITS = dict(train="train", validation="validation", test="test")


class GlueTask(NamedTuple):
    """A row of the table.

    Attributes:
      texts: the one or two text features.
      metrics: GLUE's metrics, by their names in bert.texts.metrics; the first one selects the best checkpoint.
      submission: {part of a split's name: file of a submission to GLUE's server}; the first part that matches counts.
      names: whether that file holds names of classes, or else their numbers or scores.
      classes: number of classes; 1 if the label is a score.
      splits: {role: split}.
      other_sets: {split: (another data set, its split)} on which models of this task are evaluated.
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

# Data sets without a training split: (the task whose models are evaluated on them, the --split for that).
EVALUATION_ONLY = {
    "ax": ("mnli", "ax"),
    "mnli_matched": ("mnli", "validation_matched"),
    "mnli_mismatched": ("mnli", "validation_mismatched"),
}
SCORES = (0.0, 5.0)  # range of STS-B; the server refuses other scores


def glue_task(name):
    """The GlueTask of a data set's name such as "glue/sst2", or None if the name does not begin with "glue/".

    Raises:
      ValueError: an unknown task, or one that cannot be trained on.
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
        raise ValueError(f"data.name={name!r} is not allowed: it must be one of {', '.join(f'glue/{key}' for key in GLUE)}")
    return GLUE[task]


def submission_file(task, split):
    """File name of a GlueTask's submission to GLUE's server for a split, or None if the server takes none."""
    return next((file for part, file in task.submission.items() if part in split), None)
