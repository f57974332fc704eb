"""A run that was stopped and goes on ends where an uninterrupted one does."""

import contextlib
import os
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf

import widenet
from official import train
from official.checkpoints.manager import Checkpoints
from official.files.tables import Table, read_table
from official.training import callbacks
from official.training.callbacks import SaveCheckpoints, StepCounter, Stopped
from official.training.tensorboard import TensorBoard
from tests.official.events import events
from tests.official.tiny import DENSE, full_disk, tiny_config, without_export


@pytest.fixture(scope="module", autouse=True)
def quick():
    """test_train.py and test_command.py have runs that resume with the export."""
    with without_export():
        yield


def dense_config(**settings):
    """With dropouts. test_same_draws.py has models with every kind of noise."""
    random = {"model.depth": 1, "model.dropout": 0.1, "model.attention_dropout": 0.1}
    return tiny_config(DENSE, random, **{"steps": 8, "eval_every": 3, "checkpoint_every": 2, **settings})


def state(run):
    """Weights, step counter and moments, by name."""
    named = [*run.model.weights, *run.model.optimizer.variables()]
    return {variable.name: variable.numpy() for variable in named}


def assert_same_state(run, expected):
    """The same operations on the same numbers; 1e-6 is for sums that several threads may take in another order."""
    found = state(run)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=1e-6, err_msg=name)


def assert_tensorboard_has(workdir, steps):
    """Every scalar once at each of these steps."""
    scalars = {place: values for place, values in events(workdir).items() if place[0] != "tensorboard"}
    assert {("train", "loss"), ("train", "lr"), ("validation", "accuracy")} <= scalars.keys()
    for place, values in scalars.items():
        assert [step for step, _ in values] == steps, place


def stop_at(monkeypatch, step, signum=signal.SIGTERM):
    """Sends this process a signal in the middle of that step."""
    on_train_batch_end = StepCounter.on_train_batch_end

    def counted(self, batch, logs=None):
        on_train_batch_end(self, batch, logs)
        if self.step == step:
            os.kill(os.getpid(), signum)

    monkeypatch.setattr(StepCounter, "on_train_batch_end", counted)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """(state at the end, rows of metrics.csv) of a run that nobody stopped."""
    workdir = tmp_path_factory.mktemp("uninterrupted")
    run = train.Run(dense_config(), workdir)
    run.train()
    return state(run), read_table(workdir / "metrics.csv")


@pytest.mark.parametrize(
    "stop, signum, background",
    [
        (5, signal.SIGTERM, True),
        pytest.param(6, signal.SIGINT, False, marks=pytest.mark.train),
        pytest.param(8, signal.SIGTERM, True, marks=pytest.mark.train),
    ],
)
def test_stop_and_go_on(uninterrupted, tmp_path, stop, signum, background):
    """Stopped inside an epoch, at its end and at the run's: a checkpoint of that very step, then the same end, moments included.

    No epoch's row may be missing: the last one is what the summary tells. Its metrics are of all its steps: 1e-5 is far less than
    a step changes them. So it is, too, where a thread writes the checkpoints.
    """
    expected, rows = uninterrupted
    config = dense_config(background_checkpoints=background)
    before = signal.getsignal(signum)
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, stop, signum)
        with pytest.raises(Stopped) as stopped:
            train.run(config, tmp_path)
    assert (stopped.value.step, stopped.value.signum) == (stop, signum)
    assert (tmp_path / "checkpoints" / f"step-{stop}.index").exists()
    assert not (tmp_path / "summary.json").exists()
    assert signal.getsignal(signum) == before

    run = train.Run(config, tmp_path)
    assert run.first_step == stop
    summary = run.train()
    assert_same_state(run, expected)
    assert summary["step"] == 8
    found = read_table(tmp_path / "metrics.csv")
    assert [row["step"] for row in found] == [row["step"] for row in rows] == ["3", "6", "8"]
    assert [row["epoch"] for row in found] == ["1", "2", "3"]
    assert_tensorboard_has(tmp_path, [3, 6, 8])
    for row, expected_row in zip(found, rows, strict=True):
        for key in ("loss", "accuracy", "val_loss", "val_accuracy", "lr"):
            assert float(row[key]) == pytest.approx(float(expected_row[key]), abs=1e-5), key


@pytest.mark.further
@pytest.mark.parametrize("checkpoint_every, expected_step", [pytest.param(2, 5, marks=pytest.mark.train), (3, 3)])
def test_going_on_after_a_crash(uninterrupted, tmp_path, monkeypatch, checkpoint_every, expected_step):
    """A process that died between an evaluation and its checkpoint: the epoch ends again, and its row stands once.

    A checkpoint of an epoch's last step that is older than the evaluation would lose the row.
    """
    config = dense_config(checkpoint_every=checkpoint_every)

    class Crash(Exception):
        pass

    def crash(self, epoch, logs=None):
        if self._counter.step == 6:
            raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.NonFiniteGuard, "on_epoch_end", crash)
        with pytest.raises(Crash):
            train.run(config, tmp_path)
    assert [row["step"] for row in read_table(tmp_path / "metrics.csv")] == ["3", "6"]
    run = train.Run(config, tmp_path)
    assert run.first_step == expected_step
    run.train()
    assert_same_state(run, uninterrupted[0])
    assert [row["step"] for row in read_table(tmp_path / "metrics.csv")] == ["3", "6", "8"]
    assert_tensorboard_has(tmp_path, [3, 6, 8])


@pytest.mark.parametrize(
    "owner, method, what",
    [
        pytest.param(Table, "append", r"File too large: '.*metrics\.csv'", marks=pytest.mark.further),
        pytest.param(TensorBoard, "write_scalars", "events", marks=pytest.mark.further),
        (Checkpoints, "save", "the checkpoint of step 6 could not be written"),
    ],
    ids=["table", "TensorBoard", "checkpoint"],
)
def test_full_disk(uninterrupted, tmp_path, monkeypatch, owner, method, what):
    """The run ends with the file and the last good checkpoint; with space, the same command ends where it would have ended."""
    workdir = tmp_path / "lr[1]"  # which TensorFlow takes for a pattern
    original, counters = getattr(owner, method), []
    count = StepCounter.on_train_batch_end

    def counted(self, batch, logs=None):
        count(self, batch, logs)
        counters.append(self.step)

    def full(*arguments):
        with full_disk() if counters[-1] == 6 else contextlib.nullcontext():
            return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(StepCounter, "on_train_batch_end", counted)
        patch.setattr(owner, method, full)
        with pytest.raises(OSError, match=f"{what}.*; the last good checkpoint is .*/step-5$"):
            train.run(dense_config(), workdir)
    assert {path.stem for path in (workdir / "checkpoints").glob("step*")} == {"step-3", "step-5"}
    run = train.Run(dense_config(), workdir)
    assert run.first_step == 5
    run.train()
    assert_same_state(run, uninterrupted[0])
    assert [row["step"] for row in read_table(workdir / "metrics.csv")] == ["3", "6", "8"]


@pytest.mark.further
def test_longer_run(tmp_path, monkeypatch, capsys):
    """The length, unlike the model, may change when a run goes on; the user is told of it."""
    with monkeypatch.context() as patch:
        stop_at(patch, 2)
        with pytest.raises(Stopped):
            train.run(dense_config(steps=3), tmp_path)
    summary = train.run(dense_config(steps=4), tmp_path)
    assert summary["step"] == 4
    said = capsys.readouterr().out
    assert "train.steps: 3 -> 4" in said
    assert "Resuming from the checkpoint of step 2." in said


@pytest.mark.further
def test_finished_run_is_extended(tmp_path, capsys):
    """By epochs, 1,438 / 16 steps each: their number of steps, and the schedule of the new length from there on."""
    shorter = {"steps": 0, "epochs": 0.03, "warmup_epochs": 0.02, "warmup_steps": 0}  # 3 steps, 2 of them warm-up
    summary = train.run(dense_config(**shorter), tmp_path / "run")
    assert (summary["step"], summary["config"]["train"]["epochs"]) == (3, 0.03)
    assert [float(row["lr"]) for row in read_table(tmp_path / "run" / "metrics.csv")] == [pytest.approx(0, abs=1e-9)]
    said = capsys.readouterr().out
    assert "train: 1,438 images of 10 classes, from " in said
    assert "is 89.9 steps; the run is 0.03 epochs." in said

    assert train.run(dense_config(**shorter), tmp_path / "run") == summary
    assert "to extend it, set --config.train.steps or --config.train.epochs to more" in capsys.readouterr().out
    longer = dense_config(**{**shorter, "epochs": 0.085})  # 8 steps
    run = train.Run(longer, tmp_path / "run")
    assert run.first_step == 3
    summary = run.train()
    said = capsys.readouterr().out
    expected = 0.005 * 0.5 * (1 + np.cos(np.pi * 1 / 6))
    follows = f"the learning rate follows the schedule of the new length, at {expected:.3g} here."
    assert f"The finished run is extended to step 8: {follows}" in said
    assert summary["step"] == 8
    rows = read_table(tmp_path / "run" / "metrics.csv")
    assert [int(row["step"]) for row in rows] == [3, 6, 8]
    assert float(rows[1]["lr"]) == pytest.approx(0.005 * 0.5 * (1 + np.cos(np.pi * 4 / 6)), abs=1e-7)
    assert float(rows[2]["lr"]) == pytest.approx(0, abs=1e-9)

    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(ValueError, match="a finished run of 8 steps, which cannot be extended without checkpoints/"):
        train.run(dense_config(**{**shorter, "epochs": 0.1}), tmp_path / "run")
    assert (tmp_path / "run" / "summary.json").exists()


@pytest.mark.further
def test_unfinished_run_of_another_model_is_refused(tmp_path, monkeypatch):
    """Also where there is no summary yet: the checkpoint would not fit."""
    with monkeypatch.context() as patch:
        stop_at(patch, 1)
        with pytest.raises(Stopped):
            train.run(dense_config(), tmp_path)
    other = dense_config()
    other.model.width = 32
    with pytest.raises(ValueError, match=r"model\.width: 16 -> 32"):
        train.run(other, tmp_path)


def test_random_numbers_do_not_begin_again(tmp_path, monkeypatch):
    """After a stop a model without `seed_steps`, of a task of the user, draws other numbers than those of step 0."""
    monkeypatch.delattr(widenet.Model, "seed_steps")
    first_numbers = []

    def remember(self, clock):
        first_numbers.append(tf.random.normal([3]).numpy().tolist())
        self.checkpoints.save(2, 0.0)
        raise Stopped(2, signal.SIGTERM)

    monkeypatch.setattr(train.Run, "_fit", remember)
    for _ in range(2):
        with pytest.raises(Stopped):
            train.run(dense_config(), tmp_path)
    assert first_numbers[0] != first_numbers[1]


@pytest.fixture
def compiled():
    model = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,))])
    model.compile(tf.keras.optimizers.legacy.SGD(0.1, momentum=0.9), "mse")
    model.train_on_batch(np.ones((1, 3)), np.zeros((1, 2)))
    return model


class TestCheckpoints:
    def test_round_trip(self, compiled, tmp_path):
        """Weights, moments, step and time come back; without a checkpoint the step is 0."""
        checkpoints = Checkpoints(tmp_path / "c", compiled, keep=2)
        assert checkpoints.restore() == 0
        assert checkpoints.latest is None
        assert checkpoints.last_good() == "there is no checkpoint yet"
        checkpoints.save(5, 12.5)
        expected = [variable.numpy() for variable in (*compiled.weights, *compiled.optimizer.variables())]
        for variable in (*compiled.weights, *compiled.optimizer.variables()):
            variable.assign(tf.zeros_like(variable))
        assert checkpoints.restore() == 5
        assert float(checkpoints.seconds) == 12.5
        for variable, value in zip((*compiled.weights, *compiled.optimizer.variables()), expected, strict=True):
            np.testing.assert_array_equal(variable, value)
        assert checkpoints.last_good() == f"the last good checkpoint is {tmp_path}/c/step-5"

    def test_keeps_the_newest(self, compiled, tmp_path):
        checkpoints = Checkpoints(tmp_path / "c", compiled, keep=2)
        for step in (9, 10, 11):
            checkpoints.save(step, 0.0)
        assert {path.stem for path in (tmp_path / "c").glob("*.index")} == {"step-10", "step-11"}

    def test_keeps_the_newest_over_sessions(self, compiled, tmp_path):
        """A second session counts the checkpoints of the first among those it keeps."""
        for step in (9, 10, 11):
            checkpoints = Checkpoints(tmp_path / "c", compiled, keep=2)
            checkpoints.restore()
            checkpoints.save(step, 0.0)
        assert {path.stem for path in (tmp_path / "c").glob("*.index")} == {"step-10", "step-11"}

    def test_same_step_is_not_saved_twice(self, compiled, tmp_path):
        """An epoch's end that is also due for a checkpoint costs one; step 1 is no match for step 11."""
        checkpoints = Checkpoints(tmp_path / "c", compiled, keep=3)
        checkpoints.save(11, 1.0)
        checkpoints.save(11, 2.0)
        assert float(checkpoints.seconds) == 1.0
        checkpoints.save(12, 3.0)
        assert checkpoints.latest.endswith("step-12")
        assert int(checkpoints.step) == 12

    def test_another_model_is_refused(self, compiled, tmp_path):
        """A checkpoint that lacks some of the model's weights must not be taken for its own."""
        Checkpoints(tmp_path / "c", compiled, keep=1).save(3, 0.0)
        other = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,)), tf.keras.layers.Dense(2)])
        other.compile(tf.keras.optimizers.legacy.SGD(0.1), "mse")
        with pytest.raises(ValueError, match="step-3 does not fit this config's model"):
            Checkpoints(tmp_path / "c", other, keep=1).restore()

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_no_checkpoint_that_is_not_finite(self, compiled, tmp_path, bad):
        """It would take the place of good ones."""
        checkpoints = Checkpoints(tmp_path / "c", compiled, keep=1)
        checkpoints.save(3, 0.0)
        kernel = compiled.trainable_weights[0]
        kernel.assign(tf.tensor_scatter_nd_update(kernel, [[1, 1]], [bad]))
        with pytest.raises(FloatingPointError, match="kernel.* is not finite after step 4") as error:
            checkpoints.save(4, 0.0)
        assert str(error.value).endswith("the last good checkpoint is " + str(tmp_path / "c" / "step-3"))
        assert {path.stem for path in (tmp_path / "c").glob("*.index")} == {"step-3"}


def test_signals_are_heard_only_while_listening():
    """Before and after, Ctrl-C does what it always does."""
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    saver = SaveCheckpoints(StepCounter(0, 1, "images"), None, None, 0, None)
    with pytest.raises(ZeroDivisionError), saver.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGINT) != before[signal.SIGINT]
        raise ZeroDivisionError
    assert {signum: signal.getsignal(signum) for signum in before} == before


def test_a_second_signal_does_not_wait():
    """Whoever presses Ctrl-C again does not want to wait for the step."""
    saver = callbacks.SaveCheckpoints(callbacks.StepCounter(0, 1, "images"), None, None, 0, None)
    with saver.listening():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_checkpoint_that_cannot_be_written(tmp_path):
    """A file in the way stands for a full disk: one sentence, and what was saved before stays."""
    model = tf.keras.Sequential([tf.keras.layers.Dense(2)])
    model.build((None, 3))
    model.compile("sgd")
    checkpoints = Checkpoints(tmp_path / "c", model, keep=2)
    checkpoints.save(3, 0.0)
    (tmp_path / "c" / "step-4_temp").write_text("")
    with pytest.raises(OSError, match="step 4 could not be written.*the last good checkpoint is .*step-3"):
        checkpoints.save(4, 0.0)
    assert checkpoints.latest.endswith("step-3")
