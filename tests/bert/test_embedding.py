"""Sentence embeddings: the model, and the task from files to an exported model that takes strings."""

import json
import re
import runpy
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

import bert
from bert.embedding import SentenceEmbedding
from bert.models import EMBEDDING_TASK, ENCODER_KIND, INPUTS, settings_in_weights, settings_of
from bert.recipes import embedding_recipe
from bert.tokenizer import open_tokenizer
from bert.tokenizers.packing import pack
from official import evaluate, export, predict, train
from official.cli import quiet
from official.config import check_train_settings, to_plain
from official.files.nearest import nearest_table
from official.files.tables import read_table
from official.task import Split
from tests.bert.batches import FEW_EXPERTS, TINY, more_padding, random_batch, randomize
from tests.bert.prepared_texts import write_jsonl, write_tsv, write_vocabulary
from tests.bert.tiny import MODEL, TRAIN
from tests.official.tiny import ROOT

with quiet.hub_import():
    import tensorflow_hub as hub

WORDS = [f"{a}{b}" for a in "bcdfgh" for b in "aeiou"]
ONE_BLOCK = dict(depth=1)  # every block costs time to trace


class TestModel:
    @pytest.mark.parametrize("name", ["bert_tiny", pytest.param("widenet_tiny_e4", marks=pytest.mark.further)])
    def test_mean_of_real_tokens(self, name):
        """Of the encoder's output, with length 1, in float64 by NumPy (1e-6 for float32); whatever the padding."""
        settings = {**(FEW_EXPERTS if name.startswith("widenet") else TINY), **ONE_BLOCK}
        model, encoder = (bert.create_model(name, task, **settings) for task in ("embedding", "encoder"))
        for created in (encoder, model):
            randomize(created)
        values = {weight.name: weight for weight in encoder.weights}
        for weight in model.weights:
            weight.assign(values[weight.name])
        batch = random_batch()
        tokens = encoder(batch)["sequence_output"].numpy().astype(np.float64)
        mean = [row[mask == 1].mean(axis=0) for row, mask in zip(tokens, batch["input_mask"], strict=True)]
        expected = np.array([row / np.sqrt((row**2).sum()) for row in mean])
        np.testing.assert_allclose(model(batch), expected, rtol=0, atol=1e-6)
        np.testing.assert_allclose(model(more_padding(batch, 4)), expected, rtol=0, atol=1e-6)
        assert not [weight for weight in model.weights if "pooler" in weight.name]
        assert settings_of(model) == {**settings_of(encoder), "task": "embedding"}

    def test_without_a_real_token(self):
        """Zeros, and gradients that are numbers, also under mixed precision, where the embeddings are float32."""
        tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
        try:
            model = randomize(bert.create_model("bert_tiny", "embedding", **{**TINY, **ONE_BLOCK}))
        finally:
            tf.keras.mixed_precision.set_global_policy("float32")
        batch = random_batch((5, 3))
        batch["input_mask"][1] = 0
        with tf.GradientTape() as tape:
            embeddings = model(batch, training=True)
            loss = tf.reduce_sum(embeddings[:, 0])
        assert embeddings.dtype == tf.float32
        np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), [1, 0], rtol=0, atol=1e-6)
        gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, model.trainable_weights)]
        assert all(np.isfinite(gradient).all() for gradient in gradients)
        assert any(np.any(gradient) for gradient in gradients)

    @pytest.mark.further
    def test_saved_by_keras(self, tmp_path):
        model = randomize(bert.create_model("bert_tiny", "embedding", **{**TINY, **ONE_BLOCK}))
        model.save(tmp_path / "model.keras")
        for loaded in (tf.keras.models.load_model(tmp_path / "model.keras"), bert.load_model(tmp_path / "model.keras")):
            assert settings_of(loaded) == settings_of(model)
            np.testing.assert_allclose(loaded(random_batch()), model(random_batch()), rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A vocabulary, and files of pairs that share a word and of single texts."""
    folder = tmp_path_factory.mktemp("pairs")
    write_vocabulary(folder / "vocab.txt", [*WORDS, "film"])
    random = np.random.default_rng(0)
    rows = [(f"{word} film {random.choice(WORDS)}", f"a {word} {random.choice(WORDS)}") for word in WORDS for _ in range(4)]
    write_tsv(folder / "train.tsv", ("text", "text_pair"), *rows)
    write_tsv(folder / "dev.tsv", ("text", "text_pair"), *((f"{word} film", f"a {word}") for word in WORDS))
    scores = [
        {"text": f"{word} film", "text_pair": f"a {other}", "score": float(word == other)}
        for word in WORDS
        for other in WORDS[:9]
    ]
    write_jsonl(folder / "scores.jsonl", *scores)
    (folder / "texts.txt").write_text("".join(f"{text}\n" for row in rows for text in row))
    return folder


def recipe(
    folder, settings=None, model="bert_tiny", train_file="train.tsv", validation_file="dev.tsv", data=None, **train_settings
):
    data = dict(name="file", dir=str(folder), train_file=train_file, validation_file=validation_file, **(data or {}))
    data |= dict(vocabulary=str(folder / "vocab.txt"), max_length=16)
    config = embedding_recipe("bert_tiny", {**MODEL, **ONE_BLOCK}, data, {**TRAIN, **train_settings})
    config.update_from_flattened_dict(settings or {})
    return config


def words_of(task, inputs):
    """The tokens of each row, special ones and padding left out."""
    ids, mask = (np.asarray(inputs[name]) for name in ("input_word_ids", "input_mask"))
    return [task.tokenizer.to_tokens(row[real == 1])[1:-1] for row, real in zip(ids, mask, strict=True)]


class TestTask:
    def test_pairs(self, folder):
        """Partners are next to each other, each text alone in its row; labels tell which rows have the same text."""
        config = recipe(folder)
        task = SentenceEmbedding(config)
        assert config.data.pairs is True
        assert task.describe_data() == {"train": Split(120), "validation": Split(30)}
        assert task.tokens_per_example == 2 * (3 + 2)
        with mock.patch("bert.task.forward_flops", lambda model, tokens, predictions, kept: 100 * tokens + predictions):
            assert task.forward_flops(None, 1.0) == 2 * 100 * (3 + 2)
        pairs = {tuple(line.split("\t")) for line in (folder / "train.tsv").read_text().splitlines()[1:]}
        for inputs, labels in task.train_dataset(0).take(3):
            assert inputs["input_word_ids"].shape == (8, 8)  # static: five tokens, rounded up to a multiple of eight
            texts = [" ".join(words) for words in words_of(task, inputs)]
            assert set(zip(texts[::2], texts[1::2], strict=True)) <= pairs
            same = np.array(texts)[:, np.newaxis] == np.array(texts)
            np.testing.assert_array_equal(labels.numpy()[:, np.newaxis] == labels.numpy(), same)
        assert sum(len(labels) for _, labels in task.validation_dataset()) == 60

    def test_batches_of_any_step(self, folder):
        batches = [SentenceEmbedding(recipe(folder)).train_dataset(start) for start in (0, 40)]
        tf.nest.map_structure(np.testing.assert_array_equal, [*batches[0].skip(40).take(2)], [*batches[1].take(2)])

    @pytest.mark.parametrize("views, rows", [(2, 8), (1, 4)])
    def test_single_texts(self, folder, views, rows):
        """Each text twice, or once for a task with another loss."""
        config = recipe(folder, train_file="texts.txt", validation_file="", data=dict(views=views))
        config.data.name = "lines"
        task = SentenceEmbedding(config)
        assert config.data.pairs is False
        ((inputs, labels),) = task.train_dataset(0).take(1)
        assert inputs["input_word_ids"].shape[0] == rows == len(labels)
        np.testing.assert_array_equal(labels[::views], labels[views - 1 :: views])
        texts = words_of(task, inputs)
        assert texts[::views] == texts[views - 1 :: views]
        assert len(set(labels.numpy().tolist())) == 4

    def test_scores_train_single_texts(self, folder):
        config = recipe(folder, train_file="scores.jsonl", validation_file="scores.jsonl")
        task = SentenceEmbedding(config)
        assert config.data.pairs is False
        assert task.describe_data()["train"].examples == 39  # 30 first texts and 9 second ones
        assert sum(len(labels["place"]) for _, labels in task.evaluation_dataset("validation")) == 39

    @pytest.mark.parametrize(
        "settings, said",
        [
            ({"data.views": 1}, "data.views=1 is not allowed: it must be 2 for pairs"),
            ({"data.pairs": False, "data.views": 1}, "data.views=1 is not allowed: it must be 2, since the loss compares"),
            (
                {"data.pairs": False, "model.dropout": 0.0, "model.attention_dropout": 0.0},
                "model.dropout=0.0 is not allowed: it must be above 0 for single texts",
            ),
            ({"data.scale": 0.0}, "data.scale=0.0 is not allowed: it must be above 0"),
            ({"data.pairs": "yes"}, "data.pairs='yes' is not allowed: it must be True, False or None"),
            ({"data.train_split": "spam"}, "data.train_split='spam' is not allowed: 'spam' is not a split of the files"),
        ],
    )
    def test_refused(self, folder, settings, said):
        with pytest.raises(ValueError, match=f"^{said}"):
            SentenceEmbedding(recipe(folder, settings)).loss()


def test_recipe():
    """Of bert/configs: allowed, and open to whatever data and model are named."""
    module = runpy.run_path(str(ROOT / "bert/configs/embedding.py"))
    config = module["get_config"]()
    check_train_settings(config.train)
    assert (config.task, config.data.name, config.train.optimizer) == (
        "bert.embedding:SentenceEmbedding",
        "wikipedia_sample",
        "adamw",
    )
    config.data.pairs = False  # as by --config.data.pairs=False
    assert to_plain(config)["data"]["pairs"] is False
    assert module["get_config"]("albert_tiny").name == "albert_tiny_wikipedia_sample"


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """Workdir of a short run on pairs."""
    workdir = tmp_path_factory.mktemp("run") / "workdir"
    train.run(recipe(folder, steps=60, eval_every=60, batch_size=8, lr=0.01), workdir)
    return workdir


class TestRun:
    @pytest.mark.further
    def test_evaluation_of_checkpoint_and_export(self, finished, folder):
        """The same from both; on other data than its own by the same settings as of training."""
        found, files = evaluate.evaluate(finished)
        assert found["examples"] == 30
        assert found["metrics"].keys() == {"recall_at_1", "recall_at_10", "mean_reciprocal_rank"}
        assert found["metrics"]["recall_at_10"] > 0.6  # chance has 0.33
        assert {path.name for path in files} == {"metrics.json", "pairs.jsonl"}
        of_export, _ = evaluate.evaluate(finished / "saved_model")
        assert of_export["metrics"] == pytest.approx(found["metrics"], abs=1e-6)
        scored, files = evaluate.evaluate(finished / "saved_model", str(folder / "scores.jsonl"))
        assert scored["metrics"].keys() == {"spearman", "pearson"}
        assert scored["metrics"]["spearman"] > 0.1
        assert "scores.png" in {path.name for path in files}

    def test_export_takes_strings(self, finished, folder):
        """By its signature and as a module: the Keras model's embeddings of the tokens, whatever else is in the batch."""
        loaded = tf.saved_model.load(str(finished / "saved_model"))
        texts = ["ba film", "A BA", "", "unseen é words 你好 \xff " * 20]
        served = loaded.signatures["serving_default"](text=tf.constant(texts))
        assert set(served) == {"embeddings"}
        served = served["embeddings"].numpy()
        np.testing.assert_allclose(np.linalg.norm(served, axis=1), 1, atol=1e-6)  # an empty text has [CLS] and [SEP]
        model = bert.load_model(finished)
        tokenizer = open_tokenizer(folder / "vocab.txt")
        inputs = pack(tokenizer, [tokenizer.tokenize(texts)], max_length=16, pad=False)
        np.testing.assert_allclose(model(inputs), served, rtol=0, atol=1e-6)
        for place, text in enumerate(texts):
            alone = loaded.signatures["serve"](text=tf.constant([text]))["embeddings"]
            np.testing.assert_allclose(alone[0], served[place], rtol=0, atol=1e-6)
        for given in (tf.constant(texts), inputs):
            outputs = loaded(given)
            assert outputs.keys() == {"embeddings", "balance_loss"}
            np.testing.assert_allclose(outputs["embeddings"], served, rtol=0, atol=1e-6)
        assert loaded.serve(tf.constant([], tf.string))["embeddings"].shape == (0, 16)

    @pytest.mark.further
    def test_trains_as_a_layer(self, finished):
        """Of strings and of tokens: every weight has a gradient."""
        layer = hub.KerasLayer(str(finished / "saved_model"), trainable=True)
        texts = tf.keras.Input([], dtype=tf.string)
        assert layer(texts)["embeddings"].shape.as_list() == [None, 16]
        tokens = {name: tf.ones([2, 5], tf.int32) for name in INPUTS}
        for given in (tf.constant(["a ba", "film"]), tokens):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(layer(given, training=True)["embeddings"][:, 0])
            assert all(gradient is not None for gradient in tape.gradient(loss, layer.trainable_weights))

    @pytest.mark.further
    def test_loads_as_what_it_is(self, finished, tmp_path, capsys):
        """A run and its export are embeddings, an exported encoder is an encoder; other tasks take the encoder's weights."""
        for source in (finished, finished / "saved_model"):
            assert settings_of(bert.load_model(source))["task"] == "embedding"
        assert capsys.readouterr().out == ""
        folder, facts = export.export(finished, tmp_path / "encoder", "encoder")
        assert facts["signatures"]["serve"]["inputs"] == {"text": "string [?]"}  # although training was on pairs
        assert settings_of(bert.load_model(folder))["task"] == "encoder"
        before, after = bert.load_model(finished), bert.load_model(finished, "classification")
        np.testing.assert_array_equal(after.get_layer("embedding").word_embedding, before.get_layer("embedding").word_embedding)
        assert "pooler" in capsys.readouterr().out
        again = bert.load_model(finished, "encoder")
        assert settings_of(again)["task"] == "encoder"

    def test_predictions(self, finished, folder, tmp_path, capsys):
        """A vector for each text, and the nearest other texts in print."""
        path = write_tsv(tmp_path / "texts.tsv", ("text",), ("ba film",), ("hu film",), ("a ba",))
        predict.predict(finished, path, tmp_path / "out.jsonl", batch_size=2)
        rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        vectors = np.array([row["embedding"] for row in rows])
        assert [row["input"] for row in rows] == ["texts.tsv:2", "texts.tsv:3", "texts.tsv:4"]
        assert vectors.shape == (3, 16)
        printed = capsys.readouterr().out.splitlines()
        nearest = 1 + np.argmax(vectors[0] @ vectors[1:].T)
        assert printed[1].split("  ")[:2] == ["ba film", ("hu film", "a ba")[nearest - 1]]
        assert printed[1].endswith(f"{vectors[0] @ vectors[nearest]:.2f}")

    @pytest.mark.train
    def test_learns(self, folder, tmp_path):
        """Which word two texts share, of pairs that it has not seen."""
        summary = train.run(recipe(folder, steps=400, eval_every=200, batch_size=16, lr=0.01), tmp_path / "run")
        assert summary["metrics"]["val_accuracy"] > 0.9
        assert float(read_table(tmp_path / "run" / "metrics.csv")[-1]["val_accuracy"]) > 0.9
        assert evaluate.evaluate(tmp_path / "run")[0]["metrics"]["recall_at_1"] > 0.8


@pytest.mark.further
def test_each_replica_has_its_own_negatives(folder, tmp_path):
    """On two devices the loss is the mean of those of the two halves of the batch, without dropout (1e-5, float32)."""
    settings = {"model.dropout": 0.0, "model.attention_dropout": 0.0}
    run = train.Run(recipe(folder, settings, strategy="mirrored"), tmp_path / "mirrored")
    assert run.strategy.num_replicas_in_sync == 2
    ((inputs, labels),) = run.task.train_dataset(0).take(1)
    outputs = run.model.predict(inputs, verbose=0)
    loss = run.task.loss()
    halves = [float(loss(labels[part], tf.constant(outputs[part]))) for part in (slice(0, 4), slice(4, 8))]
    found = run.model.fit(run.task.train_dataset(0), steps_per_epoch=1, verbose=0).history["loss"]
    assert found == pytest.approx([np.mean(halves)], rel=1e-5)
    assert abs(float(loss(labels, tf.constant(outputs))) - found[0]) > 1e-3


def test_what_saved_weights_are():
    """Those of embeddings have no head: the config tells, also that of a task around it; older encoders stay encoders."""
    encoder = {"encoder/ffn_norm/gamma": np.ones([1, 8])}
    own, around = {"task": EMBEDDING_TASK}, {"task": "a:B", "b": {"task": EMBEDDING_TASK}, "model": {"classes": 2}}
    of_pretraining = {"task": "bert.pretraining:Pretraining"}
    for config, kind, expected in (
        (own, "", "embedding"),
        (own, "sentence embedding", "embedding"),
        (around, "", "embedding"),
        (own, ENCODER_KIND, "encoder"),
        (of_pretraining, ENCODER_KIND, "encoder"),
        ({}, "", "encoder"),
    ):
        assert settings_in_weights(encoder, config, kind)["task"] == expected
    headed = {**encoder, "classifier/bias": np.zeros(3)}
    assert settings_in_weights(headed, own, "")["task"] == "classification"


def test_nearest_table(tmp_path):
    """Lines with errors or nothing to compare are left out; text in one line."""
    rows = [{"embedding": [1, 0]}, {"error": "bad"}, {"embedding": [0, 2]}, {"embedding": [1, 1.5]}, {"embedding": [None, 1]}]
    path = write_jsonl(tmp_path / "out.jsonl", *rows)
    assert nearest_table(path, "text\n{}".format).splitlines() == [
        "input   nearest  cosine",
        "text 0  text 3   0.55",
        "text 2  text 3   0.83",
        "text 3  text 2   0.83",
    ]
    assert nearest_table(write_jsonl(tmp_path / "one.jsonl", rows[0]), str) == ""


@pytest.mark.parametrize(
    "second, said",
    [
        ("", ", line 2, is not JSON: Expecting value"),
        ("[" * 100_000, ", line 2, is not JSON: it is nested too deeply"),
        ("3", ", line 2, is not allowed: it must hold a JSON object"),
        ('{"embedding": 3}', ", line 2, is not allowed: embedding is 3, and must be a JSON array"),
        ('{"embedding": [1]}', " cannot be read: each embedding must be a list of numbers, of the same length"),
        ('{"embedding": [1, "a"]}', " cannot be read: each embedding must be a list of numbers"),
    ],
    ids=lambda value: value[:9],
)
def test_nearest_of_other_lines(tmp_path, second, said):
    """The first lines may have been changed since official.predict wrote them."""
    path = tmp_path / "out.jsonl"
    path.write_text(f'{{"embedding": [1, 0]}}\n{second}\n')
    with pytest.raises(ValueError, match=re.escape(f"{path}{said}")):
        nearest_table(path, str)
