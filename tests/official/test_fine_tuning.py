"""The settings of fine-tuning in whole runs: optimizers, layer decay, averages and frozen layers."""

import numpy as np
import pytest
import tensorflow as tf

from official import train
from official.files.tables import read_table
from official.training.averaging import averaged_weights
from tests.official.test_resume import assert_same_state, dense_config, state, stop_at
from tests.official.tiny import DENSE, tiny_config, without_export


def values(variables):
    return {variable.name: variable.numpy() for variable in variables}


def two_blocks(**settings):
    config = dense_config(**settings)
    config.model.depth = 2
    return config


def new_run(config, workdir):
    """A run and its weights before training, by name."""
    run = train.Run(config, workdir)
    return run, values(run.model.weights)


def test_frozen_layers(tmp_path, capsys):
    """The head alone, in mixed precision: all other weights stay bit by bit and have no state; files hold all of them."""
    settings = dict(optimizer="adamw", ema_decay=0.5, steps=2, eval_every=2, warmup_steps=0, precision="mixed_bfloat16")
    run, before = new_run(tiny_config(DENSE, {"model.depth": 1}, frozen=("embedding", "encoder"), **settings), tmp_path)
    assert len(run.model.optimizer.variables()) == 1 + 3 * 2
    run.train()
    for name, value in values(run.model.weights).items():
        assert np.array_equal(value, before[name]) != name.startswith("head/"), name
    total, head = run.model.count_params(), 16 * 10 + 10
    assert f"{total:,} parameters ({head} of them trained)" in capsys.readouterr().out
    exported = tf.saved_model.load(str(tmp_path / "saved_model"))
    assert len(exported.variables) == len(run.model.weights)
    reader = tf.train.load_checkpoint(str(tmp_path / "checkpoints"))
    names = [name for name in reader.get_variable_to_shape_map() if name.startswith("model/")]
    assert sum(".OPTIMIZER_SLOT" not in name for name in names) == len(run.model.weights)
    with pytest.raises(ValueError, match=r"train\.frozen: \['embedding', 'encoder'\] -> \[\]"):
        train.run(tiny_config(DENSE, {"model.depth": 1}, **settings), tmp_path)


@pytest.mark.further
def test_sgd_with_layer_decay(tmp_path):
    """One step of plain gradient descent, whose size the depth decides: by hand 0.5 ** (3 - depth) of what it is without."""
    moved = {}
    for layer_decay in (1.0, 0.5):
        settings = dict(optimizer="sgd", momentum=0.0, lr=0.1, steps=1, eval_every=1, warmup_steps=0, precision="float64")
        run, before = new_run(two_blocks(layer_decay=layer_decay, **settings), tmp_path / str(layer_decay))
        with without_export():
            run.train()
        moved[layer_decay] = {weight.name: weight.numpy() - before[weight.name] for weight in run.model.trainable_weights}
    for name, whole in moved[1.0].items():
        depth = 0 if name.startswith("embedding/") else 2 if name.startswith("encoder/") else 3
        depth = 3 if name.startswith("encoder/final_norm") else depth
        depth = np.array([[1], [2]]) if name.startswith(("encoder/attention_norm", "encoder/ffn_norm")) else depth
        np.testing.assert_allclose(moved[0.5][name], 0.5 ** (3 - depth) * whole, rtol=0, atol=1e-12, err_msg=name)
    assert max(np.abs(change).max() for change in moved[1.0].values()) > 1e-3


@pytest.fixture(scope="module")
def averaged(tmp_path_factory):
    """A run with AdamW, layer decay and averages that nobody stopped: (workdir, Run)."""
    workdir = tmp_path_factory.mktemp("averaged")
    run = train.Run(averaged_config(), workdir)
    run.train()
    return workdir, run


def averaged_config(ema_decay=0.75):
    return two_blocks(optimizer="adamw", layer_decay=0.5, ema_decay=ema_decay, steps=4)


@pytest.mark.further
def test_stop_and_go_on(averaged, tmp_path, monkeypatch):
    """Stopped inside an epoch: weights, moments and averages end where they do without the stop."""
    with monkeypatch.context() as patch:
        stop_at(patch, 2)
        with pytest.raises(train.Stopped):
            train.run(averaged_config(), tmp_path)
    run = train.Run(averaged_config(), tmp_path)
    assert run.first_step == 2
    with without_export():
        run.train()
    assert_same_state(run, state(averaged[1]))


@pytest.mark.further
def test_metrics_and_export_are_of_the_averages(averaged):
    """1e-5 as float32 sums; the weights themselves give something else."""
    workdir, run = averaged
    images, labels = (np.concatenate(part) for part in zip(*run.task.validation_dataset(), strict=True))

    def loss(logits):
        shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
        return (np.log(np.exp(shifted).sum(axis=1)) - (shifted * labels).sum(axis=1)).mean()

    with averaged_weights(run.model.optimizer, run.model):
        expected = run.model(images).numpy()
    exported = tf.saved_model.load(str(workdir / "saved_model"))
    np.testing.assert_allclose(exported.serve(images), expected, rtol=0, atol=1e-5)
    reported = float(read_table(workdir / "metrics.csv")[-1]["val_loss"])
    assert reported == pytest.approx(loss(expected), rel=1e-5)
    assert abs(reported - loss(run.model(images).numpy())) > 1e-3


@pytest.mark.train
def test_training_is_the_same_without_averages(averaged, tmp_path):
    """Bit by bit, evaluations in between included; and the checkpoint holds the weights, not the averages."""
    run = train.Run(averaged_config(ema_decay=0.0), tmp_path)
    with without_export():
        run.train()
    expected = state(averaged[1])
    for name, value in state(run).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    restored = train.Run(averaged_config(), averaged[0])
    assert state(restored).keys() == expected.keys()
    for name, value in state(restored).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
