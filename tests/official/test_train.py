"""What a run does and leaves behind; how its steps are divided into calls of fit."""

import json
import math
import shutil
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.plugins.hparams import plugin_data_pb2

import official
from official import train
from official.checkpoints.weights import read_weights
from official.config import to_plain
from official.evaluation import classification
from official.files.summary import versions
from official.files.tables import read_table
from official.training.callbacks import NonFiniteGuard
from official.training.devices import peak_memory
from tests.elsewhere import run_elsewhere
from tests.official.events import events
from tests.official.tiny import DENSE, files_and_digests, tiny_config, without_export

EPOCH_ENDS = [3, 6, 7]
BATCH_LOGS = []  # the losses that callbacks of the run below are handed, step by step


class TestFitCalls:
    """Properties over many runs, and one example by hand."""

    @pytest.mark.parametrize("every", [1, 2, 3, 7, 10, 25])
    @pytest.mark.parametrize("steps", [1, 2, 6, 7, 20, 21])
    def test_every_step_once(self, steps, every):
        """From any first step: consecutive calls, each starting at its own step, to the last one and not beyond."""
        for first in range(steps + 2):
            step = first
            for start, first_epoch, last_epoch, length in train.fit_calls(first, steps, every):
                assert start == step
                assert length >= 1
                assert last_epoch > first_epoch
                for epoch in range(first_epoch, last_epoch):
                    assert epoch == step // every
                    step += length
                    # An epoch ends at a multiple of `every` or with the run, and contains no other multiple.
                    assert step == min((epoch + 1) * every, steps)
            assert step == max(first, steps)

    def test_few_calls(self):
        """Whole epochs are one call: at most a part before them and a part after."""
        for first in range(30):
            assert len(train.fit_calls(first, 100, 10)) <= 2
            assert len(train.fit_calls(first, 95, 10)) <= 3

    def test_by_hand(self):
        assert train.fit_calls(0, 7, 3) == [(0, 0, 2, 3), (6, 2, 3, 1)]
        assert train.fit_calls(4, 12, 3) == [(4, 1, 2, 2), (6, 2, 4, 3)]
        assert train.fit_calls(7, 7, 3) == []
        assert train.fit_calls(1, 2, 10) == [(1, 0, 1, 1)]


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """A run of seven steps with an evaluation every three, before its training: (workdir, config, Run)."""
    workdir = tmp_path_factory.mktemp("run") / "new" / "workdir"
    config = tiny_config(checkpoint_every=2)
    return workdir, config, train.Run(config, workdir)


def test_files_before_training(ready):
    """A run that is stopped while it compiles can be recognized, and leaves nothing else."""
    workdir, config, _ = ready
    assert [path.name for path in workdir.iterdir()] == ["config.json"]
    assert json.loads((workdir / "config.json").read_text()) == to_plain(config)


@pytest.fixture(scope="module")
def finished(ready, shared_run):
    """That run after its training: (workdir, config, Run, summary). It is `finished_run`, too, unless there is one already."""
    workdir, config, run = ready
    on_train_batch_end = NonFiniteGuard.on_train_batch_end

    def record(self, batch, logs=None):
        BATCH_LOGS.append(logs["loss"])
        on_train_batch_end(self, batch, logs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NonFiniteGuard, "on_train_batch_end", record)
        summary = run.train()
    shared_run("finished_run", lambda folder: shutil.copytree(workdir, folder))
    return workdir, config, run, summary


@pytest.mark.train
@pytest.mark.smoke
def test_files(finished):
    """Everything the documentation lists, and nothing half-written."""
    workdir = finished[0]
    assert {path.name for path in workdir.iterdir()} == {
        "config.json",
        "metrics.csv",
        "expert_load.csv",
        "tensorboard",
        "checkpoints",
        "saved_model",
        "curves.png",
        "summary.json",
    }


def test_config_json(finished):
    """The config as it was, with what the command line had changed."""
    workdir, config, _, _ = finished
    written = json.loads((workdir / "config.json").read_text())
    assert written == to_plain(config)
    assert written["model"]["width"] == 16
    assert written["train"]["steps"] == 7


def test_metrics_csv(finished):
    """A row an epoch with its last step; the learning rate is the schedule's, by hand; all numbers are finite."""
    rows = read_table(finished[0] / "metrics.csv")
    assert [int(row["step"]) for row in rows] == EPOCH_ENDS
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    metrics = {"loss", "accuracy", "balance", "dropped"}
    assert set(rows[0]) == {"step", "epoch", "lr", "images_per_second", *metrics, *(f"val_{name}" for name in metrics)}
    peak = finished[1].train.lr
    for row in rows:
        assert all(math.isfinite(float(value)) for value in row.values())
        expected = peak * 0.5 * (1 + math.cos(math.pi * (int(row["step"]) - 2) / 5))
        assert float(row["lr"]) == pytest.approx(expected, abs=1e-6)
        assert 0 <= float(row["val_accuracy"]) <= 1
        assert float(row["images_per_second"]) > 0


def test_metrics_are_the_model_s(finished):
    """The last row's validation metrics are those of the model that the run ends with; 1e-5 as float32 sums."""
    workdir, _, run, _ = finished
    images, one_hot = (np.concatenate(part) for part in zip(*run.task.validation_dataset(), strict=True))
    labels = one_hot.argmax(axis=1)
    logits = run.model(images).numpy().astype(np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    likelihood = shifted[np.arange(len(labels)), labels] - np.log(np.exp(shifted).sum(axis=1))
    last = read_table(workdir / "metrics.csv")[-1]
    assert float(last["val_loss"]) == pytest.approx(-likelihood.mean(), rel=1e-5)
    assert float(last["val_accuracy"]) == pytest.approx(np.mean(logits.argmax(axis=1) == labels), abs=1e-6)


def test_expert_load_csv(finished):
    """For each epoch, split and block one row, whose shares and dropped share sum to 1 (1e-5: float32 divisions)."""
    workdir = finished[0]
    rows = read_table(workdir / "expert_load.csv")
    places = [(int(row["step"]), row["split"], int(row["block"])) for row in rows]
    assert sorted(places) == sorted(
        (step, split, block) for step in EPOCH_ENDS for split in ("train", "validation") for block in (0, 1)
    )
    for row in rows:
        shares = [float(row[f"expert_{e}"]) for e in range(3)]
        assert sum(shares) + float(row["dropped"]) == pytest.approx(1, abs=1e-5)
        assert min(shares) >= 0
        # A token's two choices differ: no expert can have more than half.
        assert max(shares) <= 0.5 + 1e-5
        if row["split"] == "validation":
            assert float(row["dropped"]) == 0
    metrics = {int(row["step"]): row for row in read_table(workdir / "metrics.csv")}
    for step in EPOCH_ENDS:
        for split, prefix in (("train", ""), ("validation", "val_")):
            blocks = [row for row in rows if int(row["step"]) == step and row["split"] == split]
            for key in ("balance", "dropped"):
                mean = np.mean([float(row[key]) for row in blocks])
                assert float(metrics[step][prefix + key]) == pytest.approx(mean, abs=1e-5)


def test_tensorboard(finished):
    """Of both splits all that is in the tables, at the run's own steps, and beside them config and pictures; each of it once."""
    workdir, config, _, _ = finished
    found = events(workdir)
    metrics = {"loss", "accuracy", "balance", "dropped"}
    load = {f"expert_load/block_{b}/{key}" for b in (0, 1) for key in ("expert_0", "expert_1", "expert_2", "dropped", "balance")}
    rates = {"lr", "images_per_second"}
    scalars = {("train", tag) for tag in metrics | load | rates} | {("validation", tag) for tag in metrics | load}
    others = {"config": [0], "_hparams_/session_start_info": [0], "curves": [7], "confusion_matrix": [7]}
    assert found.keys() == scalars | {("tensorboard", tag) for tag in others}
    for place in scalars:
        assert [step for step, _ in found[place]] == EPOCH_ENDS, place
    for tag, steps in others.items():
        assert [step for step, _ in found["tensorboard", tag]] == steps
    rows = read_table(workdir / "metrics.csv")
    for place, column in ((("train", "lr"), "lr"), (("validation", "loss"), "val_loss")):
        written = [float(tf.make_ndarray(value.tensor)) for _, value in found[place]]
        np.testing.assert_allclose(written, [float(row[column]) for row in rows], rtol=1e-6)
    told = tf.make_ndarray(found["tensorboard", "config"][0][1].tensor).item().decode()
    assert json.loads(told) == {**to_plain(config), "data": json.loads(told)["data"]}
    assert all(line.startswith("    ") for line in told.splitlines())  # which Markdown shows as it is
    content = found["tensorboard", "_hparams_/session_start_info"][0][1].metadata.plugin_data.content
    hyperparameters = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert hyperparameters["train.steps"].number_value == 7
    assert hyperparameters["model.activation"].string_value == "gelu"
    assert hyperparameters["model.renormalize"].bool_value is False
    width, height, picture = tf.make_ndarray(found["tensorboard", "curves"][0][1].tensor)
    assert int(width) >= 1200
    np.testing.assert_array_equal(tf.io.decode_png(picture), tf.io.decode_png((workdir / "curves.png").read_bytes(), channels=3))


def test_confusion_matrix_in_tensorboard(finished, monkeypatch):
    """It is that of the exported model on the whole validation split, whose accuracy the summary has."""
    _, _, run, summary = finished
    drawn = []
    monkeypatch.setattr(classification, "draw_confusion_matrix", lambda path, *given: drawn.append(given))
    part = run.task.part("model")
    part.model.set_weights(run.model.get_weights())
    assert run.task.pictures(part) == {"confusion_matrix": b""}
    ((matrix, names, title),) = drawn
    assert matrix.sum() == 359
    assert matrix.trace() / matrix.sum() == pytest.approx(summary["metrics"]["val_accuracy"], abs=1e-6)
    assert names == [str(digit) for digit in range(10)]
    assert title == "widenet_ti16_digits, validation split"


def test_checkpoints(finished):
    """As many stay as asked for, the last one of the last step, with everything a run needs to go on."""
    workdir, _, run, _ = finished
    names = {path.name for path in (workdir / "checkpoints").glob("*.index")}
    assert names == {"step-6.index", "step-7.index"}
    reader = tf.train.load_checkpoint(str(workdir / "checkpoints"))
    assert reader.get_tensor("step/.ATTRIBUTES/VARIABLE_VALUE") == 7
    assert reader.get_tensor("optimizer/iter/.ATTRIBUTES/VARIABLE_VALUE") == 7
    assert reader.get_tensor("seconds/.ATTRIBUTES/VARIABLE_VALUE") > 0
    slots = [name for name in reader.get_variable_to_shape_map() if ".OPTIMIZER_SLOT" in name]
    assert len(slots) == 2 * len(run.model.trainable_weights)


def test_checkpoint_restores_the_model(finished):
    """A new Run in the same folder has the very weights and moments, bit by bit, and the step to go on from."""
    workdir, config, run, _ = finished
    again = train.Run(config, workdir)
    assert again.first_step == 7
    for restored, trained in ((again.model.weights, run.model.weights), (variables(again), variables(run))):
        for weight, expected in zip(restored, trained, strict=True):
            np.testing.assert_array_equal(weight, expected, err_msg=expected.name)


def variables(run):
    return run.model.optimizer.variables()


LOADER = """
import numpy as np
import tensorflow as tf

loaded = tf.saved_model.load(sys.argv[1])
images = np.load(sys.argv[2])
signature = loaded.signatures["serve"]
(name,) = signature.structured_input_signature[1]
outputs = [loaded.serve(images), *signature(**{name: images}).values(), loaded.serve(images[:1])]
np.savez(sys.argv[3], *outputs)
print(json.dumps(name))
"""


@pytest.mark.further
def test_saved_model(finished, tmp_path):
    """A process that has nothing of ours loads the export and gets the model's outputs, for any batch size.

    The exported graph may fuse operations that are apart in eager mode, hence 1e-5.
    """
    workdir, _, run, _ = finished
    images = np.random.default_rng(0).uniform(-1, 1, (5, 8, 8, 1)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    assert run_elsewhere(LOADER, tmp_path, workdir / "saved_model", tmp_path / "images.npy", tmp_path / "outputs.npz") == "images"
    expected = run.model(images).numpy()
    whole, by_signature, one = np.load(tmp_path / "outputs.npz").values()
    np.testing.assert_allclose(whole, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(by_signature, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(one, expected[:1], rtol=0, atol=1e-5)


def test_curves(finished):
    """A PNG whose every chunk is whole, as large as a page and with more in it than its background."""
    data = (finished[0] / "curves.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    position, kinds = 8, []
    while position < len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        body = data[position + 8 : position + 8 + length]
        (checksum,) = struct.unpack(">I", data[position + 8 + length : position + 12 + length])
        assert checksum == zlib.crc32(kind + body)
        kinds.append(kind)
        position += 12 + length
    assert (kinds[0], kinds[-1]) == (b"IHDR", b"IEND")
    picture = tf.io.decode_png(data, channels=3).numpy()
    assert picture.shape[0] > 300
    assert picture.shape[1] >= 1200
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20


def test_summary(finished):
    """Every documented field, each against where its value comes from."""
    workdir, config, run, summary = finished
    assert json.loads((workdir / "summary.json").read_text()) == summary
    assert set(summary) == {
        "model",
        "parameters",
        "step",
        "exported_step",
        "metrics",
        "unit",
        "images_per_second",
        "wall_seconds",
        "peak_memory_bytes",
        "precision",
        "strategy",
        "replicas",
        "training_examples",
        "bad_examples",
        "config",
        "versions",
        "git_commit",
        "git_modified",
    }
    assert summary["exported_step"] == summary["step"]
    assert summary["model"] == "widenet_ti16_digits"
    assert summary["parameters"] == sum(math.prod(weight.shape) for weight in run.model.weights)
    assert summary["step"] == 7
    assert summary["unit"] == "images"
    assert summary["training_examples"] == 1438
    assert (summary["precision"], summary["strategy"], summary["replicas"]) == ("float32", "default", 1)
    given = to_plain(config)
    assert summary["config"] == {**given, "data": {**given["data"], "classes": [str(digit) for digit in range(10)]}}
    last = read_table(workdir / "metrics.csv")[-1]
    assert summary["metrics"] == {key: float(value) for key, value in last.items() if key != "step"}
    assert summary["wall_seconds"] > 0
    assert 10**8 < summary["peak_memory_bytes"] <= peak_memory()
    assert summary["images_per_second"] > 0
    assert summary["versions"] == versions()


def test_no_step_is_waited_for(finished):
    """Callbacks get tensors, not numbers: one callback that asks Keras for numbers makes it wait for the device at every step."""
    assert len(BATCH_LOGS) == 7
    assert all(tf.is_tensor(loss) for loss in BATCH_LOGS)


def test_same_run_again(finished, capsys):
    """It says that it is finished and where things are, and changes no file."""
    workdir, config, _, summary = finished
    before = files_and_digests(workdir)
    capsys.readouterr()
    assert train.run(config, workdir) == summary
    said = capsys.readouterr().out
    assert "finished run of 7 steps" in said
    assert f"rm -r {workdir}" in said
    assert str(workdir / "saved_model") in said
    assert files_and_digests(workdir) == before


@pytest.mark.further
def test_finished_but_for_the_summary(finished, tmp_path):
    """Killed during the export: the same command does what is left, trains nothing and tells the time of both sessions."""
    workdir, config, trained, first = finished
    left = shutil.copytree(workdir, tmp_path / "run", ignore=shutil.ignore_patterns("summary.json", "saved_model"))
    before = (left / "metrics.csv").read_text()
    run = train.Run(config, left)
    summary = run.train()
    for weight, expected in zip(run.model.weights, trained.model.weights, strict=True):
        np.testing.assert_array_equal(weight, expected, err_msg=expected.name)
    assert (left / "metrics.csv").read_text() == before
    assert summary["metrics"] == first["metrics"]
    # The first session's time up to its last checkpoint, and at least some of the second's.
    reader = tf.train.load_checkpoint(str(left / "checkpoints"))
    assert summary["wall_seconds"] >= round(float(reader.get_tensor("seconds/.ATTRIBUTES/VARIABLE_VALUE")), 1)
    assert json.loads((left / "summary.json").read_text()) == summary
    expected, found = read_weights(workdir / "saved_model"), read_weights(left / "saved_model")
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        np.testing.assert_array_equal(found[name], weight, err_msg=name)


@pytest.mark.parametrize(
    "setting, value",
    [
        ("model.depth", 3),
        ("model.capacity_factor", None),
        ("data.rotate", 1.0),
        ("train.seed", 1),
        ("train.batch_size", 8),
    ],
)
def test_another_run_in_the_same_workdir(finished, setting, value):
    """Refused by setting, old and new value, before anything is written over."""
    workdir, config, _, _ = finished
    before = files_and_digests(workdir)
    other = tiny_config({setting: value}, checkpoint_every=2)
    old = to_plain(config)[setting.split(".")[0]][setting.split(".")[1]]
    with pytest.raises(ValueError, match="holds a run with other settings") as error:
        train.run(other, workdir)
    assert f"{setting}: {old!r} -> {value!r}" in str(error.value)
    assert str(workdir) in str(error.value)
    assert files_and_digests(workdir) == before


def test_moe_blocks_as_tuple_is_no_change(tmp_path):
    """JSON has no tuples: the same config must not look like another one when the run goes on."""
    config = tiny_config({"model.moe_blocks": (1,)}, steps=1, eval_every=1)
    (tmp_path / "config.json").write_text(json.dumps(to_plain(config)))
    assert train.finished_summary(config, tmp_path) is None


@pytest.mark.further
def test_run_without_experts(dense_run):
    """A dense model has no expert load: neither table nor panels, and everything else as usual."""
    summary = json.loads((dense_run / "summary.json").read_text())
    assert "val_loss" in summary["metrics"]
    assert "val_balance" not in summary["metrics"]
    assert not (dense_run / "expert_load.csv").exists()
    assert (dense_run / "curves.png").exists()
    assert (dense_run / "saved_model" / "saved_model.pb").exists()


@pytest.mark.further
def test_mixed_precision(tmp_path):
    """It trains, evaluates and exports; weights and outputs are float32. (Tests of strategies run in float64.)"""
    run = train.Run(tiny_config(DENSE, steps=2, eval_every=2, precision="mixed_bfloat16"), tmp_path)
    summary = run.train()
    assert math.isfinite(summary["metrics"]["val_loss"])
    assert {weight.dtype for weight in run.model.weights} == {tf.float32}
    exported = tf.saved_model.load(str(tmp_path / "saved_model"))
    assert exported.serve(np.zeros((2, 8, 8, 1), np.float32)).dtype == tf.float32


@pytest.mark.further
def test_precision_auto(tmp_path, monkeypatch, capsys):
    """It takes the faster one when the run begins, and keeps it where the run goes on, even on a slower machine."""
    monkeypatch.setattr(train, "fastest_precision", lambda: "mixed_bfloat16")
    config = tiny_config(DENSE, steps=2, eval_every=1, precision="auto")
    run = train.Run(config, tmp_path)
    assert run.model.get_layer("encoder").compute_dtype == "bfloat16"
    monkeypatch.setattr(train, "fastest_precision", lambda: "float32")
    with without_export():
        summary = train.run(config, tmp_path)
    assert summary["precision"] == "mixed_bfloat16"
    assert summary["config"]["train"]["precision"] == "auto"
    assert ", mixed_bfloat16, on one device" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"train\.precision='auto' is not allowed: it must be named where .*multi_worker"):
        train.chosen_precision(tiny_config(precision="auto", strategy="multi_worker").train, tmp_path)


def test_refusals_come_first(tmp_path):
    """A wrong setting leaves no folder behind."""
    workdir = tmp_path / "new"
    for settings, message in (
        ({"train.steps": 0}, "train.steps=0 is not allowed"),
        ({"train.precision": "half"}, "train.precision='half' is not allowed"),
        ({"model.heads": 5}, "heads=5 is not allowed"),
        ({"model.channels": 3}, "model.channels=3 is not allowed"),
        ({"data.name": "mnist"}, "data.name='mnist' is not allowed"),
        ({"train.frozen": ("encodr",)}, "train.frozen=('encodr',) is not allowed"),
        ({"task": "vision.classification:Nothing"}, "task='vision.classification:Nothing' is not allowed"),
        ({"task": "vision.classification"}, "task='vision.classification' is not allowed"),
        ({"task": "nowhere:Task"}, "task='nowhere:Task' is not allowed"),
    ):
        with pytest.raises(ValueError) as error:
            train.run(tiny_config(settings), workdir)
        assert message in str(error.value)
        assert not workdir.exists()


@pytest.mark.further
def test_official_names_no_model():
    """The driver is for any task: importing it brings no model along."""
    code = "import sys, official.train; print([name for name in ('vision', 'widenet', 'bert') if name in sys.modules])"
    root = str(next(iter(official.__path__)) + "/..")
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["[]"], done.stderr
