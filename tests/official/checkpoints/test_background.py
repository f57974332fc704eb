"""train.background_checkpoints: what is saved is what the model was, whenever it is written; errors and waiting."""

import concurrent.futures
import threading

import numpy as np
import pytest
import tensorflow as tf

from official.checkpoints import files
from official.checkpoints.manager import Checkpoints, kept_step
from official.training.callbacks import NonFiniteGuard, SaveCheckpoints, StepCounter, Stopped
from tests.official.checkpoints.test_files import compiled_model, restored
from tests.official.tiny import full_disk


class Disk:
    """A disk that writes nothing before it is `ready`."""

    def __init__(self, monkeypatch):
        self.is_ready = threading.Event()
        move = files.move_from_memory

        def wait(*arguments):
            assert self.is_ready.wait(60)
            return move(*arguments)

        monkeypatch.setattr(files, "move_from_memory", wait)


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


@pytest.fixture(scope="module")
def model():
    return compiled_model()


def save(checkpoints, model, step):
    """A checkpoint of a model whose kernel is `step` everywhere, and afterwards -1."""
    model.layers[0].kernel.assign(tf.fill([3, 2], float(step)))
    checkpoints.save(step, 0.0)
    model.layers[0].kernel.assign(tf.fill([3, 2], -1.0))


def names(folder):
    return {path.name.partition(".")[0] for path in folder.iterdir()} if folder.exists() else set()


def test_the_step_does_not_wait(disk, model, tmp_path):
    """Training continues, and changes the weights, before the disk has anything; then it has what they were."""
    folder = tmp_path / "lr[1]"  # which TensorFlow takes for a pattern
    checkpoints = Checkpoints(folder, model, keep=2)
    with checkpoints.in_background():
        save(checkpoints, model, 4)
        assert names(folder) == set()
        disk.is_ready.set()
    assert names(folder) == {"checkpoint", "step-4"}
    assert files.damage(folder / "step-4") is None
    assert restored(folder, model) == (4, 4.0)
    save(checkpoints, model, 5)  # which waits, outside the context
    assert names(folder) == {"checkpoint", "step-4", "step-5"}
    assert not tf.io.gfile.exists(f"{files.MEMORY}{id(checkpoints)}")


def test_the_next_one_waits(disk, model, tmp_path):
    """So memory holds one at a time; old ones go, and the best one is copied when it is there."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", model, keep=2)
    best = tmp_path / "checkpoints-best"
    with checkpoints.in_background():
        save(checkpoints, model, 1)
        checkpoints.copy_newest(best)
        assert not best.exists()
        timer = threading.Timer(0.2, disk.is_ready.set)
        timer.start()
        save(checkpoints, model, 2)
        assert disk.is_ready.is_set()
        assert kept_step(best) == 1
        save(checkpoints, model, 3)
        assert checkpoints.last_good().endswith("/step-3")  # this waits, too
        assert names(tmp_path / "checkpoints") == {"checkpoint", "step-2", "step-3"}
    assert restored(tmp_path / "checkpoints", model) == (3, 3.0)
    assert restored(best, model) == (1, 1.0)


def test_full_disk(disk, model, tmp_path):
    """It is said at the next step, with the last good checkpoint; neither that one nor the best is touched."""
    folder, best = tmp_path / "checkpoints", tmp_path / "checkpoints-best"
    checkpoints = Checkpoints(folder, model, keep=1)
    save(checkpoints, model, 3)
    checkpoints.copy_newest(best)
    counter = StepCounter(4, 1, "images")
    saver = SaveCheckpoints(counter, NonFiniteGuard(counter, checkpoints), checkpoints, 0, lambda: 0.0)
    saver.set_params({"steps": 9})
    message = f"the checkpoint of step 4 could not be written, as on a full disk; the last good checkpoint is {folder}/step-3"
    with pytest.raises(OSError, match=message), checkpoints.in_background(), full_disk():
        save(checkpoints, model, 4)
        checkpoints.copy_newest(best)
        saver.on_train_batch_end(0)  # the disk has not been tried
        disk.is_ready.set()
        concurrent.futures.wait(checkpoints._jobs)
        saver.on_train_batch_end(0)
        pytest.fail("nothing was said")
    assert names(folder) == names(best) == {"checkpoint", "step-3"}
    assert restored(folder, model) == restored(best, model) == (3, 3.0)


def test_a_stop_waits(disk, model, tmp_path):
    """It says that the step is saved."""
    checkpoints = Checkpoints(tmp_path, model, keep=1)
    counter = StepCounter(7, 1, "images")
    saver = SaveCheckpoints(counter, NonFiniteGuard(counter, checkpoints), checkpoints, 0, lambda: 0.0)
    saver._signal = 15
    with checkpoints.in_background():
        threading.Timer(0.2, disk.is_ready.set).start()
        with pytest.raises(Stopped):
            saver.save()
        assert files.damage(tmp_path / "step-7") is None


def test_another_error_does_not_hide(disk, model, tmp_path):
    """A context that an error ends writes what was saved, too."""
    checkpoints = Checkpoints(tmp_path, model, keep=1)
    with pytest.raises(FloatingPointError, match="of step 8"), checkpoints.in_background():
        save(checkpoints, model, 8)
        disk.is_ready.set()
        raise FloatingPointError("a loss of step 8")
    assert restored(tmp_path, model) == (8, 8.0)


def test_state_of_metrics_is_of_the_step(disk, tmp_path):
    """It is Python's state, which TensorFlow's own asynchronous checkpoints read when they write."""
    model = compiled_model()
    model._metrics.append(tf.keras.metrics.Mean("mean"))
    checkpoints = Checkpoints(tmp_path, model, keep=1)
    variable = model.metrics[-1].total
    variable.assign(5.0)
    with checkpoints.in_background():
        checkpoints.save(3, 0.0, epoch_start=2)
        variable.assign(6.0)
        disk.is_ready.set()
    again = Checkpoints(tmp_path, model, keep=1)
    again.restore()
    assert again.metrics.is_of(2)
    again.metrics.restore()
    np.testing.assert_array_equal(variable, 5.0)
