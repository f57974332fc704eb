"""Checkpoints of several workers; those of one process are tested by test_resume.py."""

import tensorflow as tf

from official.checkpoints.manager import Checkpoints


def compiled_model():
    model = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,))])
    model.compile(optimizer="sgd", loss="mse")
    return model


def test_a_worker_saves_although_the_chief_was_first(tmp_path):
    """Every worker takes part in every save, whatever another has already written; once each."""
    chief = Checkpoints(tmp_path / "chief", compiled_model(), keep=3)
    worker = Checkpoints(tmp_path / "worker", compiled_model(), keep=3, read_from=tmp_path / "chief")
    chief.save(5, 1.0)
    worker.save(5, 1.0)
    index = tmp_path / "worker" / "step-5.index"
    written = index.stat().st_mtime_ns
    worker.save(5, 2.0)
    assert index.stat().st_mtime_ns == written


def test_what_was_restored_is_not_written_again(tmp_path):
    Checkpoints(tmp_path, compiled_model(), keep=3).save(5, 1.0)
    index = tmp_path / "step-5.index"
    written = index.stat().st_mtime_ns
    again = Checkpoints(tmp_path, compiled_model(), keep=3)
    assert again.restore() == 5
    again.save(5, 2.0)
    assert index.stat().st_mtime_ns == written
