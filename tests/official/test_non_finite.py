"""Losses and weights that are not finite: the very step is named, and no checkpoint is spoilt."""

import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf

from official import train
from tests.official.test_command import refusal
from tests.official.tiny import ROOT, command, tiny_config, without_export
from vision.classification import ImageClassification

DENSE = {"model.depth": 1, "model.moe_blocks": 0}


@pytest.fixture(scope="module", autouse=True)
def quick():
    """What is exported is not looked at here, only that nothing is."""
    with without_export():
        yield


@pytest.fixture
def poison(monkeypatch):
    """Makes one pixel of the batch of that step (counted from 1) NaN."""
    train_dataset = ImageClassification.train_dataset

    def poison_step(step):
        def poisoned(self, start_step):
            def spoil(index, batch):
                images, labels = batch
                bad = tf.where(index + start_step == step - 1, np.nan, 0.0)
                return images + tf.cast(bad, images.dtype), labels

            return train_dataset(self, start_step).enumerate().map(spoil)

        monkeypatch.setattr(ImageClassification, "train_dataset", poisoned)

    return poison_step


def assert_checkpoints_are_finite(workdir):
    """Whatever lies there can be gone on from."""
    for index in (workdir / "checkpoints").glob("*.index"):
        reader = tf.train.load_checkpoint(str(index.with_suffix("")))
        for name, dtype in reader.get_variable_to_dtype_map().items():
            if dtype.is_floating:
                assert np.isfinite(reader.get_tensor(name)).all(), (index, name)


@pytest.mark.further_cases
@pytest.mark.parametrize(
    "step, eval_every, checkpoint_every, last_good",
    [
        (8, 5, 2, 7),  # inside an epoch, between two checkpoints
        pytest.param(7, 5, 2, 5, marks=pytest.mark.train),  # at a checkpoint
        pytest.param(10, 5, 0, 5, marks=pytest.mark.train),  # at the end of an epoch
        pytest.param(25, 100, 24, 24, marks=pytest.mark.train),  # a step after the losses were last looked at
        (2, 100, 0, None),
    ],
)
def test_poisoned_step(poison, tmp_path, step, eval_every, checkpoint_every, last_good):
    """The step whose batch was bad is named, however rarely losses are looked at, and the newest checkpoint before it."""
    poison(step)
    config = tiny_config(DENSE, steps=30, eval_every=eval_every, checkpoint_every=checkpoint_every)
    with pytest.raises(FloatingPointError) as error:
        train.run(config, tmp_path)
    reason = f"the last good checkpoint is {tmp_path}/checkpoints/step-{last_good}" if last_good else "there is no checkpoint yet"
    assert str(error.value) == f"loss is nan at step {step}; {reason}"
    assert not (tmp_path / "summary.json").exists()
    assert not (tmp_path / "saved_model").exists()
    assert_checkpoints_are_finite(tmp_path)
    newest = tf.train.latest_checkpoint(str(tmp_path / "checkpoints"))
    assert (newest and pathlib.Path(newest).name) == (last_good and f"step-{last_good}")


@pytest.mark.further
def test_going_on_after_a_bad_batch(poison, tmp_path):
    """From the last good checkpoint, once the cause is gone."""
    config = tiny_config(DENSE, steps=6, eval_every=3)
    poison(5)
    with pytest.raises(FloatingPointError, match="step 5"):
        train.run(config, tmp_path)
    poison(1000)
    run = train.Run(config, tmp_path)
    assert run.first_step == 3
    assert np.isfinite(run.train()["metrics"]["loss"])


@pytest.mark.further
def test_weights_that_are_not_finite(tmp_path):
    """A loss that is still finite while the step has spoilt the weights: they are looked at before they are saved."""
    # Above float32's range, so that the first step makes every weight infinite.
    config = tiny_config(DENSE, lr=1e39, warmup_steps=0, checkpoint_every=1)
    with pytest.raises(FloatingPointError) as error:
        train.run(config, tmp_path)
    assert re.fullmatch(r"\S+:0 is not finite after step 1; there is no checkpoint yet", str(error.value))
    assert not list((tmp_path / "checkpoints").glob("*.index"))


@pytest.mark.further
def test_absurd_learning_rate(tmp_path, monkeypatch, capsys):
    """Weights near float32's limit, then a loss that is not a number: within a step or two, and every checkpoint is finite.

    The command tells it in one line.
    """
    monkeypatch.chdir(ROOT)
    settings = {"train.lr": 1e37, "train.warmup_steps": 0, "train.checkpoint_every": 1, **DENSE}
    said = refusal(*command(tmp_path, **settings)[3:])
    last_good = re.escape(str(tmp_path / "checkpoints" / "step-"))
    assert re.fullmatch(rf"error: loss is (nan|inf) at step [23]; the last good checkpoint is {last_good}[12]", said), said
    assert "Traceback" not in capsys.readouterr().out
    assert_checkpoints_are_finite(tmp_path)


@pytest.mark.further
def test_validation_loss_that_is_not_finite(tmp_path, monkeypatch):
    """Validation data may be bad where training data are not; the epoch's checkpoint is not written then."""
    validation_dataset = ImageClassification.validation_dataset

    def poisoned(self):
        return validation_dataset(self).map(lambda images, labels: (images * np.nan, labels))

    monkeypatch.setattr(ImageClassification, "validation_dataset", poisoned)
    with pytest.raises(FloatingPointError, match=re.escape("validation loss is nan at step 3; there is no checkpoint yet")):
        train.run(tiny_config(DENSE), tmp_path)
