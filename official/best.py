"""The checkpoint whose evaluation was the best of a run, where `train.best` names a metric of the validation split."""

import math
import pathlib
import re
import shutil

import tensorflow as tf

FOLDER = "checkpoints-best"  # in the workdir


class NoSuchMetric(ValueError):
    """`train.best` is none of the metrics that there are."""


class BestCheckpoint:
    """Keeps a copy of the best evaluation's checkpoint in a folder of its own.

    The larger value is better, of a loss the smaller one, and of equal ones the earlier. The best so far is known by the table of
    the run, which every session reads.

    Args:
      metric: name of a metric of training, as logs have it.
      folder: a pathlib.Path; made when needed.
      copy_newest: function of the folder that copies the newest checkpoint, of the last evaluation, into it.
      rows: of metrics.csv, as read_table gives them.
      step: that the session begins with.

    Raises:
      NoSuchMetric: where the table does not have the metric.
    """

    def __init__(self, metric, folder, copy_newest, rows, step):
        self._metric = metric
        self._folder = folder
        self._copy_newest = copy_newest
        self._best = None
        kept = kept_step(folder)
        if kept is not None:
            values = {int(row["step"]): row.get(f"val_{metric}") for row in rows}
            if values.get(kept):
                self._best = float(values[kept])
            else:
                # Of an evaluation that this run has not made: older checkpoints have been put in place of its own.
                shutil.rmtree(folder)
        if rows and int(rows[-1]["step"]) == step:
            # A run that was killed after its checkpoint and before the copy of it.
            self.consider(rows[-1])

    def check(self, logs):
        """Refuses a metric that training does not have, long before the first evaluation. Raises NoSuchMetric."""
        if self._metric not in logs:
            raise NoSuchMetric(f"train.best={self._metric!r} is not allowed: it must be '' or one of {', '.join(logs)}")

    def consider(self, logs):
        """Keeps the newest checkpoint where these logs of its evaluation are the best so far. Raises as the class."""
        self.check({key.removeprefix("val_"): logs[key] for key in logs if key.startswith("val_")})
        value = float(logs[f"val_{self._metric}"])
        if not math.isnan(value) and (self._best is None or self._is_better(value)):
            self._copy_newest(self._folder)
            self._best = value

    def _is_better(self, value):
        return value < self._best if self._metric.endswith("loss") else value > self._best


def kept_step(folder):
    """The step of the checkpoint in a folder of the best one; None where there is none."""
    kept = tf.train.latest_checkpoint(str(folder))
    return None if kept is None else int(re.search(r"\d+$", kept).group())


def replace_checkpoint(folder, prefix):
    """Copies a checkpoint's files into a folder, in place of the one there: at any time there is a whole one.

    Args:
      folder: a pathlib.Path; made if it does not exist.
      prefix: of the checkpoint, a string.
    """
    prefix = pathlib.Path(prefix)
    folder.mkdir(exist_ok=True)
    for file in prefix.parent.glob(f"{prefix.name}.*"):
        shutil.copyfile(file, folder / file.name)
    # As tf.train.latest_checkpoint reads it, with a path that stays right when the run is moved.
    partial = folder / "checkpoint.partial"
    partial.write_text(f'model_checkpoint_path: "{prefix.name}"\n')
    partial.replace(folder / "checkpoint")
    for file in folder.iterdir():
        if file.name != "checkpoint" and file.stem != prefix.name:
            file.unlink()
