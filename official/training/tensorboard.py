"""The TensorBoard files of a run: scalars, hyperparameters, the config and pictures. Every step is an optimizer step."""

import json
import time

import tensorflow as tf

from official.config import flat

SPLITS = ("train", "validation")


class TensorBoard:
    """Writes a run's event files: the scalars of each split in a folder of its name, everything else beside these folders.

    Args:
      folder: a pathlib.Path.
      first_step: scalars of later steps are removed: they were written after the checkpoint from which the run resumes. What lies
        beside the splits is removed, because every session writes it.
    """

    def __init__(self, folder, first_step=0):
        for file in _event_files(folder):
            file.unlink()
        for split in SPLITS:
            _keep(folder / split, first_step)
        self._writers = {split: tf.summary.create_file_writer(str(folder / split)) for split in SPLITS}
        self._writer = tf.summary.create_file_writer(str(folder))

    def write_config(self, config):
        """Writes the config, nested dicts of plain values, as text and as hyperparameters."""
        from tensorboard.plugins.hparams import api

        values = {name: value if isinstance(value, (bool, int, float)) else str(value) for name, value in flat(config)}
        with self._writer.as_default(step=0):
            lines = json.dumps(config, indent=2).splitlines()
            tf.summary.text("config", "\n".join(f"    {line}" for line in lines))  # indented, it is code in Markdown
            api.hparams(values)
        self._writer.flush()

    def write_scalars(self, split, values, step):
        """Writes {tag: number} of a split."""
        with self._writers[split].as_default(step=step):
            for tag, value in values.items():
                tf.summary.scalar(tag, value)
        self._writers[split].flush()

    def write_picture(self, tag, content, step):
        """Writes a picture, the content of a PNG file."""
        with self._writer.as_default(step=step):
            tf.summary.image(tag, tf.io.decode_png(content, channels=3)[tf.newaxis])
        self._writer.flush()


def _event_files(folder):
    return sorted(folder.glob("events.out.tfevents.*"))


def _keep(folder, last_step):
    """Joins the event files in a folder, without events of later steps and without any that has the tag and step of another.

    The new file has another name, so that a TensorBoard that is running reads it, and by name it is before the next writer's.
    """
    files = _event_files(folder)
    if not files:
        return
    seen, events = set(), [tf.compat.v1.Event(wall_time=time.time(), file_version="brain.Event:2")]
    for event in (event for file in files for event in _events(file)):
        places = {(value.tag, event.step) for value in event.summary.value}
        if places and event.step <= last_step and not places & seen:
            seen |= places
            events.append(event)
    partial = folder / "partial"
    with tf.io.TFRecordWriter(str(partial)) as writer:
        for event in events:
            writer.write(event.SerializeToString())
    kept = partial.replace(folder / f"events.out.tfevents.{int(time.time())}-kept")
    for file in files:
        if file != kept:
            file.unlink()


def _events(file):
    """The events of a file up to its end, or to where a process was killed while it wrote."""
    try:
        for record in tf.data.TFRecordDataset(str(file)):
            yield tf.compat.v1.Event.FromString(record.numpy())
    except tf.errors.DataLossError:
        return
