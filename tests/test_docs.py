"""The snippets of docs/serving.md, docs/hub.md and docs/architecture.md, run as they stand there, and what their tables say."""

import base64
import functools
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from official import export, predict
from official.publish import publish
from official.serving.signatures import load_exported
from tests.bert.prepared_texts import write_jsonl, write_vocabulary
from tests.bert.tiny import classification_config
from tests.official.fresh_exports import export_fresh
from tests.official.tiny import ROOT, environment
from tests.snippets import page, python_snippets, run_snippet, shell_commands
from tests.vision.pictures import encoded, picture

SERVING = page("docs/serving.md")


@pytest.fixture(scope="module")
def folder(finished_run, tmp_path_factory):
    """A user's folder with a run of images, and a picture."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(finished_run, folder / "runs/digits")
    (folder / "seven.png").write_bytes(encoded(picture(7)))
    return folder


@pytest.fixture(scope="module")
def folder_with_texts(folder):
    """The same with a table, and with the parts of models that the snippets name."""
    export.export(folder / "runs/digits", part="encoder")
    labels = ("negative", "positive")
    write_vocabulary(folder / "vocab.txt", ("a", "good", "film"))
    write_jsonl(folder / "train.jsonl", *[{"text": f"a {label} film", "label": label} for label in labels] * 2)
    data = dict(name="file", dir=str(folder), train_file="train.jsonl", validation_file="train.jsonl")
    config = classification_config(folder / "vocab.txt", data)
    config.model.depth = 1
    for part, path in {
        "model": "runs/rotten_tomatoes/saved_model",
        "encoder": "models/encoder/1",
        "preprocessor": "models/preprocessor/1",
    }.items():
        (folder / path).parent.mkdir(parents=True)
        export_fresh(config, folder / path, part)
    (folder / "reviews.csv").write_text("text\na bad film\na good film\n")
    return folder


@pytest.fixture(autouse=True)
def in_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)


def test_first_python_of_serving(capsys):
    run_snippet(python_snippets(SERVING)[0])
    label, probability = capsys.readouterr().out.split()
    assert label in "0123456789"
    assert 0.1 <= float(probability) <= 1


FIT = """
assert model.losses
model.compile("sgd", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
print("loss", *model.fit({inputs}, tf.zeros([2]), verbose=0).history["loss"])
"""


@pytest.mark.process
def test_python_of_serving(folder_with_texts):
    """All snippets one after the other, as in a notebook; the models that two of them build can be trained."""
    first, layer, images, texts = python_snippets(SERVING)
    of_images, of_texts = (FIT.format(inputs=inputs) for inputs in ("tf.zeros([2, 8, 8, 1])", 'tf.constant(["a film", ""])'))
    (folder_with_texts / "script.py").write_text("\n".join([first, layer, images, of_images, texts, of_texts]))
    losses = re.findall(r"^loss (.*)$", run("python script.py"), re.MULTILINE)
    assert len(losses) == 2
    assert np.isfinite([float(loss) for loss in losses]).all()


def run(command):
    """Runs a command by a shell, in an environment whose Python has this checkout; returns what it prints."""
    of_user = environment(PATH=f"{sys.prefix}/bin:/usr/bin:/bin", PYTHONPATH=str(ROOT), TF_CPP_MIN_LOG_LEVEL="3")
    done = subprocess.run(["sh", "-c", command], env=of_user, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def test_request(tmp_path):
    """What the documented command sends, as a shell makes it, and what answers it."""
    (command,) = (line for line in shell_commands(SERVING) if line.startswith("curl "))
    (tmp_path / "curl").write_text('#!/bin/sh\nfor last; do :; done\nprintf %s "$last"\n')  # prints its last argument
    (tmp_path / "curl").chmod(0o755)
    path = {**environment(), "PATH": f"{tmp_path}:/usr/bin:/bin"}
    body = json.loads(subprocess.run(["sh", "-c", command], env=path, capture_output=True, text=True, check=True).stdout)
    (instance,) = body["instances"]
    assert base64.b64decode(instance["image_bytes"]["b64"]) == encoded(picture(7))
    assert answer_of("runs/digits", instance)["labels"] in "0123456789"


@functools.cache
def loaded(model):
    return load_exported(model)


def answer_of(model, instance):
    """What TensorFlow Serving makes of an instance: inputs and outputs of the default signature, a row each."""
    inputs = {name: base64.b64decode(value["b64"]) if isinstance(value, dict) else value for name, value in instance.items()}
    signature = loaded(model).signatures["serving_default"]
    assert inputs.keys() == signature.structured_input_signature[1].keys()
    outputs = signature(**{name: tf.constant([value]) for name, value in inputs.items()})
    rows = {name: tensor[0].numpy() for name, tensor in outputs.items()}
    return {name: row.decode() if isinstance(row, bytes) else row.tolist() for name, row in rows.items()}


def test_rest_answer_about_images():
    check_rest_answer("images", "runs/digits")


@pytest.mark.process
def test_rest_answer_about_texts(folder_with_texts):
    check_rest_answer("text classification", "runs/rotten_tomatoes")


def check_rest_answer(kind, model):
    """The documented answer has the names and types of the default signature's outputs."""
    cells = re.search(rf"^\| {kind} \| `(\{{.*?)` \| `(\{{.*?)` \|$", SERVING, re.MULTILINE).groups()
    instance, documented = (json.loads(cell.replace(", ...]", "]")) for cell in cells)
    if kind == "images":
        assert encoded(picture(7)).startswith(base64.b64decode(instance["image_bytes"]["b64"].removesuffix("...")))
        instance["image_bytes"]["b64"] = base64.b64encode(encoded(picture(7))).decode()
    found = answer_of(model, instance)
    assert {name: type(value) for name, value in found.items()} == {name: type(value) for name, value in documented.items()}


def test_layout_of_tensorflow_serving():
    """The folder that is exported to is the one that is served, under the name that is asked for."""
    commands = "\n".join(shell_commands(SERVING))
    (folder,) = re.findall(r"official\.export .*--output=(\S+) --versioned", commands)
    assert f'--model_base_path="$PWD/{folder}"' in commands
    (name,) = re.findall(r"--model_name=(\S+)", commands)
    assert f":8501/v1/models/{name}:predict" in commands
    assert f'-v "$PWD/{folder}:/models/{name}" -e MODEL_NAME={name} ' in commands


def documented_signatures():
    """{(kind of model, signature): (names of its inputs, names of its outputs)} of the table of docs/serving.md."""
    section = SERVING.partition("\n## Signatures\n")[2].partition("\n## ")[0]
    found, kind = {}, None
    for line in section.splitlines():
        if line.startswith("| ") and "`" in line:
            first, signature, *names = [cell.strip() for cell in line.strip("|").split("|")]
            kind = first or kind
            found[kind, re.search(r"`(\w+)`", signature)[1]] = [set(re.findall(r"`(\w+)`", cell)) for cell in names]
    return found


def test_signatures_of_images():
    check_signatures("images", "runs/digits/saved_model")


@pytest.mark.process
@pytest.mark.parametrize(
    "kind, model",
    [
        ("images, `encoder`", "runs/digits/encoder"),
        ("text classification", "runs/rotten_tomatoes/saved_model"),
        ("text, `encoder`", "models/encoder/1"),
        ("text, `preprocessor`", "models/preprocessor/1"),
    ],
)
def test_signatures(kind, model, folder_with_texts):
    check_signatures(kind, model)


def check_signatures(kind, model):
    """An exported model has the signatures of its rows, with the inputs and outputs that they name, if they name any."""
    documented = {name: names for (of_kind, name), names in documented_signatures().items() if of_kind == kind}
    if kind == "text classification":
        documented["tokens"] = documented_signatures()["all text models above", "tokens"]
    signatures = loaded(model).signatures
    assert documented.keys() == signatures.keys() - {"serving_default"}
    for name, (inputs, outputs) in documented.items():
        if name != "pairs":
            inputs -= {"text_pair"}  # of a model of pairs
        assert inputs in (set(), set(signatures[name].structured_input_signature[1]))
        assert outputs - {"score", "tokens"} in (set(), set(signatures[name].structured_outputs))


@pytest.mark.process
def test_lines_of_predict(folder_with_texts, tmp_path):
    """The documented line has the names of what `official.predict` writes about a row."""
    documented = json.loads(re.search(r'^    (\{"input".*?\}\})$', SERVING, re.MULTILINE | re.DOTALL)[1])
    predict.predict("runs/rotten_tomatoes", "reviews.csv", tmp_path / "answers.jsonl")
    written = json.loads((tmp_path / "answers.jsonl").read_text().splitlines()[1])
    assert written["input"] == documented["input"]
    assert [(name, type(value)) for name, value in written.items()] == [(name, type(value)) for name, value in documented.items()]
    assert written["probabilities"].keys() == documented["probabilities"].keys()


def test_python_of_hub(tmp_path, monkeypatch):
    """By the handle that docs/hub.md uses."""
    (handle,) = set(re.findall(r'"(widenet/vision/[\w/-]+)"', "".join(python_snippets(page("docs/hub.md")))))
    publish("runs/digits/saved_model", tmp_path / "repository", handle)
    monkeypatch.setenv("WIDENET_HUB", str(tmp_path / "repository"))
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    names = {}
    for snippet in python_snippets(page("docs/hub.md")):
        run_snippet(snippet, names)
    assert names["layer"](tf.zeros([1, 8, 8, 1]))["logits"].shape == (1, 10)
    assert names["model"].output_shape == (None, 5)


def test_norm_diversity(capsys):
    """Of a trained model, by block; both are above 0, which they are before training."""
    (snippet,) = (code for code in python_snippets(page("docs/architecture.md")) if "norm_diversity" in code)
    run_snippet(snippet)
    for line, name in zip(capsys.readouterr().out.splitlines(), ("gamma", "beta"), strict=True):
        overall, by_block = re.fullmatch(rf"{name}: y = (\S+); by block: \[(.*)\]", line).groups()
        assert float(overall) > 0
        assert np.mean([float(number) for number in by_block.split()]) == pytest.approx(float(overall), abs=1e-4)


@pytest.mark.process
def test_commands_of_serving(folder_with_texts):
    """Those that need no server, in order: exports, TensorFlow's command-line tool and predictions."""
    (folder_with_texts / "photos").mkdir()
    shutil.copy("seven.png", "photos/seven.png")
    skipped = ("tensorflow_model_server", "curl", "docker", "{", "python -m official.export --model=runs/pretraining")
    commands = [line for line in shell_commands(SERVING) if not line.startswith(skipped)]
    assert len(commands) == 9
    for command in commands:
        (folder_with_texts / "answers.jsonl").unlink(missing_ok=True)
        printed = run(command.replace("step-1610", "step-7"))
        if "--tag_set" in command:
            assert "Result for output key labels:" in printed
    assert (folder_with_texts / "models/digits/2/saved_model.pb").exists()
