"""The script on a model card: taken from the card of a published model and run."""

import html
import json
import re

import pytest

from bert.recipes import embedding_recipe
from official.publish import publish
from official.repository.card import Facts
from official.repository.usage import usage
from tests.bert.prepared_texts import write_jsonl, write_vocabulary
from tests.bert.tiny import MODEL, classification_config
from tests.official.fresh_exports import export_fresh
from tests.official.model_repository import HANDLE
from tests.snippets import python_snippets, run_snippet
from tests.vision.pictures import encoded, picture


@pytest.fixture
def printed_by(tmp_path, monkeypatch, capsys):
    """Function of a SavedModel: publishes it and runs the script of its card as a user would; returns what that prints."""
    repository = tmp_path / "repository"
    monkeypatch.setenv("WIDENET_HUB", str(repository))
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def run(folder):
        publish(folder, repository, HANDLE)
        (script,) = python_snippets((repository / f"{HANDLE}.md").read_text())
        page = (repository / f"{HANDLE}.html").read_text()
        assert html.unescape(re.search("<pre>(.*?)</pre>", page, re.DOTALL)[1]) == script.rstrip("\n")
        assert "WIDENET_HUB" in page.partition("<pre>")[0]
        run_snippet(script)
        return capsys.readouterr().out

    return run


@pytest.mark.further
def test_images(finished_run, tmp_path, printed_by):
    """A photo's classes, the model as a layer, and as a Keras model with all its parameters."""
    (tmp_path / "photo.jpg").write_bytes(encoded(picture(0), "JPEG"))
    printed = printed_by(finished_run / "saved_model")
    facts = json.loads((finished_run / "saved_model/assets.extra/model.json").read_text())
    assert re.search(r"'labels': array\(\[b'\d'\]", printed)
    assert "'logits': <tf.Tensor: shape=(1, 10)" in printed
    assert f"Total params: {facts['parameters']} " in printed


@pytest.mark.further
def test_embeddings(tmp_path, printed_by):
    """The cosine of two texts."""
    write_vocabulary(tmp_path / "vocab.txt")
    data = dict(name="file", pairs=False, vocabulary=str(tmp_path / "vocab.txt"), max_length=16)
    export_fresh(embedding_recipe("bert_tiny", dict(MODEL, depth=1), data, {}), tmp_path / "model")
    printed = printed_by(tmp_path / "model")
    assert -1 <= float(re.search(r"cosine: (\S+)", printed)[1]) <= 1
    assert "'embeddings': <tf.Tensor: shape=(1, 16)" in printed


@pytest.mark.further
def test_texts(tmp_path, printed_by):
    write_vocabulary(tmp_path / "vocab.txt", ("good", "bad"))
    write_jsonl(tmp_path / "train.jsonl", *[{"text": label, "label": label} for label in ("good", "bad")] * 2)
    data = dict(name="file", dir=str(tmp_path), train_file="train.jsonl", validation_file="train.jsonl")
    config = classification_config(tmp_path / "vocab.txt", data)
    config.model.depth = 1
    model = export_fresh(config, tmp_path / "model")
    printed = printed_by(tmp_path / "model")
    assert re.search(r"'labels': array\(\[b'(good|bad)'\]", printed)
    assert "'logits': <tf.Tensor: shape=(1, 2)" in printed
    assert f"Total params: {model.count_params()} " in printed


def script_of(signatures, **recipe):
    script = usage(HANDLE, Facts({"signatures": signatures}, recipe, [], []))
    compile(script, "script", "exec")
    return script


def test_text_preprocessor():
    """It has no weights, so it is neither trained nor a Keras model."""
    inputs = {"inputs": {"text": "string [?]"}, "outputs": {"input_mask": "int32 [?, 16]"}}
    script = script_of({"serve": inputs}, task="bert.classification:TextClassification")
    assert 'answers = model.signatures["serve"](text=tf.constant(["a short text"]))' in script
    assert "KerasLayer(" not in script
    assert "load_model" not in script


def test_model_without_recipe():
    script = script_of({"serve": {"inputs": {"x": "float32 [?, 8, 3]"}, "outputs": {"output_0": "float32 [?, 2]"}}})
    assert 'answers = model.signatures["serve"](x=tf.ones([1, 8, 3], tf.float32))' in script
    assert "layer(tf.ones([1, 8, 3], tf.float32))" in script
    assert "load_model" not in script


@pytest.mark.parametrize(
    "signatures",
    [
        None,
        "text",
        {"serve": None},
        {"serve": {"inputs": {"x": 1}, "outputs": {}}},
        {"serve": {"inputs": {"x": "float32 [...]"}, "outputs": {}}},
        {'a"b\n': {"inputs": {"x y": "float32 [?]", '"""': "string [?]"}, "outputs": {}}},
    ],
)
def test_hostile_facts(signatures):
    """Whatever the model's file says, the script is Python and names nothing that it cannot call."""
    script = script_of(signatures, task="os:system")
    assert "import os" not in script
    assert ("model.signatures[" in script) == (isinstance(signatures, dict) and "serve" not in signatures)
