"""The evaluation command, on a tiny run of the digits recipe: every kind of model, and one sentence for what is wrong."""

import json
import shutil
import sys
from unittest import mock

import numpy as np
import pytest

from official import evaluate, train
from official.checkpoints.weights import read_weights
from official.config import to_plain
from official.evaluation.classification import FILES as OF_CLASSES
from official.files.tables import read_table
from tests.official.tiny import DENSE, run_command, tiny_config

FILES = {"metrics.json", *OF_CLASSES}
EXPERT_FILES = {"expert_share_per_class.csv", "expert_share_per_class.png"}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, finished_run):
    """A copy of a run of seven steps, with checkpoints of steps 6 and 7."""
    return shutil.copytree(finished_run, tmp_path_factory.mktemp("run") / "workdir")


@pytest.fixture(scope="module")
def evaluated(workdir):
    """(what metrics.json holds, folder) of the run's newest checkpoint, by the command as a user gives it."""
    done = run_command([sys.executable, "-m", "official.evaluate", f"--model={workdir}"])
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    folder = workdir / "evaluation" / "validation"
    written = json.loads((folder / "metrics.json").read_text())
    assert f"Evaluating {workdir / 'checkpoints' / 'step-7'} on the validation split." in done.stdout
    assert "widenet_ti16_digits after 7 steps, 359 images of the validation split:" in done.stdout
    assert f"top-1                       {written['metrics']['top_1']:.4f}\n" in done.stdout
    for name in FILES:
        assert f"  {folder / name}: " in done.stdout
    return written, folder


def command(*arguments):
    """The command in this process."""
    with mock.patch.object(sys, "argv", ["official.evaluate", *map(str, arguments)]):
        evaluate.main()


def refusal(*arguments):
    """What the command says before it exits with an error, in one line."""
    with pytest.raises(SystemExit) as stopped:
        command(*arguments)
    assert isinstance(stopped.value.code, str)  # which Python prints, to exit with 1
    assert stopped.value.code.startswith("error: ")
    assert "\n" not in stopped.value.code
    return stopped.value.code


def shares_of(folder):
    """float [blocks * classes, E]"""
    rows = read_table(folder / "expert_share_per_class.csv")
    return np.array([[float(row[f"expert_{e}"]) for e in range(3)] for row in rows])


def confusions_of(folder):
    return np.array([list(row.values())[1:] for row in read_table(folder / "confusion_matrix.csv")], int)


@pytest.mark.smoke
@pytest.mark.train  # the set-up of all tests here
def test_metrics_are_those_of_the_run(workdir, evaluated):
    """Accuracy and loss are those that training ended with: 1e-6 for a mean in float32 against one in float64."""
    summary = json.loads((workdir / "summary.json").read_text())
    written, _ = evaluated
    assert written["metrics"]["top_1"] == pytest.approx(summary["metrics"]["val_accuracy"], abs=1e-6)
    assert written["metrics"]["loss"] == pytest.approx(summary["metrics"]["val_loss"], rel=1e-6)
    assert 0 < written["metrics"]["expected_calibration_error"] < 1
    assert written["metrics"]["top_1"] < written["metrics"]["top_5"] < 1


def test_metrics_json(workdir, evaluated):
    """Which model, on what, and all that is needed to repeat it."""
    written, _ = evaluated
    assert (written["model"], written["step"]) == ("widenet_ti16_digits", 7)
    assert written["parameters"] == json.loads((workdir / "summary.json").read_text())["parameters"]
    assert written["evaluated"] == str(workdir / "checkpoints" / "step-7")
    assert (written["split"], written["examples"], written["unit"]) == ("validation", 359, "images")
    assert written["precision"] == "float32"
    config = json.loads((workdir / "config.json").read_text())
    config["data"]["classes"] = list("0123456789")  # filled in by the task
    assert written["config"] == config
    assert {"versions", "git_commit", "git_modified"} <= set(written)


def test_files(evaluated):
    """A row a class, each image once; shares sum to 1 and, weighted by classes, are the load that the driver counted."""
    written, folder = evaluated
    assert {path.name for path in folder.iterdir()} == FILES
    confusions = read_table(folder / "confusion_matrix.csv")
    assert list(confusions[0]) == ["true class", *map(str, range(10))]
    assert [row["true class"] for row in confusions] == list(map(str, range(10)))
    matrix = confusions_of(folder)
    assert matrix.sum() == 359
    assert np.trace(matrix) / 359 == pytest.approx(written["metrics"]["top_1"], abs=1e-12)
    rows = read_table(folder / "expert_share_per_class.csv")
    assert [(row["block"], row["class"]) for row in rows] == [(str(b), str(c)) for b in range(2) for c in range(10)]
    shares = shares_of(folder)
    np.testing.assert_allclose(shares.sum(axis=-1), 1, atol=1e-12)
    load = [row for row in read_table(folder.parents[1] / "expert_load.csv") if row["split"] == "validation"][-2:]
    counted = np.array([[float(row[f"expert_{e}"]) for e in range(3)] for row in load])
    # Every image has as many tokens; 1e-6 for the load's float32.
    np.testing.assert_allclose(np.average(shares.reshape(2, 10, 3), axis=1, weights=matrix.sum(axis=1)), counted, atol=1e-6)


@pytest.mark.further
@pytest.mark.parametrize("model", ["saved_model", "checkpoints/step-7"])
def test_every_kind_of_model_agrees(workdir, evaluated, tmp_path, capsys, model):
    """Also in other batches; 1e-6 for float32 in another order."""
    output = tmp_path / "output"
    command(f"--model={workdir / model}", f"--output={output}", "--batch_size=50")
    said = capsys.readouterr().out
    written, (expected, folder) = json.loads((output / "metrics.json").read_text()), evaluated
    assert written["evaluated"] == str(workdir / model)
    assert written["step"] == (None if model == "saved_model" else 7)
    for name, value in expected["metrics"].items():
        assert written["metrics"][name] == pytest.approx(value, abs=1e-6), name
    np.testing.assert_array_equal(confusions_of(output), confusions_of(folder))
    np.testing.assert_allclose(shares_of(output), shares_of(folder), atol=1e-6)
    assert {path.name for path in output.iterdir()} == FILES
    assert str(output / "expert_share_per_class.png") in said


def test_several_models_in_a_table(monkeypatch, capsys):
    """A line each, of the metrics that all have, below their own reports. Each writes into a folder of its own."""
    facts = dict(step=None, unit="images", split="test", examples=1200)
    written = {
        "runs/one": dict(facts, model="vit", parameters=1_000_000, metrics={"top_1": 0.5, "loss": 0.25}),
        "runs/another": dict(facts, model="widenet", parameters=500, metrics={"top_1": 0.75, "f1": 0.1}),
    }
    monkeypatch.setattr(evaluate, "evaluate", lambda model, *_: (written[model], {}))
    command("--model=runs/one", "--model=runs/another")
    said = capsys.readouterr().out
    assert "widenet, 1,200 images of the test split:" in said
    assert [line.split() for line in said.splitlines()[-3:]] == [
        ["model", "parameters", "examples", "top_1"],
        ["runs/one", "1,000,000", "1,200", "0.5000"],
        ["runs/another", "500", "1,200", "0.7500"],
    ]
    command("--model=runs/one")
    assert "parameters" not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        command("--model=runs/one", "--model=runs/another", "--output=elsewhere")
    assert "--output is not allowed with several models" in capsys.readouterr().err


@pytest.mark.further
def test_an_earlier_checkpoint_and_another_split(workdir):
    """Step 6 has the validation loss of its row; the training split has the other 1,438 images."""
    row = next(row for row in read_table(workdir / "metrics.csv") if row["step"] == "6")
    written, _ = evaluate.evaluate(workdir / "checkpoints" / "step-6", output=workdir.parent / "step-6")
    assert written["step"] == 6
    assert written["metrics"]["loss"] == pytest.approx(float(row["val_loss"]), rel=1e-6)
    written, files = evaluate.evaluate(workdir / "checkpoints" / "step-6", "train", batch_size=719)
    assert (written["split"], written["examples"]) == ("train", 1438)
    assert {path.parent for path in files} == {workdir / "evaluation" / "train"}


@pytest.mark.further
def test_without_experts_in_half_precision_chosen_for_the_run(tmp_path, monkeypatch):
    """Evaluated in the precision that "auto" chose when the run began, a moved export too; there is no file on experts."""
    monkeypatch.setattr(train, "fastest_precision", lambda: "mixed_bfloat16")
    summary = train.run(tiny_config(DENSE, steps=2, eval_every=2, precision="auto"), tmp_path / "run")
    shutil.move(tmp_path / "run" / "saved_model", tmp_path / "moved")
    for model, output in (("run", "run/evaluation/validation"), ("moved", "moved_evaluation/validation")):
        written, files = evaluate.evaluate(tmp_path / model)
        folder = tmp_path / output
        assert files.keys() == {folder / name for name in FILES - EXPERT_FILES}
        assert written["precision"] == "mixed_bfloat16"
        # In float32 the loss differs in the third decimal.
        assert written["metrics"]["loss"] == pytest.approx(summary["metrics"]["val_loss"], rel=1e-5)
        assert {path.name for path in folder.iterdir()} == FILES - EXPERT_FILES


@pytest.mark.further
def test_a_saved_model_of_other_variables(workdir, evaluated, tmp_path, capsys):
    """Its metrics are its signature's; on experts it says which variable there is not, and writes nothing."""
    shutil.copytree(workdir / "saved_model", tmp_path / "model")
    path = tmp_path / "model" / "assets.extra" / "config.json"
    config = json.loads(path.read_text())
    config["model"]["expert_dim"] = 33
    path.write_text(json.dumps(config))
    command(f"--model={tmp_path / 'model'}", f"--output={tmp_path / 'output'}")
    sentence = "has no variable encoder/moe_0/expert_0/kernel_in:0 [16, 33] of its config's model.\n"
    assert f"No files on experts: {tmp_path / 'model'} {sentence}" in capsys.readouterr().out
    written = json.loads((tmp_path / "output" / "metrics.json").read_text())
    assert written["metrics"]["loss"] == pytest.approx(evaluated[0]["metrics"]["loss"], abs=1e-6)
    assert {path.name for path in (tmp_path / "output").iterdir()} == FILES - EXPERT_FILES


def test_exported_config(workdir):
    config = json.loads((workdir / "saved_model" / "assets.extra" / "config.json").read_text())
    expected = tiny_config(checkpoint_every=2)
    expected.data.classes = tuple("0123456789")
    assert config == to_plain(expected)


def test_no_model(workdir, tmp_path):
    """Nothing there, an empty folder, a checkpoint that is not there: the path, and what it should be."""
    for path in (tmp_path / "nowhere", tmp_path, workdir / "checkpoints" / "step-5", workdir / "metrics.csv"):
        assert refusal(f"--model={path}").startswith(
            f"error: --model={str(path)!r} is not allowed: it must be the workdir of a run"
        )
    assert not list(tmp_path.iterdir())


def test_models_without_a_config(workdir, tmp_path):
    """What was trained, and so on what data, is not known."""
    shutil.copytree(workdir / "checkpoints", tmp_path / "checkpoints")
    assert "holds no config.json" in refusal(f"--model={tmp_path}")
    shutil.copytree(workdir / "saved_model", tmp_path / "model", ignore=shutil.ignore_patterns("assets.extra"))
    assert "without assets.extra/config.json" in refusal(f"--model={tmp_path / 'model'}")


@pytest.mark.further
def test_a_checkpoint_that_does_not_fit_or_cannot_be_read(workdir, tmp_path):
    """A weight of another shape, a weight that is missing, a file that is missing: refused, and nothing is written."""
    copy = shutil.copytree(workdir, tmp_path / "run", ignore=shutil.ignore_patterns("evaluation", "saved_model"))
    config = json.loads((copy / "config.json").read_text())

    def change(setting, value):
        (copy / "config.json").write_text(json.dumps({**config, "model": {**config["model"], setting: value}}))

    misfit = f"error: {copy / 'checkpoints' / 'step-7'} does not fit this config's model: "
    change("attention_groups", 2)
    assert refusal(f"--model={copy}").startswith(
        misfit + "it lacks encoder/attention_1/key/bias:0, encoder/attention_1/key/kernel:0"
    )
    # As a user sees it: TensorFlow's own words about it are held back.
    change("width", 18)
    done = run_command([sys.executable, "-m", "official.evaluate", f"--model={copy}"])
    assert done.returncode == 1
    assert done.stderr.startswith(misfit)
    assert len(done.stderr.splitlines()) == 1
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "checkpoints" / "step-7.data-00000-of-00001").unlink()
    assert f"{copy / 'checkpoints' / 'step-7'} cannot be read" in refusal(f"--model={copy}")
    assert not (copy / "evaluation").exists()


def test_refused_settings(workdir, tmp_path):
    """A split that there is not, an impossible batch, a folder that is a file."""
    said = refusal(f"--model={workdir}", "--split=test", f"--output={tmp_path / 'output'}")
    assert said == "error: 'test' is not a split of digits: it must be one of train, validation"
    assert not (tmp_path / "output").exists()
    assert "--batch_size=0 is not allowed" in refusal(f"--model={workdir}", "--batch_size=0")
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in refusal(f"--model={workdir}", f"--output={tmp_path / 'file'}")


@pytest.mark.further
def test_files_of_something_else(workdir, tmp_path):
    """Nothing of theirs is touched, whatever their metrics.json holds; files of other names do not matter."""
    for name, content in (("confusion_matrix.csv", "mine"), ("metrics.json", '{"metrics": {}}'), ("metrics.json", "[]")):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        (folder / name).write_text(content)
        said = refusal(f"--model={workdir}", f"--output={folder}")
        assert said.startswith(f"error: --output={folder} is not allowed: it must be a new path or ")
        assert said.endswith(f", and {name} may be of something else")
        assert {path.name: path.read_text() for path in folder.iterdir()} == {name: content}
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "letter.txt").write_text("mine")
    for _ in range(2):
        command(f"--model={workdir}", f"--output={tmp_path / 'notes'}")
    assert (tmp_path / "notes" / "letter.txt").read_text() == "mine"


def test_data_dir_of_a_recipe(workdir, tmp_path):
    """It replaces the recipe's: a data set that is not there is looked for in it; a recipe without one refuses it."""
    copy = shutil.copytree(workdir, tmp_path / "run", ignore=shutil.ignore_patterns("evaluation", "saved_model"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "data": {**config["data"], "name": "fashion_mnist"}}))
    assert str(tmp_path / "elsewhere") in refusal(f"--model={copy}", f"--data_dir={tmp_path / 'elsewhere'}")
    del config["data"]["dir"]
    (copy / "config.json").write_text(json.dumps(config))
    assert "--data_dir=here is not allowed" in refusal(f"--model={copy}", "--data_dir=here")


@pytest.mark.further
def test_settings_of_the_data(workdir, tmp_path):
    """They replace the recipe's and are in metrics.json: text where the recipe has text, a literal of its type elsewhere."""
    output = tmp_path / "output"
    changed = ("--config.data.validation_split=train", "--config.data.eval_crop=0.75")
    command(f"--model={workdir}", f"--output={output}", *changed)
    written = json.loads((output / "metrics.json").read_text())
    assert written["examples"] == 1438
    assert (written["config"]["data"]["validation_split"], written["config"]["data"]["eval_crop"]) == ("train", 0.75)
    assert refusal(f"--model={workdir}", "--config.data.crops=1").startswith(
        "error: --config.data.crops=1 is not allowed: the recipe's data settings are bad_examples, "
    )
    for value in ("all", "'all'"):
        assert f"--config.data.eval_crop={value} is not allowed: the recipe has 0.0" in refusal(
            f"--model={workdir}", f"--config.data.eval_crop={value}"
        )
    with pytest.raises(SystemExit) as stopped:
        command(f"--model={workdir}", "--config.train.batch_size=3")
    assert stopped.value.code == 2


@pytest.mark.train
def test_averages_are_what_their_run_evaluates(tmp_path):
    """A run with averages of its weights: checkpoint, SavedModel and summary agree, and the weights themselves differ.

    1e-6: the same operations in batches of the same size.
    """
    summary = train.run(tiny_config(ema_decay=0.9, steps=4), tmp_path / "run")
    of_checkpoint, _ = evaluate.evaluate(tmp_path / "run")
    of_export, _ = evaluate.evaluate(tmp_path / "run" / "saved_model")
    of_weights, _ = evaluate.evaluate(tmp_path / "run", output=tmp_path / "weights", averaged=False)
    expected = summary["metrics"]["val_loss"]
    assert of_checkpoint["metrics"]["loss"] == pytest.approx(expected, abs=1e-6)
    assert of_export["metrics"]["loss"] == pytest.approx(expected, abs=1e-6)
    assert abs(of_weights["metrics"]["loss"] - expected) > 1e-4
    averages, weights = (read_weights(tmp_path / "run", averaged=which) for which in (True, False))
    assert averages.keys() == weights.keys()
    assert not np.array_equal(averages["head/kernel"], weights["head/kernel"])
