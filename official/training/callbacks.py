"""Keras callbacks of the driver: progress, step counts, tables, checkpoints, and a guard against losses that are not finite.

An epoch here is Keras's, the steps between two evaluations (`train.eval_every`), not one of `train.epochs`, a pass over the data.
"""

import contextlib
import math
import signal
import time

import tensorflow as tf

from official.cli import stopping
from official.cli.status_line import StatusLine, format_bytes, format_seconds
from official.files.layout import METRICS_CSV
from official.files.tables import columns_by_block
from official.training.devices import WorkerLost, peak_memory


class Stopped(Exception):
    """The run was asked to stop (official.cli.stopping) and has saved a checkpoint of `step`."""

    def __init__(self, step, signum):
        super().__init__(step, signum)
        self.step = step
        self.signum = signum


class StepCallback(tf.keras.callbacks.Callback):
    """A callback that is called after every step without making Keras wait for the device.

    Keras passes tensors to batch hooks only if all callbacks with such hooks declare that they take tensors.
    """

    def __init__(self):
        super().__init__()
        self._supports_tf_logs = True


class Progress(StepCallback):
    """A bar that fits the terminal, and a line after each evaluation; only these lines where output is not a terminal.

    Beside the logs they show the run's time so far, the time left, examples a second in training, and the largest memory so far.
    Keras's own bar waits for the device at every step, and is repeated line by line where it is wider than the terminal.

    Args:
      first_step: steps done before this session.
      steps: last step of the run.
      batch_size: examples of a step.
      unit: what an example is called, in the plural.
      clock: function that returns the seconds that the run has taken so far.
      memory: function that returns the largest memory so far, in bytes.
      refresh: seconds between two reads of the loss.
    """

    def __init__(self, first_step, steps, batch_size, unit, clock, memory=peak_memory, refresh=0.25):
        super().__init__()
        self._step = first_step
        self._steps = steps
        self._batch_size = batch_size
        self._unit = unit
        self._clock = clock
        self._memory = memory
        self._first = None  # step and time after the session's first step, in which the graph is traced
        self._line = StatusLine(refresh)

    def on_epoch_begin(self, epoch, logs=None):
        self._start = self._step
        self._rate_from = self._step, self._clock()
        self._rate = None
        self._show_bar({})

    def on_train_batch_end(self, batch, logs=None):
        self._step = self._start + batch + 1  # of several steps in one execution, `batch` is the last
        if self._first is None:
            self._first = self._rate_from = self._step, self._clock()
        if self._line.is_due():
            self._measure()
            self._show_bar(logs)

    def on_test_begin(self, logs=None):
        self._measure()
        self._line.show(f"{self._label()}  evaluating")

    def on_epoch_end(self, epoch, logs=None):
        if not any(key.startswith("val_") for key in logs):
            self._measure()
        training = {key: value for key, value in logs.items() if f"val_{key}" in logs}
        validation = {key.removeprefix("val_"): value for key, value in logs.items() if key.startswith("val_")}
        parts = [_as_text(training or logs)]
        if validation:
            parts.append(f"validation: {_as_text(validation)}")
        self._line.leave(f"{self._label()}  {' | '.join([*parts, self._facts()])}")

    def _label(self):
        return f"step {self._step:>{len(str(self._steps))}}/{self._steps}"

    def _measure(self):
        """Measures examples a second since the last evaluation, which ends before the next one begins."""
        step, start = self._rate_from
        if self._step > step:
            self._rate = (self._step - step) * self._batch_size / (self._clock() - start)

    def _facts(self):
        now = self._clock()
        facts = [format_seconds(now)]
        if self._first and self._step > self._first[0]:
            step, start = self._first
            facts.append(f"{format_seconds((now - start) / (self._step - step) * (self._steps - self._step))} left")
        if self._rate:
            facts.append(f"{self._rate:{',.0f' if self._rate >= 10 else '.2g'}} {self._unit}/s")
        return ", ".join([*facts, format_bytes(self._memory())])

    def _show_bar(self, logs):
        if self._line.is_terminal:
            bar = "=" * (10 * self._step // self._steps)
            self._line.show(f"{self._label()} [{bar:<10}] {self._facts()}  {_as_text(logs)}")


def _as_text(logs):
    """The logs in one line, where metrics of every block are one: "unexplained by block 0.04 0.1 0.09"."""
    values = {key: f"{key} {float(value):.4g}" for key, value in logs.items()}
    for name, (first, *others) in columns_by_block(logs).items():
        values[first] = f"{name} by block " + " ".join(f"{float(logs[key]):.2g}" for key in (first, *others))
        for key in others:
            del values[key]
    return ", ".join(values.values())


class StepCounter(StepCallback):
    """Counts the run's steps over all fits and sessions, and times them.

    Adds `step`, `lr` and `<unit>_per_second` to the logs of every epoch, and `tokens_per_second` where `tokens_per_example` is
    given. The rates exclude evaluation; those of a session's first epoch include tracing the graph.

    Attributes:
      step: steps done.
    """

    def __init__(self, first_step, batch_size, unit, tokens_per_example=None):
        super().__init__()
        self.step = first_step
        self._batch_size = batch_size
        self._per_example = {unit: 1, "tokens": tokens_per_example} if tokens_per_example else {unit: 1}

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch_start = (self.step, time.perf_counter())
        self._epoch_rate = None

    def on_train_batch_end(self, batch, logs=None):
        self.step = self._epoch_start[0] + batch + 1  # of several steps in one execution, `batch` is the last

    def on_test_begin(self, logs=None):
        self._measure()

    def on_epoch_end(self, epoch, logs=None):
        self._measure()
        schedule = self.model.optimizer.learning_rate
        lr = schedule(self.step) if callable(schedule) else schedule
        logs.update({"step": self.step, "lr": float(lr)})
        logs.update({f"{what}_per_second": round(count * self._epoch_rate, 1) for what, count in self._per_example.items()})

    def _measure(self):
        """Measures once an epoch: training ends where its evaluation begins."""
        if self._epoch_rate is None:
            step, start = self._epoch_start
            self._epoch_rate = (self.step - step) * self._batch_size / (time.perf_counter() - start)


class NonFiniteGuard(StepCallback):
    """Stops the run where a loss is not finite, and names the first such step.

    Losses stay on the device and are read every `check_every` steps, at the end of an epoch and before a checkpoint, so that the
    run does not wait for each step.

    Raises:
      FloatingPointError: naming the step and the last good checkpoint.
    """

    def __init__(self, counter, checkpoints, check_every=20):
        super().__init__()
        self._counter = counter
        self._checkpoints = checkpoints
        self._check_every = check_every
        self._losses = []

    def on_train_batch_end(self, batch, logs=None):
        self._losses.append((self._counter.step, logs["loss"]))
        if len(self._losses) >= self._check_every:
            self.check()

    def on_epoch_end(self, epoch, logs=None):
        self.check()
        if "val_loss" in logs and not math.isfinite(logs["val_loss"]):
            self._stop(self._counter.step, "validation loss", logs["val_loss"])

    def check(self):
        """Reads the losses of the steps since the last call."""
        # This is a running mean over the epoch, which stays non-finite from the first such step on.
        for step, loss in self._losses:
            if not math.isfinite(float(loss)):
                self._stop(step, "loss", float(loss))
        self._losses.clear()

    def _stop(self, step, what, value):
        raise FloatingPointError(f"{what} is {value} at step {step}; {self._checkpoints.last_good()}")


class EpochTables(tf.keras.callbacks.Callback):
    """Writes the logs of every epoch to metrics.csv, and the rows of every metric with a `table` method to <its name>.csv.

    Such a metric, like widenet.ExpertLoad, has more values than a progress bar can show. All of this is also written as scalars
    of TensorBoard. Nothing is read from the device within an epoch.

    Args:
      open_table: function of a file name to an official.files.tables.Table.
      tensorboard: an official.training.tensorboard.TensorBoard.
      writing: function that returns a context in which files are written.
    """

    def __init__(self, counter, open_table, tensorboard, writing=contextlib.nullcontext):
        super().__init__()
        self._counter = counter
        self._open_table = open_table
        self._metrics = open_table(METRICS_CSV)
        self._tables = {}
        self._tensorboard = tensorboard
        self._writing = writing
        self._rows = {}

    def on_epoch_begin(self, epoch, logs=None):
        self._rows = {}

    def on_test_begin(self, logs=None):
        self._collect("train")  # before evaluation resets the metrics

    def on_test_end(self, logs=None):
        self._collect("validation")

    def on_epoch_end(self, epoch, logs=None):
        if not self._rows:
            self._collect("train")
        with self._writing():
            self._write(epoch, logs, self._counter.step)

    def _write(self, epoch, logs, step):
        for (name, split), rows in self._rows.items():
            if name not in self._tables:
                self._tables[name] = self._open_table(f"{name}.csv")
            self._tables[name].append([{"step": step, "split": split, **row} for row in rows])
            self._tensorboard.write_scalars(split, _table_scalars(name, rows), step)
        values = {key: float(value) for key, value in logs.items() if key != "step"}
        self._metrics.append([{"step": step, "epoch": epoch + 1, **values}])
        self._tensorboard.write_scalars("train", {key: values[key] for key in values if not key.startswith("val_")}, step)
        validation = {key.removeprefix("val_"): values[key] for key in values if key.startswith("val_")}
        self._tensorboard.write_scalars("validation", validation, step)

    def _collect(self, split):
        for metric in self.model.metrics:
            if hasattr(metric, "table"):
                self._rows[metric.name, split] = metric.table()


def _table_scalars(name, rows):
    """{tag: number} of the rows of a metric's `table`, whose first column numbers them."""
    indices = [next(iter(row.items())) for row in rows]
    return {
        f"{name}/{column}_{number}/{key}": value
        for (column, number), row in zip(indices, rows, strict=True)
        for key, value in list(row.items())[1:]
    }


def epoch_start(step, epoch_steps):
    """The number of steps before the epoch in which step number `step`, counted from 0, is made."""
    return step - step % epoch_steps


class ResumeMetrics(tf.keras.callbacks.Callback):
    """Goes on with the metrics of an epoch in which an earlier session was stopped, so that they cover all of it.

    Keras sets metrics to zero when an epoch begins, and makes many of them when it traces the first step. So the step is traced
    before it is run, by the call that would have traced it.

    Args:
      checkpoints: an official.checkpoints.manager.Checkpoints.
      epoch_start: first step of the epoch that the session's first step is of.
    """

    def __init__(self, checkpoints, epoch_start):
        super().__init__()
        self._state = checkpoints.metrics if checkpoints.metrics.is_of(epoch_start) else None

    def on_epoch_begin(self, epoch, logs=None):
        if self._state is None:
            return
        state, step = self._state, self.model.train_function
        self._state = None

        def first_step(iterator):
            self.model.train_function = step
            if hasattr(step, "get_concrete_function"):
                step.get_concrete_function(iterator)
            state.restore()
            return step(iterator)

        self.model.train_function = first_step


class SaveCheckpoints(StepCallback):
    """Saves a checkpoint after every epoch, every `every` steps, and when the process is asked to stop.

    Args:
      epoch_steps: steps of an epoch, at whose multiples an epoch begins.
      clock: function that returns the seconds that the run has taken so far.
      best: an official.checkpoints.manager.BestCheckpoint, or None.
      agreement: an official.training.devices.Agreement of several workers, of which all stop where one is asked to. They ask each
        other every ASK_EVERY steps and at every checkpoint.

    Raises:
      Stopped: after the checkpoint, if a signal came or output was closed.
      OSError: a checkpoint could not be written, here or since the last step in the background.
      NoSuchMetric: of `best`, after the first step.
    """

    ASK_EVERY = 10

    def __init__(self, counter, guard, checkpoints, every, clock, best=None, epoch_steps=1, agreement=None):
        super().__init__()
        self._counter = counter
        self._guard = guard
        self._checkpoints = checkpoints
        self._every = every
        self._clock = clock
        self._best = best
        self._epoch_steps = epoch_steps
        self._agreement = agreement
        self._signal = None
        self._saved_step = self._asked_step = counter.step

    @contextlib.contextmanager
    def listening(self):
        """Inside, signals and closed output ask the run to stop after the current step or evaluation.

        A second SIGINT or SIGTERM does what the first would have done outside; if that is nothing in Python, it raises
        KeyboardInterrupt. Not so a second SIGHUP, since a terminal that is closed may send several.
        """
        self._before = {signum: signal.signal(signum, self._remember) for signum in stopping.heard()}
        try:
            yield
        except WorkerLost as lost:  # waiting for it, TensorFlow kept the signal back
            if self._signal:
                raise Stopped(self._saved_step, self._signal) from lost
            raise
        finally:
            for signum, handler in self._before.items():
                signal.signal(signum, handler)

    def _remember(self, signum, frame):
        if not self._signal:
            self._signal = signum
            second = "" if signum == stopping.CLOSED else "; a second signal stops at once"
            stopping.say(f"Stopping after this step or evaluation, which is saved first{second}.")
        elif signum in (stopping.CLOSED, signal.SIGHUP):
            return
        elif self._signal == stopping.CLOSED:
            self._signal = signum
        elif callable(self._before[signum]):
            self._before[signum](signum, frame)
        else:
            raise KeyboardInterrupt

    def on_train_batch_end(self, batch, logs=None):
        self._checkpoints.check()
        if self._best:
            self._best.check(logs)
        # The last step of an epoch is saved in `on_epoch_end`, after its evaluation: resuming from here would skip that.
        is_last = batch + 1 >= self.params["steps"]
        due = self._every and self._counter.step - self._saved_step >= self._every
        if (due or self._is_asked()) and not is_last:
            self.save(epoch_start=epoch_start(self._counter.step, self._epoch_steps))

    def on_epoch_end(self, epoch, logs=None):
        self.save(logs)

    def save(self, evaluation=None, epoch_start=None):
        """Saves now, and ends the run if it was asked to stop.

        Args:
          evaluation: the logs of the evaluation after this step, or None.
          epoch_start: as of Checkpoints.save.
        """
        self._guard.check()
        self._checkpoints.save(self._counter.step, self._clock(), epoch_start)
        self._saved_step = self._counter.step
        if self._best and evaluation:
            self._best.consider(evaluation)
        if self._signal:
            self._checkpoints.wait()
        self.stop_if_asked()

    def stop_if_asked(self):
        """Ends the run, whose last step is saved, if it was asked to stop: after the last step that may be between two saves."""
        signum = self._agreement.signal(self._signal or 0) if self._agreement else self._signal
        if signum:
            raise Stopped(self._counter.step, signum)

    def _is_asked(self):
        """Whether the run was asked to stop, as far as that is known within an epoch."""
        if self._agreement is None:
            return self._signal
        if self._counter.step - self._asked_step < self.ASK_EVERY:
            return 0
        self._asked_step = self._counter.step
        return self._agreement.signal(self._signal or 0)
