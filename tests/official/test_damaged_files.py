"""Whatever is in the files of a run, an export or a repository: every command ends with one sentence that names the file."""

import json
import re
import sys

import pytest
import tensorflow as tf

import bert
import vision
from bert.corpus.shards import read_info
from bert.squad.questions import read_json as read_questions
from official import evaluate, export, grow, predict, repeat, train
from official.checkpoints.trained_models import initial_config, recipe_data
from official.config import TRAIN, check_types, defaults_of
from official.data.rows import Rows
from official.files.summary import metrics_of_step, read_summary
from tests.official.tiny import tiny_config
from vision.preprocessing import DATA

# What no JSON file of ours holds, in bytes.
DAMAGE = {
    "empty": b"",
    "cut off": b'{"name": "a", "train": {"pre',
    "no object": b"[1]",
    "brackets": b"[" * 100_000,
    "objects": b'{"a":' * 100_000,
    "not UTF-8": b"\xff\xfe",
    "nothing": b"{}",
}


def config_with(**changes):
    """A config.json, some of whose values, by dotted names with two underscores for a dot, are others."""
    plain = json.loads(tiny_config().to_json())
    for key, value in changes.items():
        *sections, setting = key.split("__")
        inside = plain
        for section in sections:
            inside = inside[section]
        inside[setting] = value
    return json.dumps(plain).encode()


@pytest.fixture
def workdir(tmp_path):
    """A run with a checkpoint, though of something else than its config says."""
    tf.train.CheckpointManager(tf.train.Checkpoint(x=tf.Variable(1.0)), str(tmp_path / "run/checkpoints"), max_to_keep=1).save()
    (tmp_path / "run" / "config.json").write_bytes(config_with())
    return tmp_path / "run"


@pytest.fixture
def exported(tmp_path):
    module = tf.Module()
    module.f = tf.function(lambda x: {"x": x}, input_signature=[tf.TensorSpec([None], tf.string, name="x")])
    tf.saved_model.save(module, str(tmp_path / "exported"), {"serving_default": module.f})
    (tmp_path / "exported" / "assets.extra").mkdir()
    (tmp_path / "exported" / "assets.extra" / "config.json").write_bytes(config_with())
    return tmp_path / "exported"


def said(monkeypatch, command, *arguments):
    """What a command ends with: one sentence."""
    monkeypatch.setattr(sys, "argv", [command.__name__, *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        command.main()
    message = stopped.value.code
    assert message.startswith("error: ")
    assert message.isprintable()
    return message


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
def test_config_of_a_run(workdir, monkeypatch, tmp_path, content):
    file = workdir / "config.json"
    file.write_bytes(content)
    output = f"--output={tmp_path / 'output'}"
    for command in (evaluate, export, grow):
        assert f"{file} is not " in said(monkeypatch, command, f"--model={workdir}", output)
    for zoo in (vision, bert):
        with pytest.raises(ValueError, match=f"{file} is not the config of a run: {file} is not "):
            zoo.load_model(workdir)
    with pytest.raises(ValueError, match=f"^{file} is not "):
        train.finished_summary(tiny_config(), workdir)
    assert initial_config(workdir) is None
    assert recipe_data(workdir) == {}
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
def test_files_of_an_export(exported, monkeypatch, tmp_path, content):
    """Its config where it is evaluated or converted, its facts where it predicts, without which these may be missing."""
    config, facts = (exported / "assets.extra" / name for name in ("config.json", "model.json"))
    config.write_bytes(content)
    output = tmp_path / "output"
    assert f"{config} is not " in said(monkeypatch, evaluate, f"--model={exported}", f"--output={output}")
    if content != b"{}":
        facts.write_bytes(content)
        (tmp_path / "rows.jsonl").write_text('{"x": "a"}\n')
        rows = f"--input={tmp_path / 'rows.jsonl'}"
        assert f"{facts} is not " in said(monkeypatch, predict, f"--model={exported}", rows, f"--output={output}.jsonl")


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
def test_summary_of_a_run(workdir, monkeypatch, tmp_path, content):
    """Of a run that is exported, resumed or repeated."""
    file = workdir / "summary.json"
    file.write_bytes(content)
    assert f"{file} is not " in said(monkeypatch, export, f"--model={workdir}", f"--output={tmp_path / 'output'}")
    with pytest.raises(ValueError, match=f"^{file} is not "):
        train.finished_summary(tiny_config(), workdir)
    with pytest.raises(ValueError, match=f"^{file} is not "):
        read_summary(file)
    for damaged in (content, b'{"runs": [1]}', b'{"runs": [{"seed": 0, "metrics": {"a": "b"}, "step": 1, "seconds": 1}]}'):
        (tmp_path / "repeat.json").write_bytes(damaged)
        message = said(monkeypatch, repeat, "--config=vision/configs/digits.py", f"--workdir={tmp_path}", "--seeds=1")
        assert re.search(f"{tmp_path / 'repeat.json'}.* is not ", message)


@pytest.mark.parametrize(
    "changes, allowed",
    [
        (dict(train=[1]), "train is [1], and must be a JSON object"),
        (dict(train__batch_size="4"), 'train.batch_size is "4", and must be a whole number'),
        (dict(train__precision=3), "train.precision is 3, and must be a string"),
        (dict(train__precision="float4"), "train.precision must be one of float32"),
        (dict(task=None), "task is null, and must be a string"),
        (dict(name=["a"]), 'name is ["a"], and must be a string'),
        (dict(model=3), "model is 3, and must be a JSON object"),
        (dict(data=[]), "data is [], and must be a JSON object"),
        (dict(data=None), "data=None is not allowed: it must have the settings name, dir"),
        (dict(model=None), "model=None is not allowed: it must have the settings "),
        (dict(data={"a.b": 1}), "config.json is not allowed: "),
        (dict(data__name=[1]), "data.name=[1] is not allowed: it must be text"),
        (dict(data__train_split={"a": 1}), "data.train_split="),
        (dict(data__classes=[[1]]), "data.classes=[[1]] is not allowed: it must be a list of names"),
        (dict(data__cache_mib=True), "data.cache_mib=True is not allowed: it must be a whole number"),
        (dict(data__flip=1), "data.flip=1 is not allowed: it must be True or False"),
        (dict(data__rotate="x\x1b[2J"), "data.rotate='x\\x1b[2J' is not allowed: it must be a number"),
    ],
)
def test_settings_of_another_type(workdir, monkeypatch, tmp_path, changes, allowed):
    (workdir / "config.json").write_bytes(config_with(**changes))
    assert allowed in said(monkeypatch, evaluate, f"--model={workdir}", f"--output={tmp_path / 'output'}")


def test_recipes_have_the_types():
    """Of every setting; whole numbers are floats, and a text may be missing."""
    config = tiny_config()
    check_types("train", config.train, TRAIN)
    check_types("data", {**defaults_of(DATA), "rotate": 8, "dir": None}, DATA)
    with pytest.raises(ValueError, match=r"^data\.dir is missing: data must have the settings name, dir, "):
        check_types("data", {"name": ""}, DATA)


@pytest.mark.parametrize(
    "content",
    [b"", b"step\n\xff\n", b"loss\n1\n", b"step,loss\nx,1\n", b"step\n" + b"1" * 200_000, b"\0\n"],
    ids=range(6),
)
def test_table_of_a_run(workdir, content):
    (workdir / "metrics.csv").write_bytes(content)
    try:
        assert metrics_of_step(workdir, 1) == {}
    except ValueError as error:
        assert str(error).startswith(f"{workdir / 'metrics.csv'} is damaged: it must be a table of numbers with a column step")


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
def test_data(tmp_path, content):
    """Prepared data, questions, and the user's table: what is not JSON, or has not the keys."""
    (tmp_path / "dataset_info.json").write_bytes(content)
    with pytest.raises(ValueError, match=f"^{tmp_path / 'dataset_info.json'} is not .*; it is not what bert.prepare wrote$"):
        read_info(tmp_path)
    file = tmp_path / "rows.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{file}"):
        read_questions(file)
    if content.startswith(b"[["):
        with pytest.raises(ValueError, match=f"^{file}: it is nested too deeply"):
            Rows(file)
    elif content not in (b"", b"{}"):
        assert all(isinstance(row, ValueError) for _, row in Rows(file))
