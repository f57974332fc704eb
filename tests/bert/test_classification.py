"""Text classification and regression as the driver's task, from a file or a prepared set to an exported model."""

import json
import pathlib
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from bert.classification import TextClassification
from official import evaluate, train
from official.checkpoints.weights import read_weights
from official.evaluation import classification
from official.files.tables import read_table
from official.task import Split
from tests.bert.prepared_texts import prepare_glue, write_jsonl, write_tsv, write_vocabulary
from tests.bert.tiny import classification_config

PREPARED = pathlib.Path(__file__).parents[3] / "shared" / "data" / "tfds"
WORDS = ("good", "bad", "film", "a")
ONE_BLOCK = {"model.depth": 1}  # every block costs time to trace


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A vocabulary, and files of texts whose class is a word in them."""
    folder = tmp_path_factory.mktemp("texts")
    write_vocabulary(folder / "vocab.txt", WORDS)
    random = np.random.default_rng(0)
    rows = [(f"a {word} film {'a ' * random.integers(0, 5)}", word) for word in ["good", "bad"] * 16]
    write_tsv(folder / "train.tsv", ("text", "label"), *rows[:24])
    write_tsv(folder / "dev.tsv", ("text", "label"), *rows[24:])
    write_tsv(folder / "new.tsv", ("text",), ("a good film",), ("film",), ("bad",))
    scores = [{"text": "a" * i, "text_pair": "good", "score": i / 4} for i in range(1, 11)]
    write_jsonl(folder / "pairs.jsonl", *scores)
    return folder


def file_config(folder, train_file="train.tsv", validation_file="dev.tsv", settings=None, **train_settings):
    data = dict(name="file", dir=str(folder), train_file=train_file, validation_file=validation_file)
    config = classification_config(folder / "vocab.txt", data, **train_settings)
    config.update_from_flattened_dict(settings or {})
    return config


class TestTask:
    def test_fills_in_what_is_open(self, folder):
        config = file_config(folder)
        task = TextClassification(config)
        assert config.model.vocab_size == task.tokenizer.size
        assert (config.model.classes, config.data.classes, config.data.pairs) == (2, ("bad", "good"), False)
        model = task.create_model()
        assert model.name == f"widenet_tiny_e4_{folder.name}"  # of train.tsv the name says nothing
        assert model.output_shape == (None, 2)
        # Mean tokens of an example, with [CLS] and [SEP].
        lines = (folder / "train.tsv").read_text().splitlines()[1:]
        expected = np.mean([len(line.split("\t")[0].split()) + 2 for line in lines])
        assert task.tokens_per_example == pytest.approx(expected)
        classes = ("bad", "good")
        assert task.describe_data() == dict(train=Split(24, classes, (12, 12)), validation=Split(8, classes, (4, 4)))

    def test_batches(self, folder):
        """Training is endless and static, evaluation whole; labels are what Keras takes, and in evaluation say the place too."""
        task = TextClassification(file_config(folder))
        inputs, labels = task.train_dataset(0).element_spec
        assert set(inputs) == {"input_word_ids", "input_mask", "input_type_ids"}
        assert inputs["input_word_ids"].shape.is_fully_defined()
        assert (labels.shape, labels.dtype) == ([4], tf.int64)
        later = next(iter(task.train_dataset(5)))
        again = list(task.train_dataset(3).take(3))[2]
        tf.nest.map_structure(np.testing.assert_array_equal, later, again)
        assert sum(len(labels) for _, labels in task.validation_dataset()) == 8
        batches = list(task.evaluation_dataset(str(folder / "new.tsv")))
        assert sorted(np.concatenate([labels["place"] for _, labels in batches])) == [0, 1, 2]
        assert "label" not in batches[0][1]
        assert sum(len(labels["label"]) for _, labels in task.evaluation_dataset("train")) == 24

    @pytest.mark.further
    def test_pictures(self, folder, monkeypatch):
        """The confusion matrix of the validation split's eight texts; none of scores."""
        drawn = []
        monkeypatch.setattr(classification, "draw_confusion_matrix", lambda path, *given: drawn.append(given))
        task = TextClassification(file_config(folder, settings=ONE_BLOCK))
        assert task.pictures(task.part("model")) == {"confusion_matrix": b""}
        ((matrix, names, title),) = drawn
        assert matrix.sum(axis=1).tolist() == [4, 4]
        assert names == ["bad", "good"]
        assert title == f"widenet_tiny_e4_{folder.name}, validation split"
        task = TextClassification(file_config(folder, "pairs.jsonl", "pairs.jsonl", ONE_BLOCK))
        assert task.pictures(task.part("model")) == {}

    def test_static_evaluation_under_xla(self, folder):
        """Or every length of a batch would be compiled."""
        for settings in ({"train.jit_compile": True}, {"train.strategy": "tpu"}):
            inputs, _ = TextClassification(file_config(folder, settings=settings)).validation_dataset().element_spec
            assert inputs["input_word_ids"].shape[1] is not None

    def test_losses(self, folder):
        """Cross-entropy of logits with the class, and the squared error of a score, by hand; 1e-6 for float32."""
        logits = np.array([[1.0, 2.0]], np.float32)
        loss = TextClassification(file_config(folder)).loss()(np.array([0]), logits)
        assert float(loss) == pytest.approx(np.log(np.exp(logits).sum()) - 1.0, rel=1e-6)
        task = TextClassification(file_config(folder, "pairs.jsonl", "pairs.jsonl"))
        assert task.is_regression
        assert float(task.loss()(np.array([[1.0], [2.0]]), np.array([[3.0], [2.0]]))) == pytest.approx(2.0)
        assert [metric.name for metric in task.metrics()] == ["pearson"]

    @pytest.mark.parametrize(
        "settings, said",
        [
            ({"data.name": "glue/sst"}, "data.name='glue/sst' is not allowed: it must be one of glue/cola"),
            ({"data.max_length": 64}, "data.max_length=64 is not allowed: it must be at most model.max_length=32"),
            ({"data.max_length": 3}, "data.max_length=3 is not allowed: it must be at least 5"),
            ({"data.padding": "none"}, "data.padding='none' is not allowed: it must be one of static, batch, grouped"),
            ({"data.cache_mib": -1}, "data.cache_mib=-1 is not allowed: it must be at least 0"),
            ({"data.bad_examples": "count"}, "data.bad_examples='count' is not allowed: it must be one of refuse, skip"),
            ({"data.vocabulary": ""}, "data.vocabulary='' is not allowed: it must be the path of a BERT vocab.txt"),
            ({"data.vocabulary": "", "init": "gone"}, "init='gone' is not allowed: it must be the workdir of a run"),
            ({"data.vocabulary": "gone.txt"}, "data.vocabulary='gone.txt' is not allowed: gone.txt: the file does not exist"),
            ({"model.vocab_size": 7}, "model.vocab_size=7 is not allowed: it must be "),
            ({"model.classes": 3}, "model.classes=3 is not allowed: it must be 2, for data.name='file' has 2 classes"),
            ({"data.train_split": "dev"}, "data.train_split='dev' is not allowed: 'dev' is not a split of the files"),
            ({"data.train_file": "gone.tsv"}, "data.train_file="),
        ],
    )
    def test_refused(self, folder, settings, said):
        """At construction, in one sentence that begins with the setting."""
        with pytest.raises(ValueError, match="^" + re.escape(said)) as error:
            TextClassification(file_config(folder, settings=settings))
        assert "\n" not in str(error.value)

    def test_labels_that_training_needs(self, folder, tmp_path):
        """A split without them cannot be trained on, or be for validation; scores are not classes."""
        prepare_glue(tmp_path, "sst2", train=[("good", 1), ("bad", 0)], validation=[("good", 1)], test=[("bad", -1)])
        for role in ("train", "validation"):
            data = dict(name="glue/sst2", dir=str(tmp_path), **{f"{role}_split": "test"})
            with pytest.raises(ValueError, match=rf"^data\.{role}_split='test' is not allowed: 'test' has no labels$"):
                TextClassification(classification_config(folder / "vocab.txt", data))
        with pytest.raises(ValueError, match=r"^model\.classes=2 is not allowed: it must be 1, for .* has scores, not classes$"):
            TextClassification(file_config(folder, "pairs.jsonl", settings={"model.classes": 2}))

    def test_bad_lines_are_told_at_construction(self, folder, tmp_path):
        """Refused by file and line; skipped, they are counted for the run's summary."""
        path = write_tsv(tmp_path / "train.tsv", ("text", "label"), ("a", "good"), ("b",), ("c", "bad"))
        with pytest.raises(ValueError, match="^" + re.escape(f"{path}, line 3: it has 1 columns, and line 1 names 2")):
            TextClassification(file_config(folder, str(path)))
        task = TextClassification(file_config(folder, str(path), settings={"data.bad_examples": "skip"}))
        assert task.bad_examples.facts() == {
            "count": 1,
            "first": {f"{path}, line 3": "it has 1 columns, and line 1 names 2"},
        }

    def test_another_vocabulary_than_pretrainings(self, folder, tmp_path):
        """Of the run that a model starts from the vocabulary is taken; other words under the same ids are refused."""
        own, other = tmp_path / "vocab.txt", tmp_path / "other.txt"
        shutil.copy(folder / "vocab.txt", own)
        write_vocabulary(other, WORDS[::-1])
        run = tmp_path / "run"
        (run / "checkpoints").mkdir(parents=True)
        tf.train.Checkpoint(step=tf.Variable(0)).save(str(run / "checkpoints" / "step"))
        told = {"name": "run", "task": "", "data": {"vocabulary": str(own)}, "train": {"precision": "float32", "batch_size": 2}}
        (run / "config.json").write_text(json.dumps(told))
        config = file_config(folder, settings={"init": str(run), "data.vocabulary": ""})
        TextClassification(config)
        assert config.data.vocabulary == str(own)
        with pytest.raises(ValueError, match=r"^data\.vocabulary=.* it must have the tokens of .* was trained with$"):
            TextClassification(file_config(folder, settings={"init": str(run), "data.vocabulary": str(other)}))


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """Workdir of a run on the TSV files."""
    workdir = tmp_path_factory.mktemp("run") / "workdir"
    settings = {"model.dropout": 0.0, "model.attention_dropout": 0.0}
    # With this seed 60 steps are enough, whatever is drawn; with others they may not be.
    train.run(file_config(folder, settings=settings, steps=60, eval_every=30, batch_size=8, lr=0.03, seed=2), workdir)
    return workdir


class TestRun:
    def test_learns(self, finished):
        """Which of two words a text has; metrics of the file's task are in the tables."""
        rows = read_table(finished / "metrics.csv")
        assert {"accuracy", "val_accuracy", "f1", "val_f1", "val_matthews", "examples_per_second", "tokens_per_second"} <= set(
            rows[0]
        )
        assert float(rows[-1]["val_accuracy"]) == 1.0
        assert float(rows[-1]["val_matthews"]) == 1.0

    @pytest.mark.further
    def test_evaluation_of_checkpoint_and_export(self, finished, folder, tmp_path):
        """The same metrics from both, those of the run; moved, the export needs neither vocabulary nor training file."""
        summary = json.loads((finished / "summary.json").read_text())
        expected, files = evaluate.evaluate(finished)
        assert {path.name for path in files} >= {"metrics.json", "predictions.jsonl", "expert_share_per_class.png"}
        assert expected["metrics"]["accuracy"] == summary["metrics"]["val_accuracy"]
        assert expected["metrics"]["loss"] == pytest.approx(summary["metrics"]["val_loss"], rel=1e-5)
        assert expected["unit"] == "examples"
        moved = shutil.copytree(finished / "saved_model", tmp_path / "moved")
        for name in ("vocab.txt", "train.tsv"):
            (folder / name).rename(folder / f"hidden {name}")
        try:
            found, _ = evaluate.evaluate(moved)
            new, files = evaluate.evaluate(moved, str(folder / "new.tsv"))
        finally:
            for name in ("vocab.txt", "train.tsv"):
                (folder / f"hidden {name}").rename(folder / name)
        # 1e-6: the same operations in float32.
        assert found["metrics"] == pytest.approx(expected["metrics"], abs=1e-6)
        assert new["metrics"] == {}
        output = tmp_path / "moved_evaluation" / "new.tsv"
        assert set(files) == {output / "metrics.json", output / "predictions.jsonl"}
        rows = [json.loads(line) for line in (output / "predictions.jsonl").read_text().splitlines()]
        assert [(row["text"], row["prediction"]) for row in rows if row["text"] != "film"] == [
            ("a good film", "good"),
            ("bad", "bad"),
        ]

    def test_export_takes_strings(self, finished):
        """Any number of raw strings; ids give the same logits, whatever the padding (1e-5, float32)."""
        extra = finished / "saved_model" / "assets.extra"
        assert (extra / "classes.txt").read_text() == "bad\ngood\n"
        assert (extra / "vocab.txt").exists()
        loaded = tf.saved_model.load(str(finished / "saved_model"))
        texts = ["a good film", "BAD", "", "unseen é words 你好 \xff " * 20]
        served = loaded.signatures["serving_default"](text=tf.constant(texts))
        assert set(served) == {"class_ids", "labels", "logits", "probabilities"}
        assert served["labels"].numpy()[:2].tolist() == [b"good", b"bad"]
        assert served["class_ids"].numpy()[:2].tolist() == [1, 0]
        np.testing.assert_allclose(tf.nn.softmax(served["logits"]), served["probabilities"], atol=1e-6)
        assert served["probabilities"].numpy()[:2].argmax(axis=-1).tolist() == [1, 0]
        for place, text in enumerate(texts):
            alone = loaded.signatures["serve"](text=tf.constant([text]))
            np.testing.assert_allclose(alone["logits"][0], served["logits"][place], atol=1e-5)
        empty = loaded.serve(tf.constant([], tf.string))
        assert {name: len(value) for name, value in empty.items()} == dict.fromkeys(served, 0)
        tokens = (extra / "vocab.txt").read_text().splitlines()
        ids = [tokens.index(token) for token in ("[CLS]", "a", "good", "film", "[SEP]")]
        row = {"input_word_ids": ids + [0] * 9, "input_mask": [1] * 5 + [0] * 9, "input_type_ids": [0] * 14}
        (logits,) = loaded.signatures["tokens"](**{key: tf.constant([value]) for key, value in row.items()}).values()
        np.testing.assert_allclose(logits[0], served["logits"][0], atol=1e-5)

    def test_starting_from_an_export(self, finished, folder):
        """Its vocabulary is taken with its weights, all of which fit the same model."""
        init = str(finished / "saved_model")
        config = file_config(folder, settings={"init": init, "data.vocabulary": ""})
        task = TextClassification(config)
        assert config.data.vocabulary == f"{init}/assets.extra/vocab.txt"
        rows = task.initialize(task.create_model(), read_weights(init))
        assert {row.result for row in rows} == {"loaded"}
        assert {"embedding/word_embedding", "classifier"} <= {row.weight for row in rows}

    @pytest.mark.further
    def test_resumes_as_if_never_stopped(self, folder, tmp_path):
        """Batches from any step are those of a run that began at the first; filled-in settings are not a change."""
        config = file_config(folder, settings=ONE_BLOCK, model="albert_tiny", steps=4)
        run = train.Run(config, tmp_path / "run")
        run.checkpoints.save(2, 0.0)
        again = train.Run(file_config(folder, settings=ONE_BLOCK, model="albert_tiny", steps=4), tmp_path / "run")
        assert again.first_step == 2
        whole = list(run.task.train_dataset(0).take(4))[2:]
        tf.nest.map_structure(np.testing.assert_array_equal, list(again.task.train_dataset(2).take(2)), whole)
        with pytest.raises(ValueError, match="holds a run with other settings"):
            train.run(file_config(folder, "dev.tsv", settings=ONE_BLOCK, model="albert_tiny"), tmp_path / "run")


@pytest.mark.further
def test_two_replicas_are_one_model(folder, tmp_path):
    """Half of each batch on each of two devices: without dropout the loss is that of one device, to float32's 1e-5."""
    settings = {**ONE_BLOCK, "model.dropout": 0.0, "model.attention_dropout": 0.0}
    losses = []
    for strategy, replicas in (("default", 1), ("mirrored", 2)):
        run = train.Run(file_config(folder, settings=settings, model="albert_tiny", strategy=strategy), tmp_path / strategy)
        assert run.strategy.num_replicas_in_sync == replicas
        history = run.model.fit(run.task.train_dataset(0), steps_per_epoch=1, epochs=3, verbose=0)
        losses.append(history.history["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.further
def test_regression_of_pairs(folder, tmp_path):
    """From JSONL to an export that takes two strings and gives a score."""
    config = file_config(folder, "pairs.jsonl", "pairs.jsonl", ONE_BLOCK, model="bert_tiny")
    summary = train.run(config, tmp_path / "run")
    assert TextClassification(config).describe_data() == dict(train=Split(10), validation=Split(10))
    assert {"val_pearson", "val_loss"} <= set(summary["metrics"])
    written, files = evaluate.evaluate(tmp_path / "run")
    assert list(written["metrics"]) == ["pearson", "spearman", "loss"]
    assert written["metrics"]["pearson"] == pytest.approx(summary["metrics"]["val_pearson"], abs=1e-5)
    assert written["metrics"]["loss"] == pytest.approx(summary["metrics"]["val_loss"], rel=1e-5)
    assert "scores.png" in {path.name for path in files}
    served = tf.saved_model.load(str(tmp_path / "run" / "saved_model")).signatures["serving_default"]
    found = served(text=tf.constant(["aaa", "aaaa"]), text_pair=tf.constant(["good", "good"]))
    rows = (tmp_path / "run" / "evaluation" / "validation" / "predictions.jsonl").read_text().splitlines()
    assert found["score"].numpy().tolist() == pytest.approx([json.loads(row)["prediction"] for row in rows[2:4]], abs=1e-5)


@pytest.mark.further
def test_glue_submission(folder, tmp_path):
    """A task of pairs: the development set's metrics, and the test set's predictions by names of classes."""
    pairs = [("a good film", "good", 0), ("a good film", "bad", 1)] * 4
    prepare_glue(tmp_path / "data", "rte", train=pairs, validation=pairs[:3], test=[("a", "b", -1), ("c", "d", -1)])
    config = classification_config(folder / "vocab.txt", dict(name="glue/rte", dir=str(tmp_path / "data")), model="albert_tiny")
    config.update_from_flattened_dict(ONE_BLOCK)
    train.Run(config, tmp_path / "run").checkpoints.save(1, 0.0)
    written, _ = evaluate.evaluate(tmp_path / "run")
    assert written["examples"] == 3
    assert "accuracy" in written["metrics"]
    written, files = evaluate.evaluate(tmp_path / "run", "test")
    assert (written["examples"], written["metrics"]) == (2, {})
    lines = (tmp_path / "run" / "evaluation" / "test" / "RTE.tsv").read_text().splitlines()
    assert lines[0] == "index\tprediction"
    assert [line.split("\t")[0] for line in lines[1:]] == ["0", "1"]
    assert {line.split("\t")[1] for line in lines[1:]} <= {"entailment", "not_entailment"}
    assert {path.name for path in files} == {"metrics.json", "predictions.jsonl", "RTE.tsv"}


@pytest.mark.skipif(not (PREPARED / "glue" / "sst2").exists(), reason=f"no prepared glue/sst2 in {PREPARED}")
def test_sst2(folder):
    """The real set, a part of it for speed."""
    data = dict(name="glue/sst2", dir=str(PREPARED), train_split="train[:64]")
    task = TextClassification(classification_config(folder / "vocab.txt", data))
    assert task.class_names == ("negative", "positive")
    assert sum(len(labels) for _, labels in task.validation_dataset()) == 872
