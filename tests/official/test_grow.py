"""The command that grows a model with experts out of a dense one, on a run of the digits recipe."""

import json
import sys
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

import vision
from official import export, grow, train
from official.checkpoints.weights import read_weights
from official.serving.saved_models import keep_weights, write_saved_model
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
    """(the arguments of what writes the export, what the command printed); nothing is written, which takes long."""
    folder = tmp_path_factory.mktemp("grown") / "new" / "model"
    facts = {"model": "name", "kind": "kind", "parameters": 5}
    with mock.patch.object(grow, "write_saved_model", return_value=facts) as write, mock.patch("builtins.print") as printed:
        command(parent, folder, **GROWN)
    assert write.call_args.args[1] == folder
    return write.call_args.args, "\n".join(str(call.args[0]) for call in printed.call_args_list)


def images():
    return np.random.default_rng(0).uniform(-1, 1, (4, 8, 8, 1)).astype(np.float32)


def test_the_same_answers(parent, grown):
    model = grown[0][0].model
    assert len(model.get_layer("encoder").moe_layers[0].experts) == 4
    np.testing.assert_array_equal(model(images()), vision.load_model(str(parent))(images()))


def test_what_is_written_and_told(parent, grown):
    (_, _, config, facts), printed = grown
    before = json.loads((parent / "config.json").read_text())
    changed = {name: value for name, value in config["model"].items() if value != before["model"][name]}
    assert changed == dict(moe_blocks=1, num_experts=4, renormalize=True)
    assert (config["name"], config["init"]) == (before["name"], "")
    assert facts == dict(model=before["name"], unit="images", step=None, metrics={})
    assert "encoder/moe_0/expert_0..3 <- ffn_1  [16, 32], [32], [32, 16], [16]  grown   4 copies" in printed
    assert "eval_capacity_factor=1.0 drops tokens at first" in printed
    assert f"name, kind, 5 parameters, before {vision.load_model(str(parent)).count_params():,}" in printed


@pytest.mark.further
def test_exports(parent, tmp_path, capsys):
    """An exported parent, whose two FFNs become the experts of a WideNet, with a router fitted to the recipe's training images.

    The grown model is loaded, and a run starts from it. What the export holds beside its model, as a converted one may, is kept.
    """
    dense, folder, beside = tmp_path / "dense", tmp_path / "grown", np.arange(3, dtype=np.float32)

    def write(spec, *arguments):
        return write_saved_model(keep_weights(spec, {"representation/bias": beside}), *arguments)

    with mock.patch.object(export, "write_saved_model", write):
        export.export(parent, dense)
    settings = {"moe_blocks": "all", "num_experts": 2, "ffn_groups": 1, "top_k": 1, "capacity_factor": None}
    command(dense, folder, "--experts=1,0", **{f"model.{name}": value for name, value in settings.items()})
    told = capsys.readouterr().out
    assert "fitted to know a block from its input" in told
    assert "tokens that go to the expert of their own block: " in told
    model = vision.load_model(str(folder))
    served = tf.saved_model.load(str(folder)).signatures["serve"]
    # The graph may fuse operations; logits are about 1.
    np.testing.assert_allclose(served(tf.constant(images()))["output_0"], model(images()), rtol=0, atol=1e-5)
    found = model.get_layer("encoder").moe_layers[0].experts[0].kernel_in
    np.testing.assert_array_equal(found, vision.load_model(str(parent)).get_layer("encoder").dense_layers[1].kernel_in)
    np.testing.assert_array_equal(read_weights(folder)["representation/bias"], beside)
    changed = {f"model.{name}": value for name, value in settings.items()}
    run = train.Run(tiny_config(OWN, changed, {"init": str(folder)}), tmp_path / "run")
    assert [row.weight for row in run.transferred if row.result != "loaded"] == ["representation"]


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


def test_refused_at_once(parent, tmp_path, monkeypatch, capsys):
    """What needs no model is refused before one is built: an output that holds something, no model, fixed settings."""
    monkeypatch.setattr(grow, "create_task", None)
    for model, output, message in (
        (parent, parent, f"error: --output={parent} is not allowed: it must be a new path or an empty folder"),
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
