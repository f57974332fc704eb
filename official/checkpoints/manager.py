"""Checkpoints of a run, with model, optimizer, step and time spent so far; and the checkpoint of the best evaluation."""

import concurrent.futures
import contextlib
import math
import pathlib
import re
import shutil

import tensorflow as tf

from official.checkpoints import files
from official.checkpoints.metric_state import MetricState
from official.files.atomic import fsync


def restore_model(model, path):
    """Restores the weights of a model from a checkpoint, and nothing else.

    Args:
      model: a built Keras model, compiled or not.
      path: the checkpoint's path prefix, a string.

    Returns:
      The step of the checkpoint, an int.

    Raises:
      ValueError: the checkpoint lacks a weight of the model, has it in another shape, or cannot be read.
    """
    step = tf.Variable(0, dtype=tf.int64, trainable=False)
    try:
        # expect_partial: the optimizer's state and the run's time are not restored.
        status = tf.train.Checkpoint(model=model, step=step).read(files.readable(path)).expect_partial()
        status.assert_existing_objects_matched()
    except AssertionError as error:
        missing = re.findall(r"Variable '([^']+)", str(error))  # TensorFlow also prints their values
        raise ValueError(f"{path} does not fit this config's model: it lacks {', '.join(sorted(missing))}") from error
    except ValueError as error:
        raise ValueError(f"{path} does not fit this config's model: {error}") from error
    except tf.errors.OpError as error:
        raise ValueError(f"{path} cannot be read: {error.message}") from error
    return int(step.numpy())


class Checkpoints:
    """The checkpoints of one run; create and restore it in the strategy's scope.

    Args:
      directory: a pathlib.Path to write to; made when needed.
      model: a compiled model.
      keep: number of newest checkpoints that are kept.
      read_from: the directory to restore from, if it is another one: with several workers all take part in saving, because
        replicated variables are read on all of them, but only the chief's checkpoints are restored.

    Attributes:
      step: tf.Variable int64, steps done.
      seconds: tf.Variable float64, wall time of all sessions of the run so far.
      metrics: a MetricState of the model.
    """

    def __init__(self, directory, model, keep, read_from=None):
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False, name="seconds")
        self._model = model
        self._directory = directory
        self._read_from = read_from or directory
        self._keep = keep
        self._saved_step = None
        self._good = set()  # steps of the checkpoints in the directory that are not damaged
        self._writer = None  # inside `in_background`, the executor of its thread
        self._jobs = []  # futures of what the thread has to write
        self.metrics = MetricState(model)
        parts = dict(model=model, optimizer=model.optimizer, step=self.step, seconds=self.seconds)
        self._needed = tf.train.Checkpoint(**parts)
        self._checkpoint = tf.train.Checkpoint(**parts, metrics=self.metrics)

    @property
    def latest(self):
        """Path prefix of the newest checkpoint that is whole, or None; prints a sentence about each newer one."""
        concurrent.futures.wait(self._jobs)
        return files.newest_whole(self._read_from, print)

    def restore(self, path=None):
        """Restores a checkpoint and returns its step, from which the run resumes; 0 if there is no checkpoint.

        Args:
          path: its path prefix; None for the newest that is whole.

        Raises:
          ValueError: the checkpoint does not fit the model.
        """
        path = path or self.latest
        if path is not None:
            status = self._needed.restore(files.readable(path)).expect_partial()  # the metrics are restored later
            try:
                status.assert_existing_objects_matched()
            except AssertionError as error:
                raise ValueError(f"{path} does not fit this config's model: {error}") from error
            self.metrics.read(files.readable(path))
            self._saved_step = int(self.step.numpy())
            self._good = {step for step in map(step_of, files.prefixes(self._directory)) if step <= self._saved_step}
        return int(self.step.numpy())

    def complete(self):
        """Does what a process that was killed left undone after the checkpoint: checksums, state file, removal of others."""
        if self._saved_step in self._good and self._read_from == self._directory:  # of others not these files were restored
            self._do(self._complete, self._saved_step)

    def _complete(self, step):
        files.seal(self._prefix(step))
        self._good.add(step)
        files.record(self._directory, "step", self._good, self._keep)

    @contextlib.contextmanager
    def in_background(self):
        """A context in which a thread writes to the disk: `save` and `copy_newest` do not wait for it.

        `save` first writes to memory, which holds one checkpoint at a time, and waits only where that one is not written yet.
        What the thread could not write is raised by the next `save`, by `check` or `wait`, or at the end of the context.
        """
        try:
            with concurrent.futures.ThreadPoolExecutor(1) as self._writer:
                yield
                self.wait()
        finally:
            self._writer = None

    def wait(self):
        """Waits until everything is written. Raises OSError as `save`."""
        jobs, self._jobs = self._jobs, []
        for job in jobs:
            with self._naming_last_good():
                job.result()

    def check(self):
        """Raises OSError as `save` if the thread could not write something; does not wait."""
        if any(job.done() and job.exception() for job in self._jobs):
            self.wait()

    def copy_newest(self, folder):
        """Copies the checkpoint that this process restored or wrote last into a folder, as `replace_checkpoint` does."""
        self._do(self._copy, self._saved_step, folder)

    def _copy(self, step, folder):
        if step in self._good:  # and was not one that could not be written
            replace_checkpoint(folder, str(self._prefix(step)))

    def _prefix(self, step):
        return self._directory / f"step-{step}"

    def save(self, step, seconds, epoch_start=None):
        """Writes a checkpoint of `step`, unless the last one that this process restored or wrote is of that step.

        Args:
          step: steps done.
          seconds: that the run has taken so far.
          epoch_start: for a checkpoint inside an epoch, the first step of that epoch, whose metrics are then saved, too.

        Raises:
          FloatingPointError: a weight is not finite; such a checkpoint would replace good ones.
          RuntimeError: while the weights hold their averages (`train.ema_decay`): the weights themselves would be lost.
          OSError: it cannot be written, or in the background the one before; earlier checkpoints stay.
        """
        # Not decided by the files of the chief, which may be ahead: all workers must take part in a save.
        if step == self._saved_step:
            return
        if getattr(self._model.optimizer, "averages_in_use", False):
            raise RuntimeError(f"no checkpoint of step {step}: the weights hold their averages")
        for weight in self._model.trainable_weights:
            if not bool(tf.reduce_all(tf.math.is_finite(weight))):
                raise FloatingPointError(f"{weight.name} is not finite after step {step}; {self.last_good()}")
        self.wait()
        self.step.assign(step)
        self.seconds.assign(seconds)
        self.metrics.epoch_start = epoch_start
        self._checkpoint.save_counter.assign_add(1)
        if self._writer:
            memory = f"{files.MEMORY}{id(self)}"
            self._checkpoint.write(f"{memory}/{self._prefix(step).name}")
            self._do(self._write, step, lambda prefix: files.move_from_memory(memory, prefix.parent))
        else:
            self._do(self._write, step, lambda prefix: self._checkpoint.write(str(prefix)))
        self._saved_step = step

    def _do(self, function, *arguments):
        """Calls a function that writes files, here or in the thread."""
        if self._writer:
            self._jobs.append(self._writer.submit(function, *arguments))
        else:
            with self._naming_last_good():
                function(*arguments)

    def _write(self, step, write):
        """Makes the checkpoint of a step by a function of its prefix, and removes older ones."""
        prefix = self._prefix(step)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            files.remove(prefix)  # a damaged one of that step
            write(prefix)
            self._complete(step)
        except tf.errors.UnavailableError:  # another worker, whose part of the metrics is read, is lost
            raise
        except (OSError, tf.errors.OpError) as error:
            self._good.discard(step)
            with contextlib.suppress(OSError):
                files.remove(prefix)  # a full disk needs the space
            raise OSError(f"the checkpoint of step {step} could not be written, as on a full disk") from error

    @contextlib.contextmanager
    def _naming_last_good(self):
        try:
            yield
        except OSError as error:
            raise OSError(f"{error}; {self.last_good()}") from error

    def last_good(self):
        """A clause that names the newest checkpoint."""
        return f"the last good checkpoint is {self.latest}" if self.latest else "there is no checkpoint yet"


class NoSuchMetric(ValueError):
    """`train.best` is not a metric of the run."""


class BestCheckpoint:
    """Keeps a copy of the checkpoint with the best evaluation in a separate folder.

    A larger value is better, except for a loss or an unexplained share; of equal values the earlier is. Each session of a run
    reads the best value so far from the run's table.

    Args:
      metric: name of a metric of training, as logs have it.
      folder: a pathlib.Path; made when needed.
      copy_newest: function that copies the newest checkpoint, which is of the last evaluation, into the folder.
      rows: of metrics.csv, as read_table returns them.
      step: first step of the session.

    Raises:
      NoSuchMetric: the table lacks the metric.
    """

    def __init__(self, metric, folder, copy_newest, rows, step):
        self._metric = metric
        self._folder = folder
        self._copy_newest = copy_newest
        self._best = None
        kept = kept_step(folder)  # None of a damaged one, too: the best of later evaluations takes its place
        if kept is not None:
            values = {int(row["step"]): row.get(f"val_{metric}") for row in rows}
            if values.get(kept):
                self._best = float(values[kept])
            else:
                # The table lacks its evaluation: the run's checkpoints have been replaced by older ones.
                shutil.rmtree(folder)
        if rows and int(rows[-1]["step"]) == step:
            # The run may have been killed between its checkpoint and the copy of it.
            self.consider(rows[-1])

    def check(self, logs):
        """Raises NoSuchMetric for a metric that training does not have, before the first evaluation."""
        if self._metric not in logs:
            raise NoSuchMetric(f"train.best={self._metric!r} is not allowed: it must be '' or one of {', '.join(logs)}")

    def consider(self, logs):
        """Copies the newest checkpoint if these logs of its evaluation are the best so far. Raises NoSuchMetric."""
        self.check({key.removeprefix("val_"): logs[key] for key in logs if key.startswith("val_")})
        value = float(logs[f"val_{self._metric}"])
        if not math.isnan(value) and (self._best is None or self._is_better(value)):
            self._copy_newest(self._folder)
            self._best = value

    def _is_better(self, value):
        is_better_low = self._metric.endswith(("loss", "unexplained"))
        return value < self._best if is_better_low else value > self._best


def resumes_from(folder, restart=False):
    """The path prefix of the checkpoint from which a run resumes, a string; None if it starts at step 0.

    Prints a sentence about each newer checkpoint, which is damaged.

    Args:
      folder: a pathlib.Path, of the run's checkpoints.
      restart: whether the run starts at step 0 where there are checkpoints and none is whole (`train.restart`).

    Raises:
      ValueError: there are checkpoints and none is whole.
    """
    found = files.newest_whole(folder, print)
    if found is None and files.was_saved(folder):
        if not restart:
            raise ValueError(
                f"none of the checkpoints in {folder} is whole: put one back that is, or set --config.train.restart=True to "
                "start again at step 0"
            )
        print(f"None of the checkpoints in {folder} is whole: the run starts again at step 0.")
    return found


def step_of(prefix):
    """The step of a checkpoint of a run, by its path prefix."""
    return int(re.search(r"\d+$", prefix).group())


def kept_step(folder):
    """The step of the checkpoint in a folder of the best one; None if there is none that is whole."""
    kept = kept_checkpoint(folder)
    return None if kept is None else step_of(kept)


def kept_checkpoint(folder):
    """The path prefix of the checkpoint in a folder of the best one, a string; None if there is none that is whole."""
    return files.newest_whole(folder, print, state_first=True)


def replace_checkpoint(folder, prefix):
    """Copies a checkpoint's files into a folder, in place of the one there; the folder always has a complete checkpoint.

    Args:
      folder: a pathlib.Path; made if it does not exist.
      prefix: of the checkpoint, a string.
    """
    prefix = pathlib.Path(prefix)
    folder.mkdir(exist_ok=True)
    for file in files.files_of(prefix):
        shutil.copyfile(file, folder / file.name)
        fsync(folder / file.name)
    files.write_state(folder, [prefix.name])
    for file in folder.iterdir():
        if file.name != files.STATE and file.stem != prefix.name:
            file.unlink()
