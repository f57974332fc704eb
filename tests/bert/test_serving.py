"""Encoders and preprocessors as modules of their own, and texts of any length."""

import math
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from ml_collections import ConfigDict

from bert.classification import TextClassification
from bert.models import INPUTS, encoder_of
from bert.squad.serving import answer_endpoint
from bert.squad.settings import data_settings as squad_data_settings
from bert.tokenizer import open_tokenizer
from bert.tokenizers.packing import beginning, pack
from bert.zoo import create_model
from official.checkpoints.weights import plain_name
from official.cli import quiet
from official.serving.saved_models import write_saved_model
from tests.bert.prepared_texts import write_jsonl, write_vocabulary
from tests.bert.tiny import classification_config
from tests.elsewhere import run_elsewhere
from tests.official.modules import xla_calls_of
from tests.official.tiny import ROOT

with quiet.hub_import():
    import tensorflow_hub as hub

TEXTS = ["a good film", "bad", "", "a b c d e f g h i j k l m n o p q r s t"]
OTHERS = ["good", "", "a b c d e f g h i j k l m n o p q r s t", "film"]


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """A task of pairs of texts whose model may drop in evaluation."""
    folder = tmp_path_factory.mktemp("texts")
    write_vocabulary(folder / "vocab.txt", ("good", "bad", "film"))
    rows = [{"text": "a film", "text_pair": label, "label": label} for label in ("good", "bad")]
    write_jsonl(folder / "train.jsonl", *rows * 2)
    data = dict(name="file", dir=str(folder), train_file="train.jsonl", validation_file="train.jsonl")
    config = classification_config(folder / "vocab.txt", data)
    config.update_from_flattened_dict({"model.depth": 2, "model.eval_capacity_factor": 0.5})
    return TextClassification(config)


@pytest.fixture(scope="module")
def modules(task, tmp_path_factory):
    """{part: (folder, what write_saved_model returns)} of encoder and preprocessor."""
    folder, found = tmp_path_factory.mktemp("modules"), {}
    for name in ("encoder", "preprocessor"):
        part = task.part(name)
        for weight in part.model.weights if part.model else []:
            weight.assign_add(tf.random.stateless_normal(weight.shape, (1, weight.shape.num_elements()), stddev=0.2))
        found[name] = folder / name, write_saved_model(part, folder / name)
    return found


def expected_ids(task, *texts):
    return pack(task.tokenizer, [task.tokenizer.tokenize(tf.constant(part)) for part in texts], task.config.data.max_length)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_preprocessor(task, modules):
    """Texts and pairs to what an encoder takes, all of them of one length; as a layer, as a function and by signatures."""
    folder, facts = modules["preprocessor"]
    layer, loaded = hub.KerasLayer(str(folder)), tf.saved_model.load(str(folder))
    one, two = tf.constant(TEXTS), tf.constant(OTHERS)
    for found in (layer(one), loaded(one), loaded.signatures["serving_default"](text=one)):
        assert_same(found, expected_ids(task, TEXTS))
    for found in (layer([one, two]), loaded([one, two]), loaded.signatures["pairs"](text=one, text_pair=two)):
        assert_same(found, expected_ids(task, TEXTS, OTHERS))
    assert layer(one)["input_word_ids"].shape == (4, 16)
    assert (facts["kind"], facts["parameters"]) == ("text preprocessor", 0)
    assert (folder / "assets.extra" / "vocab.txt").exists()


@pytest.mark.further
def test_alone_in_a_process(modules, tmp_path):
    """With TensorFlow and TensorFlow Text: from strings to encodings, the signature of the encoder and both modules alike."""
    code = """
import tensorflow as tf, tensorflow_text
encoder, preprocessor = (tf.saved_model.load(folder) for folder in sys.argv[1:])
texts = [tf.constant(["a good film", "bad"]), tf.constant(["good", ""])]
pooled = encoder(preprocessor(texts))["pooled_output"]
served = encoder.signatures["serving_default"](text=texts[0], text_pair=texts[1])["pooled_output"]
alone = encoder.signatures["serve"](text=texts[0][1:], text_pair=texts[1][1:])["pooled_output"]
print(json.dumps([value.numpy().tolist() for value in (pooled, served, alone)]))
"""
    pooled, served, alone = map(np.array, run_elsewhere(code, tmp_path, modules["encoder"][0], modules["preprocessor"][0]))
    # 1e-5 for float32: one is padded to 16 tokens, the others as far as their batch needs it.
    np.testing.assert_allclose(served, pooled, rtol=0, atol=1e-5)
    np.testing.assert_allclose(alone, pooled[1:], rtol=0, atol=1e-5)
    assert np.abs(pooled[0] - pooled[1]).max() > 1e-2


def test_encoder(task, modules):
    """What it gives, its variables, and nothing that XLA compiles."""
    folder, facts = modules["encoder"]
    assert facts["kind"] == "text encoder"
    assert xla_calls_of(folder) == []
    encoder, inputs = tf.saved_model.load(str(folder)), expected_ids(task, TEXTS, OTHERS)
    found = encoder(inputs)
    assert found.keys() == {"pooled_output", "sequence_output", "encoder_outputs", "balance_loss"}
    assert [output.shape for output in found["encoder_outputs"]] == [(4, 16, 16)] * 2
    assert float(found["balance_loss"]) == 0 < float(encoder(inputs, training=True)["balance_loss"])
    by_signature = encoder.signatures["tokens"](**inputs)
    np.testing.assert_allclose(by_signature["sequence_output"], found["sequence_output"], rtol=0, atol=1e-6)
    names = {variable.name for variable in encoder.variables}
    assert {"pooler/kernel:0", "embedding/word_embedding:0"} < names
    assert not [name for name in names if "classifier" in name]


@pytest.mark.further
def test_trains(task, modules):
    """Both modules in one Keras model of strings: every weight of the encoder moves that has a gradient."""
    texts = tf.keras.Input([], dtype=tf.string)
    layer = hub.KerasLayer(str(modules["encoder"][0]), trainable=True)
    outputs = layer(hub.KerasLayer(str(modules["preprocessor"][0]))(texts))
    logits = tf.keras.layers.Dense(2)(tf.concat([outputs["pooled_output"], outputs["sequence_output"][:, 1]], axis=1))
    model = tf.keras.Model(texts, logits)
    model.compile("sgd", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = [weight.numpy() for weight in layer.trainable_weights]
    assert len(before) == len(task.part("encoder").module.variables)
    model.fit(tf.constant(TEXTS), tf.constant([0, 1, 0, 1]), verbose=0)
    pairs = zip(layer.trainable_weights, before, strict=True)
    # The softmax over the keys does not see what is added to all of them.
    assert {weight.name for weight, old in pairs if np.all(weight.numpy() == old)} <= {"encoder/attention_0/key/bias:0"}


@pytest.mark.further
def test_encoder_of_every_task():
    """The same encodings from the layers of any task's model; without a pooler no pooled output."""
    settings = dict(depth=1, width=8, heads=2, ffn_dim=12, expert_dim=12, num_experts=2, embedding_dim=6, vocab_size=9)
    inputs = {name: tf.ones([2, 3], tf.int32) for name in INPUTS}
    expected = create_model("widenet_tiny_e4", **settings)
    for task in ("pretraining", "classification", "span", "embedding"):
        model = create_model("widenet_tiny_e4", task, **settings)
        values = {weight.name: weight for weight in expected.weights}
        for weight in model.weights:
            if plain_name(weight.name) in map(plain_name, values):
                weight.assign(values[weight.name])
        found, outputs = encoder_of(model)(inputs), expected(inputs)
        names = {"sequence_output", "encoder_outputs"} | ({"pooled_output"} if task not in ("span", "embedding") else set())
        assert found.keys() == names
        for name in names:
            tf.nest.map_structure(np.testing.assert_array_equal, found[name], outputs[name])


def test_beginning():
    """128 bytes a token, in whatever language; what is shorter stays."""
    texts = ["x" * 1000, "é" * 300, "short", ""]
    assert beginning(tf.constant(texts), 4).numpy().tolist() == [text.encode()[:512] for text in texts]


@pytest.mark.further
def test_a_context_of_ten_megabytes(tmp_path):
    """Has as many windows as its first 65,536 bytes need: here of two bytes a token, with a question of two tokens."""
    tokenizer = open_tokenizer(write_vocabulary(tmp_path / "vocab.txt"))
    data = ConfigDict(squad_data_settings(max_length=64, max_query_length=16, doc_stride=32, n_best=3))
    shapes = []

    def model(inputs, training):
        shapes.append(inputs["input_word_ids"].shape)
        return tf.zeros([*shapes[-1], 2])

    call, _ = answer_endpoint(model, tokenizer, data)
    found = call(tf.constant(["a ?"]), tf.constant(["a b " * 2_500_000]))
    assert found["answers"].shape == (1, 3)
    # After the first window, of 59 tokens beside the question and the special ones, one for every 32 tokens.
    assert shapes == [(1 + math.ceil((2**15 - 59) / 32), 64)]


MEMORY = """
import resource, sys, time
import tensorflow as tf, tensorflow_text

model = tf.saved_model.load(sys.argv[1])
small = model(tf.constant(["a good film " * 200]))["input_word_ids"].numpy().tolist()
pages = int(open("/proc/self/statm").read().split()[0])
most = pages * resource.getpagesize() + 300 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (most, most))
texts = ["a good film " * 900_000, "x" * 10_000_000, " " * 10_000_000, "\\u4f60" * 4_000_000]
ids = model(tf.constant(texts))["input_word_ids"].numpy().tolist()
assert ids[0] == small[0]
print([sum(i != 0 for i in row) for row in ids])
"""


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="reads the size of the process from /proc")
def test_texts_of_ten_megabytes(modules):
    """Are cut as shorter ones are, in a process that may take 300 MiB more than it has: 40 MB of text, and little else."""
    command = [sys.executable, "-c", MEMORY, str(modules["preprocessor"][0])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    # All 16 tokens; one word that is too long and so unknown; none at all. [CLS] and [SEP] are counted.
    assert re.fullmatch(r"\[16, 3, 2, 16\]\n", done.stdout)
