"""TensorFlow's saved_model_cli, as docs/serving.md has it, on every kind of exported model."""

import pathlib
import sys

import numpy as np
import pytest

from bert.classification import TextClassification
from official.serving.saved_models import write_saved_model
from tests.bert.prepared_texts import write_jsonl, write_vocabulary
from tests.bert.tiny import classification_config
from tests.official.tiny import ROOT, run_command, tiny_config
from tests.vision.pictures import encoded, picture
from vision.classification import ImageClassification

OWN = [str(pathlib.Path(sys.executable).with_name("saved_model_cli"))]
# The operations of its tokenizer must be there before a text model can be loaded.
WITH_TEXT = [sys.executable, "-c", "import tensorflow_text; from tensorflow.python.tools.saved_model_cli import main; main()"]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    write_vocabulary(folder / "vocab.txt", ("good", "bad"))
    write_jsonl(folder / "train.jsonl", *[{"text": label, "label": label} for label in ("good", "bad")] * 2)
    data = dict(name="file", dir=str(folder), train_file="train.jsonl", validation_file="train.jsonl")
    np.save(folder / "seven.npy", [encoded(picture(7))])
    images, texts = tiny_config({"model.depth": 1}), classification_config(folder / "vocab.txt", data)
    texts.model.depth = 1
    return folder, {"images": ImageClassification(images), "texts": TextClassification(texts)}


@pytest.mark.process
@pytest.mark.parametrize(
    "kind, part, signature, given, said",
    [
        ("images", "model", "classify", "--inputs=image_bytes={folder}/seven.npy", "Result for output key labels:"),
        ("images", "encoder", "embed", "--inputs=image_bytes={folder}/seven.npy", "Result for output key features:"),
        ("texts", "model", "serve", '--input_exprs=text=[b"a good film", b"bad"]', "Result for output key probabilities:"),
        ("texts", "encoder", "serve", '--input_exprs=text=[b"a good film"]', "Result for output key pooled_output:"),
        ("texts", "preprocessor", "serve", '--input_exprs=text=[b"a good film"]', "Result for output key input_word_ids:"),
    ],
)
def test_show_and_run(tasks, tmp_path, kind, part, signature, given, said):
    """All signatures and functions are listed, and the default one runs."""
    folder, made = tasks
    write_saved_model(made[kind].part(part), tmp_path / "model")
    command = OWN if kind == "images" else WITH_TEXT
    shown = run_command([*command, "show", "--dir", str(tmp_path / "model"), "--all"])
    assert shown.returncode == 0, shown.stderr
    assert f"signature_def['{signature}']" in shown.stdout
    assert "Function Name: '__call__'" in shown.stdout
    options = ["--tag_set", "serve", "--signature_def", "serving_default", given.format(folder=folder)]
    ran = run_command([*command, "run", "--dir", str(tmp_path / "model"), *options])
    assert ran.returncode == 0, ran.stderr
    assert said in ran.stdout


def test_the_commands_are_documented():
    text = (ROOT / "docs/serving.md").read_text()
    assert f"python -c '{WITH_TEXT[2]}' run" in text
    for command in ("saved_model_cli show --dir", "saved_model_cli run --dir"):
        assert command in text
