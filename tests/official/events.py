"""What tests of TensorBoard's event files share."""

import tensorflow as tf


def events(workdir):
    """{(folder's name, tag): list of (step, value)} of all event files in a workdir, in the order of the files."""
    found = {}
    for file in sorted((workdir / "tensorboard").rglob("events*")):
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                found.setdefault((file.parent.name, value.tag), []).append((event.step, value))
    return found
