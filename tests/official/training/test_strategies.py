"""Two replicas, XLA and TPUs: the same run by one setting, or a clear refusal."""

import urllib.error
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from official import train
from official.files.tables import read_table
from official.training import devices as strategies
from official.training import optimizers
from tests.official import fine_tuned_replicas, replicas
from tests.official.tiny import DENSE, tiny_config, without_export


@pytest.mark.parametrize("wrong", ["mirorred", "", "MirroredStrategy"])
def test_unknown_strategy(tmp_path, wrong):
    """Refused by setting and value, with what there is, before a folder is made."""
    with pytest.raises(ValueError) as error:
        train.run(tiny_config(strategy=wrong), tmp_path / "run")
    assert str(error.value) == (
        f"train.strategy={wrong!r} is not allowed: it must be one of default, mirrored, multi_worker, tpu"
    )
    assert not (tmp_path / "run").exists()


def test_batch_must_divide_among_replicas(tmp_path):
    """Refused by setting, value and number of replicas, before anything is built."""
    with pytest.raises(ValueError, match=r"train\.batch_size=15 is not allowed: it must be a multiple of 2 replicas"):
        train.run(tiny_config(strategy="mirrored", batch_size=15), tmp_path / "run")
    with pytest.raises(ValueError, match="it must be a multiple of 2 replicas with 3 parts each .train.accumulate.$"):
        train.run(tiny_config(strategy="mirrored", batch_size=16, accumulate=3), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_mirrored_takes_all_devices():
    """Without a GPU: all logical CPU devices, of which the tests have two."""
    assert strategies.create_strategy("mirrored").num_replicas_in_sync == 2
    assert strategies.create_strategy("default").num_replicas_in_sync == 1


def test_one_process_makes_several_mirrored_runs():
    """Their sums over replicas are of their own tensors, whose sizes differ from run to run."""
    for size in range(1, 5):
        strategy = strategies.create_strategy("mirrored")

        @tf.function
        def total(strategy=strategy, size=size):
            def sums():
                context = tf.distribute.get_replica_context()
                values = tf.fill([size], 1.0 + tf.cast(context.replica_id_in_sync_group, tf.float32))
                return context.all_reduce(tf.distribute.ReduceOp.SUM, values)

            return strategy.experimental_local_results(strategy.run(sums))

        for of_replica in total():
            np.testing.assert_array_equal(of_replica, np.full(size, 3.0))


class TestTpu:
    """There is none here: whatever the look for it answers, the user reads one sentence."""

    def refusal(self, tpu):
        with pytest.raises(ValueError, match="found no TPU") as error:
            strategies.create_strategy("tpu", tpu)
        assert f"train.tpu={tpu!r}" in str(error.value)
        assert "set train.tpu to its name" in str(error.value)

    def test_no_name(self, monkeypatch):
        """Nothing in the environment names one."""
        monkeypatch.delenv("TPU_NAME", raising=False)
        self.refusal("")

    def test_name_that_leads_nowhere(self):
        """Outside Google's cloud its metadata server has no address."""
        error = urllib.error.URLError("Name or service not known")
        with mock.patch.object(tf.distribute.cluster_resolver, "TPUClusterResolver", side_effect=error):
            self.refusal("my-tpu")

    def test_local_without_a_tpu(self):
        """ "local" looks for the chips of this machine."""
        error = tf.errors.NotFoundError(None, None, "TPUs not found in the cluster.")
        with (
            mock.patch.object(tf.distribute.cluster_resolver, "TPUClusterResolver"),
            mock.patch.object(tf.config, "experimental_connect_to_cluster"),
            mock.patch.object(tf.tpu.experimental, "initialize_tpu_system", side_effect=error),
        ):
            self.refusal("local")


@pytest.fixture
def quick():
    with without_export():
        yield


@pytest.fixture(scope="module")
def default_run(tmp_path_factory):
    """(weights, rows of metrics.csv) of the run of tests/official/replicas.py on one device."""
    workdir = tmp_path_factory.mktemp("default")
    run = train.Run(tiny_config(DENSE, steps=4, eval_every=2, warmup_steps=0, precision="float64"), workdir)
    with without_export():
        run.train()
    return run.model.get_weights(), read_table(workdir / "metrics.csv")


@pytest.mark.train
class TestMirrored:
    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory):
        return tmp_path_factory.mktemp("mirrored")

    @pytest.fixture(scope="class")
    def trained(self, folder):
        return replicas.trained(folder)

    @pytest.fixture(scope="class")
    def report(self, trained):
        return trained[1]

    @pytest.mark.smoke
    def test_two_replicas(self, report):
        assert report["replicas"] == 2

    @pytest.mark.smoke
    def test_replicas_stay_equal(self, report):
        """Each replica updates its own copies, weights and moments: they must never differ, not by a bit."""
        assert report["differences"] == {}

    def test_same_as_on_one_device(self, folder, report, default_run):
        """Half a batch each, and the mean of both gradients: the same run. In float64 only the order of sums differs: 1e-9."""
        weights, rows = default_run
        found = list(np.load(folder / "weights.npz").values())
        for value, expected in zip(found, weights, strict=True):
            np.testing.assert_allclose(value, expected, rtol=0, atol=1e-9)
        for row, expected in zip(read_table(folder / "run" / "metrics.csv"), rows, strict=True):
            for key in ("loss", "accuracy", "val_loss", "val_accuracy"):
                # Means over batches are kept in float32.
                assert float(row[key]) == pytest.approx(float(expected[key]), rel=1e-5), key

    @pytest.mark.smoke
    def test_export(self, report):
        """The export is of the whole run's weights and has nothing of the strategy; 1e-9 as above."""
        assert report["export"] < 1e-9

    @pytest.mark.further
    def test_resume(self, trained, tmp_path):
        """Stopped after half its steps and gone on, on both replicas, to the same end."""
        report = replicas.resumed(tmp_path, trained[0])
        assert report["first_step"] == 2
        assert report["resumed"] < 1e-9
        assert report["resumed_differences"] == {}


@pytest.mark.further
class TestFineTuningMirrored:
    @pytest.fixture(scope="class")
    def report(self, tmp_path_factory):
        return fine_tuned_replicas.fine_tuned(tmp_path_factory.mktemp("fine_tuned"))

    def test_optimizers(self, report):
        """Each with decay, layer decay and averages: as on one device (1e-12 for float64), and alike on both replicas."""
        assert set(report["optimizers"]) == {"lamb", "adamw", "sgd"}
        for name, (difference, differences) in report["optimizers"].items():
            assert difference < 1e-12, name
            assert differences == {}, name

    def test_run(self, report):
        """The export is of the averages (1e-9 as above), which every replica has; after it the weights are back everywhere."""
        assert report["run"]["from_averages"] < 1e-9
        assert report["run"]["from_weights"] > 1e-3
        assert report["run"]["differences"] == {}
        assert report["run"]["restored"]


@pytest.mark.usefixtures("quick")
class TestXla:
    @pytest.mark.further
    def test_same_as_uncompiled(self, tmp_path, default_run):
        """XLA orders and fuses what TensorFlow does op by op; in float64 that is 1e-9."""
        config = tiny_config(DENSE, steps=4, eval_every=2, warmup_steps=0, precision="float64", jit_compile=True)
        run = train.Run(config, tmp_path)
        run.train()
        for value, expected in zip(run.model.get_weights(), default_run[0], strict=True):
            np.testing.assert_allclose(value, expected, rtol=0, atol=1e-9)

    @pytest.mark.train
    def test_experts_compile(self, tmp_path):
        """Routing, dispatch with a capacity, noise and the measuring of loads have static shapes."""
        run = train.Run(tiny_config(jit_compile=True, steps=2, eval_every=2), tmp_path)
        summary = run.train()
        assert np.isfinite(summary["metrics"]["loss"])
        rows = read_table(tmp_path / "expert_load.csv")
        for row in rows:
            assert sum(float(row[f"expert_{e}"]) for e in range(3)) + float(row["dropped"]) == pytest.approx(1, abs=1e-5)

    @pytest.mark.further
    @pytest.mark.parametrize("place", ["loss", pytest.param("optimizer", marks=pytest.mark.train)])
    def test_the_whole_step_is_compiled(self, tmp_path, monkeypatch, place):
        """A Python function in the loss or in the learning rate is what XLA cannot compile: it must be refused in both places."""

        def through_python(x):
            return tf.ensure_shape(tf.py_function(lambda y: y, [x], x.dtype), x.shape)

        if place == "loss":

            def loss(self):
                inner = tf.keras.losses.CategoricalCrossentropy(from_logits=True)
                return lambda y, logits: through_python(inner(y, logits))

            monkeypatch.setattr("vision.classification.ImageClassification.loss", loss)
        else:

            class Schedule(tf.keras.optimizers.schedules.LearningRateSchedule):
                def __call__(self, step):
                    return through_python(tf.constant(0.01))

            monkeypatch.setattr(optimizers, "create_schedule", lambda *settings, **named: Schedule())
        train.run(tiny_config(DENSE, steps=1, eval_every=1), tmp_path / "uncompiled")
        with pytest.raises(tf.errors.InvalidArgumentError, match="EagerPyFunc"):
            train.run(tiny_config(DENSE, steps=1, eval_every=1, jit_compile=True), tmp_path / "compiled")


@pytest.mark.further
@pytest.mark.usefixtures("quick")
def test_steps_per_execution(tmp_path, default_run):
    """Several steps in one execution are the same steps, also where an epoch has fewer than that."""
    config = tiny_config(DENSE, steps=4, eval_every=2, warmup_steps=0, precision="float64", steps_per_execution=4)
    run = train.Run(config, tmp_path)
    summary = run.train()
    assert summary["step"] == 4
    for value, expected in zip(run.model.get_weights(), default_run[0], strict=True):
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-9)
    rows = read_table(tmp_path / "metrics.csv")
    assert [row["step"] for row in rows] == ["2", "4"]
    assert {path.stem for path in (tmp_path / "checkpoints").glob("*.index")} == {"step-2", "step-4"}


@pytest.mark.further
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("strategy, parts", [("default", 4), ("mirrored", 2)])
def test_parts_of_a_batch_are_the_same_run(tmp_path, default_run, strategy, parts):
    """In float64 only the order of sums differs: 1e-9."""
    settings = dict(steps=4, eval_every=2, warmup_steps=0, precision="float64", strategy=strategy, accumulate=parts)
    run = train.Run(tiny_config(DENSE, **settings), tmp_path)
    run.train()
    for value, expected in zip(run.model.get_weights(), default_run[0], strict=True):
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-9)
    for row, expected in zip(read_table(tmp_path / "metrics.csv"), default_run[1], strict=True):
        for name in ("loss", "accuracy", "val_loss"):
            assert float(row[name]) == pytest.approx(float(expected[name]), rel=1e-5), name  # metrics are float32


@pytest.mark.further
@pytest.mark.usefixtures("quick")
def test_blocks_computed_again_are_the_same_run(tmp_path, default_run):
    """Bit for bit."""
    settings = dict(steps=4, eval_every=2, warmup_steps=0, precision="float64", recompute=True)
    run = train.Run(tiny_config(DENSE, **settings), tmp_path)
    run.train()
    for value, expected in zip(run.model.get_weights(), default_run[0], strict=True):
        np.testing.assert_array_equal(value, expected)
    for row, expected in zip(read_table(tmp_path / "metrics.csv"), default_run[1], strict=True):
        for name in ("loss", "accuracy", "val_loss"):
            assert row[name] == expected[name], name
