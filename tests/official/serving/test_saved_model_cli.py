"""TensorFlow's saved_model_cli, as docs/serving.md has it, on every kind of exported model."""

import json
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

# As in docs/serving.md. The operations of its tokenizer must be there before a text model can be loaded.
IN_PYTHON = "import tensorflow_text; from tensorflow.python.tools.saved_model_cli import main; main()"

CASES = [  # task, part, signature, the input of `run`, what `run` prints
    ("images", "model", "classify", "--inputs=image_bytes={folder}/seven.npy", "Result for output key labels:"),
    ("images", "encoder", "embed", "--inputs=image_bytes={folder}/seven.npy", "Result for output key features:"),
    ("texts", "model", "serve", '--input_exprs=text=[b"a good film", b"bad"]', "Result for output key probabilities:"),
    ("texts", "encoder", "serve", '--input_exprs=text=[b"a good film"]', "Result for output key pooled_output:"),
    ("texts", "preprocessor", "serve", '--input_exprs=text=[b"a good film"]', "Result for output key input_word_ids:"),
]
# Runs saved_model_cli for each command line in a JSON list, and prints [exit code, standard output] of each as JSON.
RUN_ALL = """
import contextlib, io, json, sys
import tensorflow_text
from absl.testing import flagsaver
from tensorflow.python.tools.saved_model_cli import main

done = []
for arguments in json.loads(sys.argv[1]):
    sys.argv, output, code = ["saved_model_cli", *arguments], io.StringIO(), 0
    with flagsaver.flagsaver(), contextlib.redirect_stdout(output):
        try:
            main()
        except SystemExit as stopped:
            code = stopped.code
    done.append([code or 0, output.getvalue()])
print(json.dumps(done))
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What `show` and `run` print for each of CASES, all by one process."""
    folder = tmp_path_factory.mktemp("models")
    write_vocabulary(folder / "vocab.txt", ("good", "bad"))
    write_jsonl(folder / "train.jsonl", *[{"text": label, "label": label} for label in ("good", "bad")] * 2)
    data = dict(name="file", dir=str(folder), train_file="train.jsonl", validation_file="train.jsonl")
    np.save(folder / "seven.npy", [encoded(picture(7))])
    images, texts = tiny_config({"model.depth": 1}), classification_config(folder / "vocab.txt", data)
    texts.model.depth = 1
    tasks = {"images": ImageClassification(images), "texts": TextClassification(texts)}
    commands = []
    for kind, part, _, given, _ in CASES:
        model = folder / f"{kind}-{part}"
        write_saved_model(tasks[kind].part(part), model)
        run = [
            "run",
            "--dir",
            str(model),
            "--tag_set",
            "serve",
            "--signature_def",
            "serving_default",
            given.format(folder=folder),
        ]
        commands += [["show", "--dir", str(model), "--all"], run]
    done = run_command([sys.executable, "-c", RUN_ALL, json.dumps(commands)])
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    assert [code for code, _ in results] == [0] * len(commands), done.stderr
    return [(show, run) for (_, show), (_, run) in zip(results[::2], results[1::2], strict=True)]


@pytest.mark.parametrize("case", range(len(CASES)), ids=[f"{kind}-{part}" for kind, part, *_ in CASES])
def test_show_and_run(printed, case):
    """All signatures and functions are listed, and the default one runs."""
    _, _, signature, _, result = CASES[case]
    show, run = printed[case]
    assert f"signature_def['{signature}']" in show
    assert "Function Name: '__call__'" in show
    assert result in run


def test_the_commands_are_documented():
    text = (ROOT / "docs/serving.md").read_text()
    assert f"python -c '{IN_PYTHON}' run" in text
    for command in ("saved_model_cli show --dir", "saved_model_cli run --dir"):
        assert command in text
