"""Pretraining as a task: a run, its evaluation, its export, mistakes, and recipes."""

import json
import math
import shutil

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import accuracy_score, log_loss

from bert import fill
from bert.configs import pretraining as paper
from bert.configs import pretraining_small
from bert.corpus.shards import Shards, read_info
from bert.masked_lm.evaluation import PretrainingEvaluation
from bert.prepare import prepare
from bert.pretraining import Pretraining
from bert.recipes import pretraining_recipe
from bert.tokenizer import open_tokenizer
from official import evaluate, train
from official.config import to_plain
from official.files.tables import read_table
from official.task import Split
from tests.bert.corpus_files import documents, write_texts, write_vocabulary

LENGTH = 40
SIZES = dict(depth=1, width=16, heads=2, num_experts=2, ffn_dim=16, expert_dim=16, embedding_dim=8, max_length=LENGTH)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pretraining")
    vocabulary = write_vocabulary(root / "vocab.txt")
    shards = Shards(str(root / "data"), vocabulary.read_bytes(), "vocab.txt", max_length=LENGTH, number=2, validation=0.2)
    prepare(shards, [str(write_texts(root / "texts", documents(20)))])
    return root / "data"


def config_of(folder, model="widenet_tiny_e4", data=(), **settings):
    settings = dict(steps=4, batch_size=8, lr=0.01, eval_every=2) | settings
    return pretraining_recipe(model, SIZES, dict(dir=str(folder), max_length=LENGTH) | dict(data), settings)


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """Workdir of a run."""
    workdir = tmp_path_factory.mktemp("run")
    train.run(config_of(folder), workdir)
    return workdir


@pytest.fixture(scope="module")
def evaluated(finished):
    """What the evaluation of the run's checkpoint gives: a dict, and the paths of its files."""
    return evaluate.evaluate(finished)


@pytest.mark.train
@pytest.mark.smoke
class TestRun:
    def test_summary(self, finished, folder):
        """Losses and accuracies of both tasks; tokens a second are sequences a second times the tokens of one."""
        summary = json.loads((finished / "summary.json").read_text())
        for metric in ("mlm_logits_loss", "mlm_logits_accuracy", "next_sentence_loss", "next_sentence_accuracy"):
            assert {metric, f"val_{metric}"} <= set(summary["metrics"])
        counts = read_info(folder)["splits"]["train"]
        (row, *_) = read_table(finished / "metrics.csv")
        tokens = counts["tokens"] / counts["examples"] + 3
        assert float(row["tokens_per_second"]) == pytest.approx(tokens * float(row["sequences_per_second"]), abs=0.1 * tokens)
        assert summary["config"]["model"]["vocab_size"] == len(read_info(folder)["token_counts"])
        held_out = read_info(folder)["splits"]["validation"]["examples"]
        assert Pretraining(config_of(folder)).describe_data() == dict(train=Split(counts["examples"]), validation=Split(held_out))
        assert Pretraining(config_of(folder, data={"validation_examples": 1})).describe_data()["validation"] == Split(1)
        assert summary["config"]["data"]["predictions"] == math.ceil(0.15 * LENGTH)

    def test_loss_is_the_sum(self, finished):
        """Each with weight 1; in evaluation without the balance loss."""
        metrics = json.loads((finished / "summary.json").read_text())["metrics"]
        assert metrics["val_loss"] == pytest.approx(metrics["val_mlm_logits_loss"] + metrics["val_next_sentence_loss"], rel=1e-5)

    def test_evaluation(self, finished, evaluated, folder):
        """Accuracies are those of the run; the loss is the mean of all words, and not of the batches' means."""
        written, files = evaluated
        metrics = written["metrics"]
        of_run = json.loads((finished / "summary.json").read_text())["metrics"]
        assert metrics["masked_accuracy"] == pytest.approx(of_run["val_mlm_logits_accuracy"], abs=1e-6)
        assert metrics["order_accuracy"] == pytest.approx(of_run["val_next_sentence_accuracy"], abs=1e-6)
        assert metrics["order_loss"] == pytest.approx(of_run["val_next_sentence_loss"], rel=1e-4)
        assert metrics["masked_loss"] == pytest.approx(of_run["val_mlm_logits_loss"], rel=0.02)
        assert written["examples"] == read_info(folder)["splits"]["validation"]["examples"]
        assert [path.name for path in files] == ["metrics.json", "masked_words.csv"]

    def test_other_split(self, finished):
        with pytest.raises(ValueError, match="'test' is not a split of pretraining data"):
            evaluate.evaluate(finished, split="test")

    @pytest.mark.further
    def test_export(self, finished, evaluated, folder, tmp_path):
        """Moved, with a vocabulary of its own: evaluated as its checkpoint, and filling gaps in raw texts."""
        moved = tmp_path / "model"
        shutil.copytree(finished / "saved_model", moved)
        assert (moved / "assets.extra" / "vocab.txt").read_text() == (folder / "vocab.txt").read_text()
        written, _ = evaluate.evaluate(moved)
        # Other kernels add in another order: 1e-5 for float32.
        assert written["metrics"] == pytest.approx(evaluated[0]["metrics"], abs=1e-5)
        serve = tf.saved_model.load(str(moved)).signatures["serving_default"]
        found = serve(text=tf.constant(["The [MASK] river saw a [MASK].", "No gap.", "[MASK]"]))
        words, probabilities = found["words"].numpy(), found["probabilities"].numpy()
        assert words.shape == probabilities.shape == (3, 2, 5)
        assert ((words == b"") == [[[False], [False]], [[True], [True]], [[False], [True]]]).all()
        assert ((probabilities > 0) == (words != b"")).all()
        assert (np.diff(probabilities, axis=-1) <= 0).all()

    def test_filled_words_are_the_models(self, finished, folder):
        """The best guesses at the gaps of a text are those of the ids that it is made of."""
        loaded = tf.saved_model.load(str(finished / "saved_model"))
        words = loaded.signatures["serve"](text=tf.constant(["the [MASK] river [MASK]"]))["words"].numpy()[0]
        tokenizer = open_tokenizer(folder / "vocab.txt")
        (the, river), ids = tokenizer.tokenize(["the river"]).to_list()[0], tokenizer.ids
        row = [ids.cls, the, ids.mask, river, ids.mask, ids.sep]
        inputs = dict(input_word_ids=[row], input_mask=[[1] * 6], input_type_ids=[[0] * 6], masked_lm_positions=[[2, 4]])
        inputs = {name: tf.constant(value) for name, value in inputs.items()}
        logits = loaded.signatures["tokens"](**inputs)["mlm_logits"].numpy()[0]
        assert [tokenizer.to_tokens([i])[0].encode() for i in logits.argmax(axis=-1)] == words[:, 0].tolist()

    @pytest.mark.parametrize("place", ["", "saved_model"])
    def test_fill_command(self, finished, place, capsys, monkeypatch):
        """Prints each text and a line a gap: as many guesses as the signature gives, and the same ones."""
        texts = ["the [MASK] river saw a [MASK]", "a [MASK]"]
        monkeypatch.setattr("sys.argv", ["fill", f"--model={finished / place}", *texts])
        fill.main()
        lines = capsys.readouterr().out.splitlines()
        assert [lines[0], lines[3]] == texts and len(lines) == 5
        serve = tf.saved_model.load(str(finished / "saved_model")).signatures["serve"]
        found = serve(text=tf.constant(texts))
        for line, (row, gap) in zip([lines[1], lines[2], lines[4]], [(0, 0), (0, 1), (1, 0)], strict=True):
            words, shares = found["words"].numpy()[row, gap], found["probabilities"].numpy()[row, gap]
            assert line.strip() == ", ".join(f"{word.decode()} {share:.1%}" for word, share in zip(words, shares, strict=True))

    def test_fill_refuses(self, finished, tmp_path, monkeypatch):
        """A text without a gap, a folder without a model, and a model of something else, each by name."""
        with pytest.raises(ValueError, match=r"the text 'no gap' is not allowed: it must have \[MASK\]"):
            fill.fill_texts(finished, ["a [MASK]", "no gap"])
        with pytest.raises(ValueError, match="must be a finished pretraining run"):
            fill.fill_texts(tmp_path, ["a [MASK]"])
        tf.keras.Sequential([tf.keras.layers.Dense(1, input_shape=[2])]).export(str(tmp_path / "other"))
        with pytest.raises(ValueError, match="must be of a pretraining run; .*other has output_0"):
            fill.fill_texts(tmp_path / "other", ["a [MASK]"])
        monkeypatch.setattr("sys.argv", ["fill", f"--model={tmp_path}", "a [MASK]"])
        with pytest.raises(SystemExit, match="^error: --model="):
            fill.main()

    def test_fine_tuning_takes_its_vocabulary(self, finished, folder):
        """From the workdir, whose recipe leaves the vocabulary to the data, and from the export."""
        from bert.recipes import text_recipe
        from bert.task import open_vocabulary

        for init in (finished, finished / "saved_model"):
            config = text_recipe("widenet_tiny_e4", "", SIZES, dict(name="x", vocabulary="", lower_case=True), {})
            config.init = str(init)
            assert open_vocabulary(config).size == len(read_info(folder)["token_counts"])

    @pytest.mark.parametrize("is_finished", [True, False])
    def test_a_run_after_that_takes_it_too(self, finished, folder, tmp_path, is_finished):
        """Its recipe left the vocabulary to the run before; what it found is in its summary, once it is finished."""
        from bert.recipes import text_recipe
        from bert.task import open_vocabulary

        config = text_recipe("widenet_tiny_e4", "", SIZES, dict(name="x", vocabulary="", lower_case=True), {})
        config.init = str(finished)
        between = json.loads(config.to_json())
        (tmp_path / "config.json").write_text(json.dumps(between))
        shutil.copytree(finished / "checkpoints", tmp_path / "checkpoints")
        if is_finished:
            filled = {**between, "init": "", "data": {**between["data"], "vocabulary": str(folder / "vocab.txt")}}
            (tmp_path / "summary.json").write_text(json.dumps(dict(config=filled)))
        config.init = str(tmp_path)
        assert open_vocabulary(config).size == len(read_info(folder)["token_counts"])


class TestEvaluation:
    def test_numbers(self, folder, tmp_path):
        """Against scikit-learn on random outputs, in two batches; the baselines by hand."""
        tokenizer = open_tokenizer(folder / "vocab.txt")
        random = np.random.default_rng(0)
        counts = np.where(tokenizer.special, 1000, random.integers(0, 9, tokenizer.size))
        ordinary = np.flatnonzero(~tokenizer.special)
        evaluation = PretrainingEvaluation(tokenizer, counts.tolist())
        words, logits, orders, order_logits = [], [], [], []
        for rows in (5, 2):
            labels = random.choice(ordinary, [rows, 4]).astype(np.int32)
            labels[random.random([rows, 4]) < 0.3] = -1
            of_batch = dict(mlm_logits=labels, next_sentence=random.integers(0, 2, rows).astype(np.int32))
            outputs = dict(
                mlm_logits=random.normal(size=[rows, 4, tokenizer.size]).astype(np.float32),
                next_sentence=random.normal(size=[rows, 2]).astype(np.float32),
            )
            reduced = evaluation.reduce({}, *({k: tf.constant(v) for k, v in part.items()} for part in (of_batch, outputs)))
            evaluation.add({}, of_batch, tf.nest.map_structure(lambda x: x.numpy(), reduced), None)
            words += labels[labels >= 0].tolist()
            logits += outputs["mlm_logits"][labels >= 0].tolist()
            orders += of_batch["next_sentence"].tolist()
            order_logits += outputs["next_sentence"].tolist()
        found = evaluation.write(tmp_path)
        share = (counts + 1.0)[ordinary]
        share /= share.sum()
        place = {token: i for i, token in enumerate(ordinary)}
        expected = {
            "masked_accuracy": accuracy_score(words, np.argmax(logits, axis=-1)),
            "masked_loss": log_loss(words, tf.nn.softmax(np.array(logits)).numpy(), labels=range(tokenizer.size)),
            "most_frequent_accuracy": np.mean(np.array(words) == ordinary[np.argmax(share)]),
            "unigram_entropy": -np.mean([np.log(share[place[word]]) for word in words]),
            "order_accuracy": accuracy_score(orders, np.argmax(order_logits, axis=-1)),
            "order_loss": log_loss(orders, tf.nn.softmax(np.array(order_logits)).numpy()),
        }
        assert found == pytest.approx(expected, rel=1e-5)
        assert evaluation.examples == 7
        rows = read_table(tmp_path / "masked_words.csv")
        assert sum(int(row["masked"]) for row in rows) == len(words)
        assert sum(int(row["guessed"]) for row in rows) / len(words) == pytest.approx(found["masked_accuracy"])

    def test_unigram_model(self, folder, tmp_path):
        """A model that guesses each token as often as it is in the training split has just the unigram entropy."""
        info = read_info(folder)
        tokenizer = open_tokenizer(folder / "vocab.txt")
        evaluation = PretrainingEvaluation(tokenizer, info["token_counts"])
        logits = np.where(tokenizer.special, -1e9, np.log(np.array(info["token_counts"]) + 1.0)).astype(np.float32)
        task = Pretraining(config_of(folder))

        def call(inputs):
            words = tf.fill([*inputs["masked_lm_positions"].shape, 1], 0.0) + logits
            return {"mlm_logits": words, "next_sentence": tf.zeros([len(words), 2])}, None

        for inputs, labels in task.evaluation_dataset("validation"):
            outputs, _ = call(inputs)
            reduced = evaluation.reduce(inputs, labels, outputs)
            evaluation.add(*tf.nest.map_structure(lambda x: x.numpy(), (inputs, labels, reduced)), None)
        found = evaluation.write(tmp_path)
        assert found["masked_loss"] == pytest.approx(found["unigram_entropy"], rel=1e-6)
        assert found["masked_accuracy"] == found["most_frequent_accuracy"] > 0
        assert found["order_loss"] == pytest.approx(math.log(2))


class TestFrequencyBias:
    def test_first_guesses_are_the_frequencies(self, folder):
        """Of a fresh model's bias alone: each word as often as it is in the training split, counted once more."""
        counts = np.array(read_info(folder)["token_counts"]) + 1
        model = Pretraining(config_of(folder, data=dict(frequency_bias=True))).initial_model()
        bias = model.get_layer("mlm_logits").bias
        np.testing.assert_allclose(tf.nn.softmax(bias), counts / counts.sum(), rtol=1e-5)  # float32

    def test_zeros_without(self, folder):
        assert not np.any(Pretraining(config_of(folder)).initial_model().get_layer("mlm_logits").bias)


class TestMistakes:
    @pytest.mark.parametrize(
        "data, message",
        [
            (dict(dir=""), r"data.dir='' is not allowed: it must be a folder that python -m bert.prepare has written"),
            (dict(dir="/nowhere"), r"data.dir='/nowhere' is not allowed"),
            (dict(max_length=LENGTH - 1), "data.max_length=39 is not allowed: the data in .* were prepared with 40"),
            (dict(max_length=LENGTH + 1), "data.max_length=41 is not allowed: it must be at most model.max_length=40"),
            (dict(lower_case=False), "data.lower_case=False is not allowed: the data in .* were prepared with True"),
            (dict(masking="none"), "data.masking='none' is not allowed: it must be one of dynamic, static"),
            (dict(mask_rate=0.0), "data.mask_rate=0.0 is not allowed"),
            (dict(max_ngram=0), "data.max_ngram=0 is not allowed"),
            (dict(predictions=41), "data.predictions=41 is not allowed: it must be from 1 to data.max_length=40"),
            (dict(bad_examples="skip"), "data.bad_examples='skip' is not allowed"),
        ],
    )
    def test_settings(self, folder, data, message):
        with pytest.raises(ValueError, match=message):
            Pretraining(config_of(folder, data=data))

    def test_unknown_setting(self, folder):
        with pytest.raises(ValueError, match=r"mask=.* is not a setting of data.*; known: "):
            config_of(folder, data=dict(mask=1))

    def test_vocabulary(self, folder, tmp_path):
        """Of other words than the data's."""
        path = write_vocabulary(tmp_path / "vocab.txt")
        Pretraining(config_of(folder, data=dict(vocabulary=str(path))))
        path.write_text(path.read_text().replace("river", "stream"))
        with pytest.raises(ValueError, match=f"data.vocabulary='{path}' is not allowed: .* was made with"):
            Pretraining(config_of(folder, data=dict(vocabulary=str(path))))

    def test_damaged_folder(self, folder, tmp_path):
        """A file that was cut off, one that is missing, and a preparation that was not finished."""
        data = tmp_path / "data"
        shutil.copytree(folder, data)
        file = data / "train-00001-of-00002.tfrecord"
        content = file.read_bytes()
        file.write_bytes(content[:-5])
        with pytest.raises(ValueError, match=rf"{file} has [\d,]+ bytes instead of {len(content):,}; delete it"):
            Pretraining(config_of(data))
        file.unlink()
        with pytest.raises(ValueError, match=f"{file} is missing"):
            Pretraining(config_of(data))
        info = json.loads((data / "dataset_info.json").read_text())
        del info["splits"]
        (data / "dataset_info.json").write_text(json.dumps(info))
        with pytest.raises(ValueError, match="it must be complete; the same bert.prepare command resumes it"):
            Pretraining(config_of(data))
        (data / "dataset_info.json").write_text("{\n  nothing")
        with pytest.raises(ValueError, match=r"dataset_info.json is not JSON: .* line 2 .*; it is not what bert.prepare wrote"):
            Pretraining(config_of(data))


class TestRecipes:
    @pytest.mark.parametrize("model", ["albert_base", "bert_base", "widenet_base_e4", "widenet_base_e8", "widenet_base_e16"])
    def test_paper(self, model):
        """The numbers of the paper's appendix and of ALBERT's."""
        config = to_plain(paper.get_config(model))
        expected = dict(steps=125_000, batch_size=4096, lr=0.00176, warmup_steps=3125, optimizer="lamb", weight_decay=0.01)
        assert config["train"].items() >= {**expected, "schedule": "linear", "clip_norm": 1.0}.items()
        assert config["model"].items() >= dict(dropout=0.1, attention_dropout=0.1, max_length=512, width=768).items()
        masking = dict(masking="dynamic", mask_rate=0.15, max_ngram=3, frequency_bias=False)
        assert config["data"].items() >= {**masking, "max_length": 512}.items()
        assert config["name"] == f"{model}_pretraining"

    def test_small(self):
        assert pretraining_small.get_config().name == "widenet_tiny_e4_pretraining"
        assert pretraining_small.get_config("albert_small").model.width == 256

    def test_unknown_model(self):
        with pytest.raises(ValueError, match="widenet_large"):
            paper.get_config("widenet_large")
