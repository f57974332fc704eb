"""A task of strings, with dicts in and out, through the driver, the evaluation and the export."""

import json
import shutil
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from official import evaluate, train
from official.evaluation.runner import run_model, write_evaluation
from official.files.tables import read_table
from tests.official.words import COLORS, Words, WordsEvaluation, words_config, write_vocabulary

MODULE = "tests.official.words"
MEASURED = {"train.log_norms": True, "train.profile_steps": "2,3"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(workdir, task) of a run; its vocabulary is gone since."""
    folder = tmp_path_factory.mktemp("words")
    vocabulary = write_vocabulary(folder / "vocabulary.txt")
    with mock.patch.object(train, "peak_flops", lambda precision: 1e10):  # which takes seconds to measure
        train.run(words_config(vocabulary, MEASURED), folder / "run")
    task = Words(words_config(vocabulary))
    return folder / "run", task, vocabulary


def test_summary(finished, capsys):
    """Metrics under their outputs' names, and both rates; what the recipe left open is in none of the settings that it had."""
    workdir, _, vocabulary = finished
    summary = train.run(words_config(vocabulary, MEASURED), workdir)  # finished: not done again
    assert {"val_loss", "val_color_loss", "val_length_loss", "val_color_accuracy"} <= set(summary["metrics"])
    rows = read_table(workdir / "metrics.csv")
    for row in rows:
        # Rounded to one digit after the point, both of them.
        assert float(row["tokens_per_second"]) == pytest.approx(3 * float(row["texts_per_second"]), abs=0.25)
    assert summary["tokens_per_second"] == np.median([float(row["tokens_per_second"]) for row in rows])
    said = capsys.readouterr().out
    assert f"{summary['texts_per_second']:,.0f} texts and {summary['tokens_per_second']:,.0f} tokens a second in training" in said
    assert json.loads((workdir / "config.json").read_text())["model"]["words"] is None
    assert summary["config"]["model"]["words"] == 7


def test_norms_and_profile(finished):
    """In the table, for training alone; the utilisation goes with the speed. The profile is where TensorBoard looks for it."""
    workdir, _, _ = finished
    rows = read_table(workdir / "metrics.csv")
    assert not [name for name in rows[0] if name.startswith("val_") and name.endswith(("norm", "to_weight", "utilisation"))]
    for row in rows:
        assert float(row["gradient_norm"]) > 0
        assert 0 < float(row["update_to_weight"]) < 1
        assert float(row["flop_utilisation"]) == pytest.approx(3 * 1e6 * float(row["texts_per_second"]) / 1e10)
    (profile,) = (workdir / "tensorboard/plugins/profile").glob("*/*.xplane.pb")
    assert profile.stat().st_size > 0


def test_epochs_of_a_task_that_does_not_describe_its_data(finished, tmp_path):
    """One sentence that names the setting to use, and no folder."""
    config = words_config(finished[2], {"train.steps": 0, "train.epochs": 2.0})
    with pytest.raises(ValueError, match=r"^train\.epochs=2\.0 is not allowed: it must be 0, with train\.steps, since"):
        train.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("setting, allowed", [(dict(accumulate=2), 1), (dict(recompute=True), False)])
def test_what_only_models_of_widenet_do(tmp_path, setting, allowed):
    """Refused before a folder is made."""
    ((name, value),) = setting.items()
    with pytest.raises(ValueError, match=f"^train.{name}={value} is not allowed: it must be {allowed} for models other than"):
        train.run(words_config(write_vocabulary(tmp_path / "vocabulary.txt"), **setting), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_evaluation(finished):
    """Of the checkpoint: reduced outputs, labels of its own, its files, its metrics, those of the run."""
    workdir, task, _ = finished
    written, files = evaluate.evaluate(workdir, task_modules=[MODULE])
    assert written["examples"] == 22
    assert written["unit"] == "texts"
    summary = json.loads((workdir / "summary.json").read_text())
    assert written["metrics"] == {"accuracy": pytest.approx(summary["metrics"]["val_color_accuracy"], abs=1e-6)}
    folder = workdir / "evaluation" / "validation"
    assert list(files) == [folder / "metrics.json", folder / "answers.csv"]
    lines = (folder / "answers.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == task.texts


def test_nothing_stays_of_an_earlier_evaluation(tmp_path):
    """But for what is not of an evaluation."""
    for name in ("answers.csv", "metrics.json", "of the user.txt"):
        (tmp_path / name).write_text("old")

    class Silent(WordsEvaluation):
        def write(self, folder):
            assert [path.name for path in folder.iterdir()] == ["of the user.txt"]
            return {}

    write_evaluation(tmp_path, Silent(COLORS))
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.json", "of the user.txt"}


def test_no_examples():
    empty = tf.data.Dataset.from_tensor_slices(([0.0], [0.0])).take(0).batch(1)
    with pytest.raises(ValueError, match="the split has no examples"):
        run_model(lambda inputs: ({"color": inputs}, None), empty, WordsEvaluation(COLORS))


def test_export(finished, tmp_path):
    """Moved, and without its vocabulary: raw strings of any number and length, ids as well, evaluated as its checkpoint."""
    workdir, _, vocabulary = finished
    expected = evaluate.evaluate(workdir, task_modules=[MODULE])[0]["metrics"]
    moved = tmp_path / "elsewhere" / "model"
    shutil.copytree(workdir / "saved_model", moved)
    hidden = vocabulary.rename(vocabulary.with_name("gone"))
    try:
        written, _ = evaluate.evaluate(moved, task_modules=[MODULE])
    finally:
        hidden.rename(vocabulary)
    assert written["metrics"] == expected
    assert (moved / "assets.extra" / "words.txt").read_text() == vocabulary.read_text()
    config = json.loads((moved / "assets.extra" / "config.json").read_text())
    assert config["data"]["vocabulary"] == "assets.extra/words.txt"
    assert config["model"]["words"] == 7
    assert written["config"]["data"]["vocabulary"] == str(moved / "assets.extra" / "words.txt")

    loaded = tf.saved_model.load(str(moved))
    assert set(loaded.signatures) == {"serve", "ids", "serving_default"}
    texts = tf.constant(["one red", "green", "two two two blue four one nothing"])
    served = loaded.signatures["serving_default"](text=texts)
    assert set(served) == {"color"}
    ids = tf.constant([[4, 1], [2, 0]])
    by_ids = loaded.signatures["ids"](ids=ids, mask=tf.constant([[1, 1], [1, 0]]))
    assert set(by_ids) == {"color", "length"}
    # The first two texts and the same ids: padding counts nowhere. 1e-6 is for float32.
    np.testing.assert_allclose(served["color"][:2], by_ids["color"], atol=1e-6)
    assert served["color"].shape == (3, 3)


def test_a_model_without_the_endpoint(finished, tmp_path):
    """What it has is told."""
    workdir, _, _ = finished
    shutil.copytree(workdir / "saved_model", tmp_path / "model")
    path = tmp_path / "model" / "assets.extra" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "task": "tests.official.test_text_task:Renamed"}))
    with pytest.raises(ValueError, match=r"has no signature 'tokens', which is to be evaluated; it has .*serving_default"):
        evaluate.evaluate(tmp_path / "model", task_modules=[__name__])


class Renamed(Words):
    evaluated_endpoint = "tokens"


def test_goes_on(finished, tmp_path, capsys):
    """What the task filled in is no change of the recipe."""
    _, _, vocabulary = finished
    config = words_config(vocabulary)
    run = train.Run(config, tmp_path)
    run.checkpoints.save(2, 0.0)
    assert config.model.words is None
    assert train.finished_summary(config, tmp_path) is None
    assert train.Run(config, tmp_path).first_step == 2
    assert "Settings changed" not in capsys.readouterr().out
