"""Handles in TensorFlow Hub, in models and in the commands: the same string everywhere, and paths and addresses as before."""

import json
import sys
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

import bert
import official.hub
import vision
from official import evaluate, predict, train
from official.checkpoints.weights import local_path, locate, read_weights
from official.hub import tensorflow_hub  # without its warning
from official.publish import publish
from official.serving.saved_models import export_saved_model
from tests.elsewhere import run_elsewhere
from tests.official.model_repository import HANDLE, static_server
from tests.official.test_command import refusal
from tests.official.tiny import DENSE, ROOT, command, tiny_config

SMALL = dict(classes=3, image_size=8, patch_size=4, depth=2, width=16, heads=2, expert_dim=16, num_experts=3)
IMAGES = np.linspace(-1, 1, 2 * 8 * 8 * 3, dtype=np.float32).reshape(2, 8, 8, 3)


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "saved_model"
    export_saved_model(vision.create_model("widenet_ti16", **SMALL), folder)
    return folder


@pytest.fixture(scope="module")
def repository(saved_model, tmp_path_factory):
    """A repository of that model."""
    folder = tmp_path_factory.mktemp("hub") / "repository"
    publish(saved_model, folder, HANDLE)
    return folder


@pytest.fixture(autouse=True)
def hub(repository, tmp_path, monkeypatch):
    """The settings of a user of it."""
    monkeypatch.setenv("WIDENET_HUB", str(repository))
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def expected(saved_model):
    """The model's logits of IMAGES."""
    return answer(tf.saved_model.load(str(saved_model)))


def answer(model):
    """A loaded model's logits of IMAGES. Its variables go when it goes."""
    return model.serve(IMAGES).numpy()


def test_load(expected):
    """By our function and by TensorFlow Hub's, one copy of it."""
    for load in (official.hub.load, tensorflow_hub.load):
        np.testing.assert_array_equal(answer(load(HANDLE)), expected)
    assert official.hub.resolve(HANDLE) == tensorflow_hub.resolve(HANDLE)


def test_keras_layer(repository, expected, monkeypatch):
    """Of a plain static file server, trained for a step; its answers before are the model's own.

    tests/test_round_trip.py does the same in another process.
    """
    with static_server(repository) as address:
        monkeypatch.setenv("WIDENET_HUB", address)
        layer = tensorflow_hub.KerasLayer(HANDLE, trainable=True)
    np.testing.assert_allclose(layer(IMAGES, training=False)["default"], expected, atol=1e-5)
    before = [weight.numpy() for weight in layer.trainable_weights]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(IMAGES, training=True)["default"] ** 2)
    gradients = tape.gradient(loss, layer.trainable_weights)
    tf.keras.optimizers.SGD(0.1).apply_gradients(zip(gradients, layer.trainable_weights, strict=True))
    changed = sum(bool((weight.numpy() != old).any()) for weight, old in zip(layer.trainable_weights, before, strict=True))
    assert changed > len(before) / 2


@pytest.mark.further
def test_address_without_anything_of_ours(repository, expected, tmp_path):
    """TensorFlow Hub's own client asks a static file server for HANDLE?tf-hub-format=compressed, and gets the archive."""
    code = """
import numpy as np, tensorflow_hub
images = np.linspace(-1, 1, 2 * 8 * 8 * 3, dtype=np.float32).reshape(2, 8, 8, 3)
print(json.dumps(tensorflow_hub.KerasLayer(sys.argv[1])(images)["default"].numpy().tolist()))
"""
    with static_server(repository) as address:
        answered = run_elsewhere(code, tmp_path, f"{address}/{HANDLE}", TFHUB_CACHE_DIR=str(tmp_path / "cache"))
    np.testing.assert_allclose(answered, expected, atol=1e-5)


def test_paths_and_addresses(repository, saved_model, expected, tmp_path):
    """They go on working where handles do."""
    np.testing.assert_array_equal(answer(official.hub.load(saved_model)), expected)
    np.testing.assert_array_equal(answer(tensorflow_hub.load(str(saved_model))), expected)
    with static_server(repository) as address:
        np.testing.assert_array_equal(answer(official.hub.load(f"{address}/{HANDLE}")), expected)
        assert read_weights(f"{address}/{HANDLE}").keys() == read_weights(saved_model).keys()
    with pytest.raises(OSError, match=r"nothing/here does not exist"):
        official.hub.load("nothing/here")


def test_a_model_at_that_path_goes_first(saved_model, tmp_path, monkeypatch):
    """As before there were handles. An archive there, as in a repository's own folder, is no model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / HANDLE).parent.mkdir(parents=True)
    (tmp_path / HANDLE).write_text("an archive")
    assert official.hub.resolve(HANDLE).startswith(str(tmp_path / "cache"))
    assert locate(HANDLE).prefix.startswith(str(tmp_path / "cache"))
    (tmp_path / HANDLE).unlink()
    (tmp_path / HANDLE).symlink_to(saved_model)
    assert official.hub.resolve(HANDLE) == HANDLE
    assert locate(HANDLE).prefix == f"{HANDLE}/variables/variables"


def test_unknown():
    """One sentence, wherever it is asked for."""
    wrong = "me/vision/smal/1"
    for ask in (official.hub.load, tensorflow_hub.load, tensorflow_hub.KerasLayer, local_path, read_weights):
        with pytest.raises(ValueError, match=f"='{wrong}' is not found: .* has {HANDLE}$"):
            ask(wrong)


def test_image_model(saved_model, capsys):
    model = vision.create_model("widenet_ti16", pretrained=HANDLE, **{**SMALL, "classes": 5})
    assert f"Starting from {HANDLE}:" in capsys.readouterr().out
    expected = read_weights(saved_model)
    for weight in model.get_layer("encoder").weights:
        np.testing.assert_array_equal(weight, expected[weight.name.removesuffix(":0")], err_msg=weight.name)
    with pytest.raises(ValueError, match=r"^pretrained='me/vision/small/7' is not found"):
        vision.create_model("widenet_ti16", pretrained="me/vision/small/7", **SMALL)


@pytest.mark.further
def test_text_model(tmp_path, monkeypatch):
    settings = dict(vocab_size=30, depth=2, width=16, heads=2, expert_dim=16, num_experts=2, embedding_dim=8, max_length=8)
    source = bert.create_model("widenet_tiny_e4", task="classification", **settings)
    export_saved_model(source, tmp_path / "source")
    publish(tmp_path / "source", tmp_path / "texts", "me/text/small")
    monkeypatch.setenv("WIDENET_HUB", str(tmp_path / "texts"))
    model = bert.create_model("widenet_tiny_e4", task="classification", pretrained="me/text/small/1", **settings)
    for weight, expected in zip(model.weights, source.weights, strict=True):
        np.testing.assert_array_equal(weight, expected)


@pytest.fixture(scope="module")
def digits(dense_run, tmp_path_factory):
    """(workdir of a tiny run of the digits recipe, a repository of what it exported)."""
    folder = tmp_path_factory.mktemp("digits") / "repository"
    publish(dense_run / "saved_model", folder, "me/digits")
    return dense_run, folder


def test_run_begins_with_it(digits, tmp_path, monkeypatch):
    """--config.init=HANDLE."""
    workdir, folder = digits
    monkeypatch.setenv("WIDENET_HUB", str(folder))
    run = train.Run(tiny_config(DENSE, {"init": "me/digits/1"}, seed=3), tmp_path / "run")
    expected = read_weights(workdir)
    for weight in run.model.weights:
        np.testing.assert_array_equal(weight, expected[weight.name.removesuffix(":0")], err_msg=weight.name)


@pytest.mark.further
def test_evaluation(digits, tmp_path, monkeypatch):
    """--model=HANDLE: the same metrics as of the export; where to write is to be said."""
    workdir, folder = digits
    monkeypatch.setenv("WIDENET_HUB", str(folder))
    expected, _ = evaluate.evaluate(workdir / "saved_model", output=tmp_path / "expected")
    found, files = evaluate.evaluate("me/digits/1", output=tmp_path / "found")
    assert found["metrics"] == expected["metrics"]
    assert {path.parent for path in files} == {tmp_path / "found"}
    arguments = ["official.evaluate", "--model=me/digits/1"]
    with mock.patch.object(sys, "argv", arguments), pytest.raises(SystemExit) as stopped:
        evaluate.main()
    said = "error: --output is needed with --model=me/digits/1: nothing is written into the cache of published models"
    assert stopped.value.code == said


@pytest.mark.further
def test_prediction(digits, tmp_path, monkeypatch):
    """official.predict --model=HANDLE: the same answers as of the export."""
    workdir, folder = digits
    monkeypatch.setenv("WIDENET_HUB", str(folder))
    picture = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    (tmp_path / "image.png").write_bytes(tf.io.encode_png(picture).numpy())
    outputs = [tmp_path / "of_path.jsonl", tmp_path / "of_handle.jsonl"]
    for handle, output in zip((str(workdir / "saved_model"), "me/digits/1"), outputs, strict=True):
        assert predict.predict(handle, str(tmp_path / "*.png"), output) == (1, 0)
    assert outputs[0].read_text() == outputs[1].read_text()
    with pytest.raises(ValueError, match=r"^--model='me/digits/2' is not found"):
        predict.predict("me/digits/2", str(tmp_path / "*.png"), tmp_path / "nothing.jsonl")


def test_card_of_a_run(digits):
    """What an export tells of itself is on its card: parameters, metrics, data, classes, signatures."""
    workdir, folder = digits
    card = (folder / "me/digits/1.md").read_text()
    summary = json.loads((workdir / "summary.json").read_text())
    assert f"| parameters | {summary['parameters']:,} |" in card
    of_validation = card.partition("## Metrics of the run, validation split")[2].partition("\n## ")[0]
    assert f"| accuracy | {summary['metrics']['val_accuracy']:.6g} |" in of_validation
    assert "| name | digits |" in card
    assert "| serve.inputs." in card
    assert "![curves](1.plots/curves.png)" in card


def test_command_that_finds_nothing(tmp_path, repository, monkeypatch):
    """One line: of an unknown handle, and of a server that is not there."""
    monkeypatch.chdir(ROOT)
    arguments = command(tmp_path / "run", init="me/digits/1")[3:]
    for base, said in ((repository, "is not found: "), ("http://127.0.0.1:9", "cannot be looked for: ")):
        monkeypatch.setenv("WIDENET_HUB", str(base))
        refused = refusal(*arguments)
        assert refused.startswith(f"error: init='me/digits/1' {said}")
        assert "\n" not in refused
    assert not (tmp_path / "run").exists()
