"""The contract of a task, and which tasks a config may name."""

import contextlib
import json
import subprocess
import sys

import pytest
import tensorflow as tf
from ml_collections import ConfigDict

import bert
import vision
from official import evaluate, export, hub, predict
from official.checkpoints.weights import read_weights
from official.config import train_settings
from official.publish import publish
from official.repository.lookup import find_published
from official.task import Evaluation, Split, Task, create_task, data_text
from vision.configs import finetune

MODULE = '''
import pathlib
import official.task
pathlib.Path({marker!r}).touch()

class Mine(official.task.Task):
    """As a program that a stranger's config.json names."""

class Other:
    pass
'''


class WithoutLoss(Task):
    """All but a loss, without which Keras would train on what the layers add."""

    create_model = metrics = train_dataset = validation_dataset = evaluation_dataset = evaluation = lambda self: None


class Whole(WithoutLoss):
    def __init__(self, config):
        self.config = config

    loss = WithoutLoss.metrics


def config_of(task):
    return ConfigDict(dict(task=task))


def test_a_task_that_forgets_its_loss():
    """Refused when it is made, in Python and as a recipe's, and not trained on the balance terms alone."""
    with pytest.raises(TypeError, match="abstract .*loss"):
        WithoutLoss()
    with pytest.raises(
        ValueError, match=r"^task='tests.official.test_task:WithoutLoss' is not allowed: .* lacks the methods loss$"
    ):
        create_task(config_of(f"{__name__}:WithoutLoss"), is_recipe=True)
    with pytest.raises(ValueError, match=r"lacks the methods create_model, evaluation, evaluation_dataset, loss, metrics, "):
        create_task(config_of("official.task:Task"))
    with pytest.raises(TypeError, match="abstract .*add.*write"):
        Evaluation()


def test_optional_methods():
    """A setting that needs one of them is refused in words, where the task does not have it."""
    config = config_of(f"{__name__}:Whole")
    for task in (create_task(config, is_recipe=True), create_task(config, [__name__])):
        assert isinstance(task, Whole)
        assert task.config is config
        assert (task.resources(), task.assets(), task.parts) == ([], {}, ("model",))
        with pytest.raises(
            ValueError, match=r"^train\.layer_decay is not allowed: it must be 1, since Whole has no layer_depths"
        ):
            task.layer_depths(None)
        with pytest.raises(ValueError, match="^it must be '', since Whole has no initialize$"):
            task.initialize(None, {})


@pytest.mark.parametrize(
    "task",
    [
        "subprocess:Popen",
        "strange:Mine",
        "officials.task:Task",
        "official.task",
        "official.task:",
        ":Mine",
        "../strange:Mine",
        "os:system",
        None,
    ],
)
def test_a_config_may_not_name_anything(task, stranger):
    """Nothing is imported to find out."""
    with pytest.raises(ValueError, match="is not allowed: it must be 'module:Class' of an official.task.Task"):
        create_task(config_of(task), ["strangers"])
    assert not stranger.exists()


@pytest.mark.parametrize(
    "task", ["vision.classification:Model", "official.task:BadExamples", "official.task:create_task", "vision.nowhere:Task"]
)
def test_only_a_task_of_this_project(task):
    """Its other classes and functions are not made or called either."""
    with pytest.raises(ValueError, match=r"is not allowed: it must be 'module:Class' of an official\.task\.Task"):
        create_task(config_of(task))


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """The path of a file that is there once the module `strange`, which could be imported, has run."""
    marker = tmp_path / "strange_code_has_run"
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "strange.py").write_text(MODULE.format(marker=str(marker)))
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.delitem(sys.modules, "strange", raising=False)
    return marker


@pytest.fixture(params=["strange:Mine", "subprocess:Popen"])
def config(request):
    train = dict(precision="float32", batch_size=4)
    return json.dumps(dict(init="", name="", task=request.param, model={}, data={}, train=train))


@pytest.fixture
def models(tmp_path, monkeypatch, config):
    """{what it is: path or handle} of a model of which each config.json names that task."""
    workdir, exported = tmp_path / "run", tmp_path / "exported"
    tf.train.CheckpointManager(tf.train.Checkpoint(x=tf.Variable(1.0)), str(workdir / "checkpoints"), max_to_keep=1).save()
    (workdir / "config.json").write_text(config)
    module = tf.Module()
    module.f = tf.function(lambda x: x, input_signature=[tf.TensorSpec([None, 2], name="x")])
    tf.saved_model.save(module, str(exported), {"serving_default": module.f})
    (exported / "assets.extra").mkdir()
    (exported / "assets.extra" / "config.json").write_text(config)
    publish(exported, tmp_path / "repository", "me/strange")
    monkeypatch.setenv("WIDENET_HUB", str(tmp_path / "repository"))
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    return {"run": workdir, "exported": exported, "handle": "me/strange/1"}


def said(monkeypatch, command, *arguments):
    """What a command ends with."""
    monkeypatch.setattr(sys, "argv", [command.__name__, *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        command.main()
    return stopped.value.code


def test_no_command_runs_what_a_config_names(models, stranger, monkeypatch, tmp_path, config):
    """One sentence, whether a run, its export or a published model is evaluated, exported or converted."""
    task = json.loads(config)["task"]
    refusal = (
        f"error: task={task!r} is not allowed: it must be 'module:Class' of an official.task.Task, of this project or of a "
        "module that --task_module names"
    )
    output = f"--output={tmp_path / 'output'}"
    for model in models.values():
        assert said(monkeypatch, evaluate, f"--model={model}", output) == refusal
    assert said(monkeypatch, export, f"--workdir={models['run']}", output) == refusal
    for model in (models["exported"], models["handle"]):
        assert said(monkeypatch, export, f"--saved_model={model}", "--format=tflite", output) == refusal
    assert not stranger.exists()
    assert not (tmp_path / "output").exists()


def test_nothing_else_runs_it(models, stranger, monkeypatch, tmp_path, config):
    """Not publishing, a handle, official.hub, predictions, load_model, weights, or a recipe that starts there."""
    ran = []
    monkeypatch.setattr(subprocess, "Popen", lambda *arguments, **more: ran.append(arguments))
    publish(models["exported"], tmp_path / "repository", "me/strange")
    assert find_published("me/strange/2", "model").is_dir()
    assert hub.load("me/strange/1").f(tf.ones([1, 2])).shape == [1, 2]
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"x": "a"}\n')
    for model in models.values():
        with pytest.raises(ValueError, match="must be "):
            predict.predict(str(model), str(rows), tmp_path / "answers.jsonl")
        for zoo in (vision, bert):
            with pytest.raises(ValueError, match="is not allowed: "):
                zoo.load_model(str(model))
        recipe = finetune.get_config(init=str(model))
        assert recipe.task == "vision.classification:ImageClassification"
        with contextlib.suppress(ValueError):
            read_weights(str(model))
    assert not ran
    assert not stranger.exists()


@pytest.mark.parametrize("config", ["strange:Mine"], indirect=True)
def test_a_module_that_the_user_names(models, stranger, monkeypatch, tmp_path):
    """It is imported then, and what it has must be a task all the same."""
    answer = said(monkeypatch, evaluate, f"--model={models['run']}", "--task_module=another", "--task_module=strange")
    assert answer.startswith("error: task='strange:Mine' is not allowed: ")
    assert "it lacks the methods create_model, " in answer
    assert stranger.exists()


def test_data_as_text():
    """Few classes one by one, more of them as a range, none where there are none, and only their number where nobody counted."""
    many = Split(1438, tuple("abcde"), (300, 280, 258, 290, 310))
    splits = dict(train=many, validation=Split(30, ("cat", "dog"), (10, 20)), test=Split(5), more=Split(9, ("cat", "dog")))
    assert data_text(splits, "images", train_settings(steps=1610, batch_size=64)).splitlines() == [
        "  train: 1,438 images of 5 classes, from 258 (class c) to 310 (class e)",
        "  validation: 30 images: 10 of class cat, 20 of class dog",
        "  test: 5 images",
        "  more: 9 images of 2 classes",
        "An epoch, one pass over the training data, is 22.5 steps; the run is 71.66 epochs.",
    ]
    assert data_text({}, "images", train_settings()) == ""
