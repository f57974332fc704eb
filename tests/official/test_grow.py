"""The command that grows a model with experts out of a dense one, on a run of the digits recipe."""

import json
import sys
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

import vision
from official import grow, train
from official.files.layout import CONFIG_FILE, FACTS_FILE
from tests.official.tiny import DENSE, files_and_digests, tiny_config

# Two blocks with FFNs of their own, which WideNet's recipe shares.
OWN = {"model.ffn_groups": None, "model.eval_capacity_factor": 1.0}
GROWN = {"model.moe_blocks": "1", "model.num_experts": "4", "model.renormalize": "True"}


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """The workdir of a dense run that was stopped after a step, its norms and biases random too."""
    workdir = tmp_path_factory.mktemp("parent") / "run"
    run = train.Run(tiny_config(DENSE, OWN), workdir)
    for weight in run.model.weights:
        weight.assign(tf.random.normal(weight.shape, stddev=0.3))
    run.checkpoints.save(1, 0.0)
    return workdir


def command(parent, output, *more, **settings):
    """Runs the command in this process."""
    changes = [f"--config.{name}={value}" for name, value in settings.items()]
    argv = ["grow", f"--model={parent}", f"--output={output}", *changes, *more]
    with mock.patch.object(sys, "argv", argv):
        grow.main()


@pytest.fixture(scope="module")
def grown(parent, tmp_path_factory):
    """(the exported folder, what the command printed)"""
    folder = tmp_path_factory.mktemp("grown") / "new" / "model"
    with mock.patch("builtins.print") as printed:
        command(parent, folder, **GROWN)
    return folder, "\n".join(str(call.args[0]) for call in printed.call_args_list)


def test_the_same_answers(parent, grown):
    """Of the exported signature, within float32's rounding: its graph may fuse operations. Logits are about 1."""
    images = np.random.default_rng(0).uniform(-1, 1, (4, 8, 8, 1)).astype(np.float32)
    served = tf.saved_model.load(str(grown[0])).signatures["serve"]
    expected = vision.load_model(str(parent))(images).numpy()
    np.testing.assert_allclose(served(tf.constant(images))["output_0"].numpy(), expected, rtol=0, atol=1e-5)
    model = vision.load_model(str(grown[0]))
    np.testing.assert_array_equal(model(images).numpy(), expected)
    assert len(model.get_layer("encoder").moe_layers[0].experts) == 4


def test_what_is_written_and_told(parent, grown):
    folder, printed = grown
    before, config = (json.loads(path.read_text()) for path in (parent / "config.json", folder / CONFIG_FILE))
    changed = {name: value for name, value in config["model"].items() if value != before["model"][name]}
    assert changed == dict(moe_blocks=1, num_experts=4, renormalize=True, eval_capacity_factor=None, classes=10)
    assert config["name"] == before["name"]
    facts = json.loads((folder / FACTS_FILE).read_text())
    # Three more experts of 2 * 16 * 32 + 32 + 16 weights, and a router of 16 * 4.
    assert f"{facts['parameters']:,} parameters, before {facts['parameters'] - 3 * 1072 - 64:,}" in printed
    assert "encoder/moe_0/expert_0..3 <- ffn_1  [16, 32], [32], [32, 16], [16]  grown   4 copies" in printed
    assert "eval_capacity_factor=1.0 drops tokens at first" in printed


def test_a_run_starts_from_it(grown, tmp_path):
    settings = {"model.moe_blocks": 1, "model.num_experts": 4, "init": str(grown[0])}
    run = train.Run(tiny_config(OWN, settings), tmp_path / "run")
    assert {row.result for row in run.transferred} == {"loaded"}


@pytest.mark.further
def test_a_fitted_router_and_an_export_as_parent(parent, tmp_path, capsys):
    """Two FFNs become the two experts of a WideNet, whose router is fitted to the recipe's training images."""
    dense = tmp_path / "dense"
    from official.export import export

    export(parent, dense)
    settings = {"model.moe_blocks": "all", "model.num_experts": "2", "model.ffn_groups": "1", "model.capacity_factor": "None"}
    command(dense, tmp_path / "grown", "--experts=1,0", **settings, **{"model.top_k": "1", "model.eval_capacity_factor": "None"})
    told = capsys.readouterr().out
    assert "fitted to know a block from its input" in told
    assert "tokens that go to the expert of their own block: " in told
    weights = vision.load_model(str(tmp_path / "grown")).get_layer("encoder").moe_layers[0].experts[0].kernel_in.numpy()
    np.testing.assert_array_equal(weights, vision.load_model(str(parent)).get_layer("encoder").dense_layers[1].kernel_in.numpy())


@pytest.mark.parametrize(
    "settings, more, message",
    [
        ({}, [], "error: moe_blocks=0 is not allowed: it must be 'all'"),
        ({"model.moe_blocks": "all", "model.noise": "False"}, [], "error: noise=False is not allowed: it must be True"),
        ({"model.moe_blocks": "all"}, ["--attention=5"], "error: attention=[5] is not allowed: it must be one of blocks 0..1"),
        ({"model.moe_block": "all"}, [], "error: --config.model.moe_block is not a setting of the model (did you mean "),
        ({"model.moe_blocks": "all", "model.heads": "3"}, [], "error: heads=3 is not allowed: it must be a divisor of width=16"),
        ({"data.name": "nothing"}, [], "error: data.name='nothing' is not allowed"),
    ],
)
def test_refused(parent, tmp_path, settings, more, message):
    """In one sentence, before anything is written."""
    with pytest.raises(SystemExit) as stopped:
        command(parent, tmp_path / "grown", *more, **settings)
    assert stopped.value.code.startswith(message)
    assert not files_and_digests(tmp_path)


def test_refused_at_once(parent, grown, tmp_path, monkeypatch, capsys):
    """What needs no model is refused before one is built: an output that holds something, no model, fixed settings."""
    monkeypatch.setattr(grow, "create_task", None)
    for model, output, message in (
        (parent, grown[0], f"error: --output={grown[0]} is not allowed: it must be a new path or an empty folder"),
        (
            tmp_path / "none",
            tmp_path / "new",
            f"error: --model={str(tmp_path / 'none')!r} is not allowed: it must be the workdir",
        ),
    ):
        with pytest.raises(SystemExit) as stopped:
            command(model, output, **GROWN)
        assert stopped.value.code.startswith(message)
    for arguments, message in (
        (["--config.task=other"], "--config.task=other is not allowed: a model is grown for the task"),
        (["--experts=a"], "'a' is not allowed: it must be block numbers from 0 on"),
    ):
        with pytest.raises(SystemExit):
            command(parent, tmp_path / "new", *arguments)
        assert message in capsys.readouterr().err
