"""docs/coming_from.md: what stands beside the names of other libraries exists here, and foreign names are answered with ours."""

import importlib.util
import re
import shutil
import types

import numpy as np
import pytest
import tensorflow as tf

import bert
import bert.tokenizer
import official
import official.training.optimizers
import vision
import widenet
from official.config import TRAIN, train_settings
from official.zoo import NAMES_ELSEWHERE
from tests.bert.prepared_texts import write_vocabulary
from tests.snippets import page
from vision.preprocessing import DATA

INPUTS = ("input_word_ids", "input_mask", "input_type_ids")
INPUTS_ELSEWHERE = ("input_ids", "attention_mask", "token_type_ids")


def table(title):
    """The rows of a section's table, lists of cells."""
    section = page("docs/coming_from.md").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def codes(cell):
    return re.findall("`([^`]+)`", cell)


HERE = [code for row in table("What you do") for code in (*codes(row[1]), *codes(row[2]))]


SIZES = dict(depth=1, width=8, heads=2, ffn_dim=8, embedding_dim=4, vocab_size=50)
WIDTH = 16  # of the run of `finished_run`


class Small:
    """A package whose create_model makes small models of all names, which can start from the run of `finished_run`."""

    def __init__(self, package, **settings):
        self._package, self._settings = package, settings

    def __getattr__(self, name):
        return getattr(self._package, name)

    def create_model(self, *arguments, **settings):
        small = dict(depth=2, width=WIDTH, heads=2, ffn_dim=32, expert_dim=32)
        return self._package.create_model(*arguments, **{**small, **self._settings, **settings})


@pytest.fixture(scope="module")
def folder(finished_run, tmp_path_factory):
    """Where the code in the tables finds what it reads; `runs/mine` is a run."""
    folder = tmp_path_factory.mktemp("folder")
    shutil.copytree(finished_run, folder / "runs/mine")
    write_vocabulary(folder / "vocab.txt")
    return folder


@pytest.fixture(scope="module")
def model(folder):
    model = vision.load_model(folder / "runs/mine")
    model.save(folder / "mine.keras")
    return model


@pytest.fixture
def names(folder, model, monkeypatch):
    """What the code in the tables names."""
    monkeypatch.chdir(folder)
    small = dict(vision=Small(vision), bert=Small(bert, vocab_size=100, embedding_dim=8))
    return dict(tf=tf, official=official, model=model, settings=train_settings(steps=10), **small)


CALLS = [code for code in dict.fromkeys(HERE) if re.search(r"\w\(.*\)", code)]


@pytest.mark.further
@pytest.mark.parametrize("code", CALLS)
def test_code(code, names):
    """It runs; and what is set has an effect on the shapes."""
    made = eval(code, names)
    if "classes=" in code:
        classes = int(re.search(r"classes=(\d+)", code)[1])
        assert made.output_shape == (None, classes or WIDTH)
    if "image_size=384" in code:
        assert made.input_shape[1:3] == (384, 384)


def test_commands():
    commands = [code.removeprefix("python -m ") for code in HERE if code.startswith("python -m ")]
    assert len(commands) == 6
    assert all(map(importlib.util.find_spec, commands))


def test_models():
    """With as many parameters: README's, which tests/test_readme.py checks, have a Dense(width) more in images."""
    found = dict(re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", page("README.md"), re.MULTILINE))
    for _, here, parameters in table("Models"):
        (name,) = codes(here)
        expected = int(found[name].replace(",", ""))
        if name in vision.list_models():
            width = vision.model_settings(name)["width"]
            expected -= width * width + width
        assert int(parameters.replace(",", "")) == expected, name


def test_settings_under_other_names():
    """Each is refused with the name that the table has; the table has all of them."""
    seen = []
    for there, here in table("Settings of a model"):
        ours = codes(here)[0]
        for name in codes(there):
            seen.append(name)
            refusals = []
            for package, model in ((vision, "vit_b16"), (bert, "bert_base")):
                with pytest.raises(ValueError) as refused:
                    package.create_model(model, **{name: 1})
                refusals.append(f"it is called {ours} here" in str(refused.value))
            assert any(refusals), name
    assert sorted(seen) == sorted(NAMES_ELSEWHERE)


SAME = re.search(r"^Same names: (.*)$", page("docs/coming_from.md"), re.MULTILINE)[1]


@pytest.mark.parametrize("name", codes(SAME))
def test_settings_under_the_same_names(name):
    assert name in {**vision.model_settings("vit_b16"), **bert.model_settings("bert_base")}


def test_inputs_and_outputs():
    model = bert.create_model("bert_tiny", task="pretraining", **SIZES)
    known = {*model.input, *model.output}
    for row in table("Inputs and outputs"):
        assert codes(row[2])[0] in known, row


@pytest.mark.parametrize("names", [INPUTS, INPUTS_ELSEWHERE])
def test_names_of_inputs(names):
    """Ours, and Hugging Face's, which stand beside them in the table."""
    assert [codes(row[0]) for row in table("Inputs and outputs")[:3]] == [[name] for name in INPUTS_ELSEWHERE]
    model = bert.create_model("bert_tiny", **SIZES)
    values = [tf.constant([row]) for row in ([3, 4, 0], [1, 1, 0], [0, 1, 0])]
    expected = model(dict(zip(INPUTS, values, strict=True)))["pooled_output"]
    np.testing.assert_array_equal(model(dict(zip(names, values, strict=True)))["pooled_output"], expected)


@pytest.mark.parametrize("layer", ["Encoder", "SelfAttention"])
@pytest.mark.parametrize("argument", ["mask", "attention_mask"])
def test_masks_of_layers(layer, argument):
    assert f"`widenet.{layer}`" in page("docs/coming_from.md")
    layer = getattr(widenet, layer)(**(dict(depth=1, ffn_dim=8) if layer == "Encoder" else {}), width=8, heads=2)
    assert layer(tf.ones([1, 3, 8]), **{argument: tf.constant([[True, True, False]])}).shape == (1, 3, 8)


def test_training_settings():
    known = types.SimpleNamespace(train=TRAIN, data=DATA, model=vision.model_settings("vit_b16"))
    for row in table("Training settings"):
        for code in codes(row[1]):
            section, _, name = code.partition("=")[0].partition(".")
            assert code in ("--workdir", "--config.init") or name in getattr(known, section), code
