"""The table of GLUE's tasks against TensorFlow Datasets' builder, and sets prepared with its features."""

import pathlib
import re

import numpy as np
import pytest
import tensorflow_datasets as tfds

from bert.texts.glue import EVALUATION_ONLY, GLUE, glue_task, submission_file
from official.data.bad_examples import BadExamples
from tests.bert.prepared_texts import open_data, prepare, prepare_glue

PREPARED = pathlib.Path(__file__).parents[4] / "shared" / "data" / "tfds"
BUILDERS = {config.name: config for config in tfds.text.glue.Glue.BUILDER_CONFIGS}
REFUSE = BadExamples("refuse")


def test_every_task_is_there():
    """All that the builder has, but for those without a training split, which lead to the task to train on."""
    assert {*GLUE, *EVALUATION_ONLY} == set(BUILDERS)
    assert glue_task("imdb_reviews/plain_text") is None


@pytest.mark.parametrize("name", GLUE)
def test_table_has_the_builders_features_and_classes(name):
    task, builder = GLUE[name], BUILDERS[name]
    assert list(task.texts) == list(builder.text_features)
    assert task.classes == len(builder.label_classes or [""])
    assert task.metrics


# As GLUE's own site lists the tasks' metrics and the files of a submission.
METRICS = {"cola": {"matthews"}, "mrpc": {"f1", "accuracy"}, "qqp": {"f1", "accuracy"}, "stsb": {"pearson", "spearman"}}
FILES = {
    ("cola", "test"): "CoLA.tsv",
    ("sst2", "test"): "SST-2.tsv",
    ("mrpc", "test"): "MRPC.tsv",
    ("qqp", "test"): "QQP.tsv",
    ("stsb", "test"): "STS-B.tsv",
    ("mnli", "test_matched"): "MNLI-m.tsv",
    ("mnli", "validation_matched"): "MNLI-m.tsv",
    ("mnli", "test_mismatched"): "MNLI-mm.tsv",
    ("mnli", "test_mismatched[:10]"): "MNLI-mm.tsv",
    ("mnli", "ax"): "AX.tsv",
    ("mnli", "train"): None,
    ("qnli", "test"): "QNLI.tsv",
    ("rte", "test"): "RTE.tsv",
    ("wnli", "test"): "WNLI.tsv",
}


def test_metrics_and_submission_files():
    for name, task in GLUE.items():
        assert METRICS.get(name, {"accuracy"}) <= set(task.metrics), name
    for (name, split), file in FILES.items():
        assert submission_file(GLUE[name], split) == file
    assert {name for name, task in GLUE.items() if task.names} == {"mnli", "qnli", "rte"}


@pytest.mark.parametrize(
    "name, said",
    [
        ("glue/sst3", "it must be one of glue/cola, glue/sst2, "),
        ("glue", "it must be one of glue/cola"),
        ("glue/ax", "it has no training split; train on 'glue/mnli' and evaluate that model with --split=ax"),
        ("glue/mnli_mismatched", "evaluate that model with --split=validation_mismatched"),
    ],
)
def test_names_that_cannot_be_trained_on(name, said):
    with pytest.raises(ValueError, match=re.escape(f"data.name={name!r} is not allowed: ") + ".*" + re.escape(said)):
        open_data(name=name)


class TestMnli:
    """Three classes, pairs, two of each evaluation split, labels that are not public, and a set beside it."""

    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("prepared")
        labelled = [("A man naps.", "He sleeps.", 0), ("A man naps.", "He is old.", 1), ("A man naps.", "He runs.", 2)]
        hidden = [(f"premise {i}", f"hypothesis {i}", -1) for i in range(4)]
        splits = dict(train=labelled * 4, validation_matched=labelled, validation_mismatched=labelled[:2])
        prepare_glue(folder, "mnli", **splits, test_matched=hidden, test_mismatched=hidden[:3])
        prepare_glue(folder, "ax", test=hidden[:2])
        return str(folder)

    @pytest.fixture(scope="class")
    def mnli(self, folder):
        return open_data(name="glue/mnli", dir=folder)

    def test_classes_and_roles(self, mnli):
        assert mnli.class_names == ("entailment", "neutral", "contradiction")
        assert mnli.pairs
        assert mnli.splits == dict(train="train", validation="validation_matched", test="test_matched")

    def test_examples(self, mnli):
        found = mnli.load("validation_mismatched", REFUSE)
        assert found.texts == ([b"A man naps."] * 2, [b"He sleeps.", b"He is old."])
        np.testing.assert_array_equal(found.labels, [0, 1])
        np.testing.assert_array_equal(found.numbers, [0, 1])
        assert found.name_of(1).endswith(", record 1")
        np.testing.assert_array_equal(mnli.load("train[5:8]", REFUSE).numbers, [5, 6, 7])

    def test_labels_that_are_not_public(self, mnli):
        found = mnli.load("test_mismatched", REFUSE)
        assert found.labels is None
        assert found.texts[1] == [b"hypothesis 0", b"hypothesis 1", b"hypothesis 2"]

    def test_diagnostics_are_a_split(self, mnli, folder):
        assert mnli.load("ax", REFUSE).texts[0] == [b"premise 0", b"premise 1"]
        assert mnli.submission("ax") == ("AX.tsv", True)

    def test_diagnostics_that_are_not_prepared(self, tmp_path):
        prepare_glue(tmp_path, "mnli", train=[("a", "b", 0)])
        with pytest.raises(ValueError, match=r"^data\.name='glue/ax' is not allowed: .*python -m official\.prepare glue/ax"):
            open_data(name="glue/mnli", dir=str(tmp_path)).load("ax", REFUSE)

    def test_split_that_there_is_not(self, mnli):
        with pytest.raises(ValueError, match=r"^'validation' is not a split of glue/mnli \(.*validation_matched of 3 examples"):
            mnli.load("validation", REFUSE)


def test_scores(tmp_path):
    """A score may be -1 nowhere but in a split where all are, which has none."""
    pairs = [("a cat", "a cat", 5.0), ("a cat", "a dog", 1.25)]
    prepare_glue(tmp_path, "stsb", train=pairs, validation=pairs[:1], test=[("a", "b", -1), ("c", "d", -1)])
    found = open_data(name="glue/stsb", dir=str(tmp_path))
    assert found.class_names == ("score",)
    train = found.load("train", REFUSE)
    assert train.labels.dtype == np.float32
    np.testing.assert_array_equal(train.labels, [5, 1.25])
    assert found.load("test", REFUSE).labels is None


def test_a_label_missing_among_others_is_a_bad_example(tmp_path):
    """Named by file and record, or left out and counted."""
    prepare_glue(tmp_path, "cola", train=[("Fine.", 1), ("Hm.", -1), ("Of is.", 0)])
    found = open_data(name="glue/cola", dir=str(tmp_path))
    with pytest.raises(ValueError, match=r"tfrecord.*, record 1: its label is -1, and the 2 classes are 0 to 1 \(data\.bad_ex"):
        found.load("train", BadExamples("refuse"))
    skip = BadExamples("skip")
    train = found.load("train", skip)
    np.testing.assert_array_equal(train.labels, [1, 0])
    np.testing.assert_array_equal(train.numbers, [0, 2])
    assert train.name_of(1).endswith(", record 2")
    assert skip.facts()["count"] == 1


def test_any_other_set_of_texts_and_classes(tmp_path):
    """Its default splits; and one without texts is refused."""
    features = {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(names=["no", "yes"])}
    columns = {"text": [f"text {i}" for i in range(20)], "label": [i % 2 for i in range(20)]}
    prepare(tmp_path, "reviews", features, train=columns, test=columns)
    found = open_data(name="reviews", dir=str(tmp_path))
    assert (found.class_names, found.pairs) == (("no", "yes"), False)
    assert found.splits == dict(train="train[:90%]", validation="train[90%:]", test="test")
    assert found.load("train[90%:]", REFUSE).texts == ([b"text 18", b"text 19"],)
    assert found.submission("test") is None
    prepare(tmp_path, "numbers", {"text": np.int64, "label": np.int64}, train={"text": [1], "label": [0]})
    with pytest.raises(ValueError, match=r"^data\.name='numbers' is not allowed: its examples are not a text with a"):
        open_data(name="numbers", dir=str(tmp_path))


def test_what_is_not_there_is_refused_at_once(tmp_path, monkeypatch):
    """With the folder and the command; nothing asks TensorFlow Datasets' server."""
    monkeypatch.setattr(tfds, "builder", None)
    monkeypatch.setattr("socket.socket.connect", None)
    with pytest.raises(ValueError, match=r"^data\.name='glue/rte' is not allowed: it is neither 'rotten_tomatoes'") as error:
        open_data(name="glue/rte", dir=str(tmp_path))
    assert f"no such set is prepared in {tmp_path}" in str(error.value)
    assert f"python -m official.prepare glue/rte --data_dir={tmp_path}" in str(error.value)


@pytest.mark.skipif(not (PREPARED / "glue" / "sst2").exists(), reason=f"no prepared glue/sst2 in {PREPARED}")
def test_sst2():
    """The real set, as TensorFlow Datasets gives it."""
    sst2 = open_data(name="glue/sst2", dir=str(PREPARED))
    assert sst2.class_names == ("negative", "positive")
    found = sst2.load(sst2.splits["validation"], REFUSE)
    expected = tfds.builder_from_directory(PREPARED / "glue" / "sst2" / "2.0.0").as_dataset(split="validation")
    expected = list(expected.as_numpy_iterator())
    assert len(found.labels) == len(expected) == 872
    assert found.texts[0] == [example["sentence"] for example in expected]
    np.testing.assert_array_equal(found.labels, [example["label"] for example in expected])
    np.testing.assert_array_equal(found.numbers, [example["idx"] for example in expected])
