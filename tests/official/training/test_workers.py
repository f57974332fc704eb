"""Several workers: the same run as in one process, each example once, and what happens where one of them is stopped or dies."""

import contextlib
import json
import re
import signal
import socket
import subprocess
import time

import numpy as np
import pytest
import tensorflow as tf

from official import train
from official.files.layout import LOCK
from official.files.tables import read_table
from official.training.callbacks import SaveCheckpoints, StepCounter, Stopped
from official.training.devices import Agreement, WorkerLost, Workers, among, workers_of
from tests.official.tiny import ROOT, command, environment, tiny_config, without_export

DROPLESS = {
    "model.capacity_factor": None,
    "model.balance_weight": 0.0,
    "model.noise": False,
    "model.drop_path": 0.0,
    "model.dropout": 0.0,
    "train.warmup_steps": 0,
}
# Every random draw of a step and of the data, and groups of experts with a capacity.
NOISY = {"model.dropout": 0.1, "model.drop_path": 0.1, "model.jitter": 0.01, "data.mixup": 0.2}
STOPPED = {**NOISY, "train.steps": 60, "train.eval_every": 10, "train.checkpoint_every": 4}
TIMES = ("images_per_second",)


class Cluster:
    """Two processes of the driver on this machine, as two machines would be."""

    def __init__(self, workdir, **settings):
        self.workdir = workdir
        self._command = command(workdir, **{"train.strategy": "multi_worker", **settings})
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
            for each in sockets:
                each.bind(("127.0.0.1", 0))
            self._addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
        self.processes = [None, None]
        self.output = ["", ""]

    def start(self, *indices):
        for index in indices:
            task = {"cluster": {"worker": self._addresses}, "task": {"type": "worker", "index": index}}
            self.processes[index] = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=environment(TF_CONFIG=json.dumps(task)),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def end(self, timeout=900):
        """The codes of both, after their end."""
        for index, process in enumerate(self.processes):
            self.output[index] += process.communicate(timeout=timeout)[0]
        return [process.returncode for process in self.processes]

    def wait_for_step(self, step, timeout=900):
        """Waits until the checkpoint of a step is whole."""
        until = time.monotonic() + timeout
        while not (self.workdir / "checkpoints" / f"step-{step}.sums").exists():
            assert time.monotonic() < until, self.all_output()
            assert all(process.poll() is None for process in self.processes), self.all_output()
            time.sleep(0.02)

    def all_output(self):
        self.kill()
        return "\n".join(self.output)

    def kill(self):
        for index, process in enumerate(self.processes):
            if process and process.poll() is None:
                process.kill()
                self.output[index] += process.communicate()[0]


@contextlib.contextmanager
def cluster(workdir, **settings):
    made = Cluster(workdir, **settings)
    try:
        yield made
    finally:
        made.kill()


def weights_of(folder, step):
    """{name: array} of the model and the optimizer in a checkpoint."""
    reader = tf.train.load_checkpoint(str(folder / "checkpoints" / f"step-{step}"))
    names = [name for name in reader.get_variable_to_shape_map() if name.startswith(("model/", "optimizer/"))]
    assert len(names) > 20
    return {name: reader.get_tensor(name) for name in names}


def tables_of(workdir):
    """The rows of the tables, without times."""
    rows = [row for name in ("metrics.csv", "expert_load.csv") for row in read_table(workdir / name)]
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


@pytest.mark.process
def test_as_one_process(tmp_path):
    """Two workers, half of each batch each, and one process: equal losses over 50 steps, and of the validation after each five.

    1e-4: in float32 the mean of two halves' gradients is rounded in another way than that of the whole, and LAMB magnifies this.
    """
    settings = {**DROPLESS, "train.steps": 50, "train.eval_every": 5}
    with cluster(tmp_path / "run", **settings) as both:
        both.start(0, 1)
        assert both.end() == [0, 0], both.all_output()
    files = {"config.json", "metrics.csv", "expert_load.csv", "tensorboard", "checkpoints", "saved_model", "curves.png"}
    files |= {"summary.json"}
    assert {path.name for path in (tmp_path / "run").iterdir() if not path.name.startswith(".")} == files
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["strategy"], summary["replicas"], summary["step"]) == ("multi_worker", 2, 50)
    assert "on the validation split" in both.output[1]  # which has read it, too
    # Both workers have the same weights, bit for bit.
    chief, worker = (weights_of(folder, 50) for folder in (tmp_path / "run", tmp_path / "run" / ".worker-1"))
    for name in chief:
        np.testing.assert_array_equal(chief[name], worker[name], err_msg=name)
    with without_export():
        train.run(tiny_config(settings), tmp_path / "one")
    rows = [read_table(tmp_path / name / "metrics.csv") for name in ("run", "one")]
    assert [len(table) for table in rows] == [10, 10]
    for found, expected in zip(*rows, strict=True):
        for name in ("loss", "val_loss"):
            assert float(found[name]) == pytest.approx(float(expected[name]), rel=0, abs=1e-4), (name, found["step"])
        assert float(found["val_accuracy"]) == pytest.approx(float(expected["val_accuracy"]), rel=1e-5)


@pytest.mark.kill
class TestStops:
    @pytest.fixture(scope="class")
    def whole(self, tmp_path_factory):
        """The workdir of a run that nobody stopped."""
        with cluster(tmp_path_factory.mktemp("whole") / "run", **STOPPED) as both:
            both.start(0, 1)
            assert both.end() == [0, 0], both.all_output()
        return both.workdir

    def assert_same(self, workdir, whole):
        """Bit for bit."""
        found, expected = weights_of(workdir, 60), weights_of(whole, 60)
        assert found.keys() == expected.keys()
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
        assert tables_of(workdir) == tables_of(whole)

    def replace(self, both, index, whole):
        """Kills a worker and starts it again: the other begins anew, and the run ends as that which nobody stopped."""
        both.processes[index].kill()
        both.processes[index].wait()
        both.start(index)
        assert both.end() == [0, 0], both.all_output()
        assert "begins anew from the newest checkpoint" in both.output[1 - index]
        self.assert_same(both.workdir, whole)

    @pytest.mark.further
    def test_replicas_of_workers_draw_as_those_of_one_process(self, tmp_path, whole):
        """Replica 1 is the second worker's: it drops and jitters what the second one of two devices does, and not what the first.

        1e-4 for sums in another order, over 60 steps.
        """
        with without_export():
            train.run(tiny_config(STOPPED, strategy="mirrored"), tmp_path)
        for found, expected in zip(*(read_table(folder / "metrics.csv") for folder in (tmp_path, whole)), strict=True):
            assert float(found["loss"]) == pytest.approx(float(expected["loss"]), rel=0, abs=1e-4), found["step"]

    def test_a_worker_is_stopped_or_dies(self, tmp_path, whole):
        """One gets SIGTERM: both stop at one step. Later it is killed and started again: the other one continues with it."""
        with cluster(tmp_path / "run", **STOPPED) as both:
            both.start(0, 1)
            both.wait_for_step(4)
            both.processes[1].send_signal(signal.SIGTERM)
            assert both.end() == [143, 143], both.all_output()
            stopped = {step for text in both.output for step in re.findall(r"Stopped at step (\d+), which is saved", text)}
            assert len(stopped) == 1, both.all_output()
            both.start(0, 1)
            both.wait_for_step(40)
            self.replace(both, 1, whole)

    @pytest.mark.further
    def test_the_chief_dies(self, tmp_path, whole):
        with cluster(tmp_path / "run", **STOPPED) as both:
            both.start(0, 1)
            both.wait_for_step(14)
            self.replace(both, 0, whole)

    def test_waiting_workers_hear_signals(self, tmp_path):
        """A worker waits for the other, which is not there, as long as nobody stops it."""
        with cluster(tmp_path / "run", **STOPPED) as both:
            both.start(1)
            line = both.processes[1].stdout.readline()
            while "It waits for the others" not in line:
                assert line
                line = both.processes[1].stdout.readline()
            time.sleep(2)
            both.processes[1].send_signal(signal.SIGTERM)
            assert both.processes[1].wait(20) == 143


WORKER = {"type": "worker", "index": 0}


class TestDescription:
    """TF_CONFIG, which a user writes."""

    def of(self, monkeypatch, content, strategy="multi_worker"):
        monkeypatch.setenv("TF_CONFIG", content if isinstance(content, str) else json.dumps(content))
        return workers_of(strategy)

    def test_places(self, monkeypatch):
        """The chief is number 0; without a chief it is worker 0."""
        cluster = {"worker": ["a:1", "b:2"]}
        found = self.of(monkeypatch, {"cluster": cluster, "task": {"type": "worker", "index": 1}})
        assert found == Workers(1, ("a:1", "b:2"))
        assert found.address == "b:2"
        cluster["chief"] = ["c:3"]
        assert self.of(monkeypatch, {"cluster": cluster, "task": {"type": "worker", "index": "0"}}).index == 1
        assert self.of(monkeypatch, {"cluster": cluster, "task": {"type": "chief", "index": 0}}).index == 0

    def test_one_process(self, monkeypatch):
        """Another strategy does not read it; without it there is one worker."""
        assert self.of(monkeypatch, "{", "default") == Workers()
        monkeypatch.delenv("TF_CONFIG")
        assert workers_of("multi_worker") == Workers()

    @pytest.mark.parametrize(
        "content, said",
        [
            ("{", "is not JSON: "),
            ("[" * 100_000, "is not JSON: it is nested too deeply"),
            ("3", "is not allowed: it must hold a JSON object"),
            ({"cluster": 3, "task": WORKER}, "is not allowed: cluster is 3, and must be a JSON object"),
            ({"cluster": {"worker": "a:1"}, "task": WORKER}, 'is not allowed: cluster.worker is "a:1", and must be a JSON array'),
            ({"cluster": {"worker": ["a:1"]}}, "is not allowed: task is missing, and must be a JSON object"),
            (
                {"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": None}},
                "is not allowed: task.index is null, and",
            ),
            (
                {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}},
                "task is worker 2, and must be worker 0 to 1",
            ),
            ({"cluster": {"chief": ["a:1"]}, "task": {"type": "ps", "index": -1}}, "task is ps -1, and must be chief 0 to 0"),
            ({"cluster": {}, "task": WORKER}, "task is worker 0, and must be in the cluster, which has no worker"),
            *(
                (
                    {"cluster": {"worker": ["b:1", address]}, "task": WORKER},
                    f"{json.dumps(address)} must be HOST:PORT, with a port from 1",
                )
                for address in ("a", "1", ":1", "a:", "a:0", "a:-1", "a:65536", "a:70000", "a:1e3", 1, None)
            ),
        ],
    )
    def test_refused(self, monkeypatch, content, said):
        """One sentence of limited length, with the value and an example."""
        with pytest.raises(ValueError, match=rf"^TF_CONFIG=.* {re.escape(said)}.*; an example is {{\"cluster\"") as refused:
            self.of(monkeypatch, content)
        assert len(str(refused.value)) < 500


def test_one_lock_a_run(tmp_path):
    """The chief keeps everybody else out, also a process without a strategy; the other workers have locks of their own."""
    two = ("a:1", "b:1")
    with train.alone(tmp_path, Workers(0, two)), train.alone(tmp_path, Workers(1, two)):
        assert {path.name for path in tmp_path.iterdir()} == {LOCK, f"{LOCK}-worker-1"}
        for other in (Workers(), Workers(0, two), Workers(1, two)):
            with pytest.raises(BlockingIOError, match="trains in"), train.alone(tmp_path, other):
                pass


def test_a_lost_worker():
    """Only what TensorFlow says of other workers, and only where there are some; other errors are what they were."""
    unavailable = tf.errors.UnavailableError(None, None, "Connection reset by peer\nmore")
    aborted = tf.errors.InternalError(
        None, None, "Graph execution error:\n\nCollective ops is aborted by: worker 1 is down\nmore"
    )
    for error, expected in ((unavailable, "Connection reset by peer"), (aborted, "worker 1 is down")):
        with pytest.raises(WorkerLost) as found, among(Workers(0, ("a:1", "b:1"))):
            raise error
        assert str(found.value) == expected
        with pytest.raises(type(error)), among(Workers()):
            raise error
    with pytest.raises(tf.errors.InvalidArgumentError), among(Workers(0, ("a:1", "b:1"))):
        raise tf.errors.InvalidArgumentError(None, None, "shapes")


class TestAgreement:
    def test_signals(self):
        """Workers ask each other every ten steps, and stop at a signal of any."""
        asked = []

        class Others:
            def signal(self, mine):
                asked.append((counter.step, mine))
                return signal.SIGTERM if counter.step == 20 else 0

        counter = StepCounter(0, 1, "images")
        saver = SaveCheckpoints(counter, None, None, 0, None, agreement=Others())
        for counter.step in range(1, 25):
            assert saver._is_asked() == (signal.SIGTERM if counter.step == 20 else 0)
        assert asked == [(10, 0), (20, 0)]

    def test_a_signal_while_waiting_for_a_lost_worker(self):
        """The run ends; without a signal it begins anew."""
        saver = SaveCheckpoints(StepCounter(3, 1, "images"), None, None, 0, None)
        with pytest.raises(WorkerLost), saver.listening():
            raise WorkerLost
        with pytest.raises(Stopped) as stopped, saver.listening():
            signal.raise_signal(signal.SIGTERM)
            raise WorkerLost
        assert (stopped.value.step, stopped.value.signum) == (3, signal.SIGTERM)

    def test_one_worker(self):
        """Its own answers count, without a word to others."""
        agreement = Agreement(None, Workers())
        assert (agreement.of_chief(7), agreement.signal(15), agreement.signal(0)) == (7, 15, 0)

    @pytest.mark.parametrize("index", [0, 1])
    def test_arithmetic(self, monkeypatch, index):
        """Two workers of two replicas each: what one says is counted twice, and the chief's number comes out whole."""
        strategy = tf.distribute.MirroredStrategy(["CPU:0"])
        agreement = Agreement(strategy, Workers(index, ("a:1", "b:1")))
        monkeypatch.setattr(type(strategy), "num_replicas_in_sync", property(lambda self: 4), raising=False)
        said = [[0.0], [12345678.0]]
        monkeypatch.setattr(agreement, "_total", lambda mine: [2 * (said[0][0] + mine[0])])
        said[0] = [0.0] if index == 0 else [33.0]
        assert agreement.of_chief(12345678) == (12345678 if index == 0 else 33)
