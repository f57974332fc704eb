"""Runs that start from other weights: --config.init, once, before anything is derived from the model's own."""

import json
import shutil
import sys
from unittest import mock

import numpy as np
import pytest
from absl.testing import flagsaver

from official import train
from official.checkpoints.weights import read_weights
from official.cli.recipe_flag import parse_flags
from tests.official.tiny import DENSE, ROOT, command, files_and_digests, tiny_config


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The workdir of a run that was stopped after a step."""
    workdir = tmp_path_factory.mktemp("source")
    train.Run(config_from(""), workdir).checkpoints.save(1, 0.0)
    return workdir


def config_from(init, *more, **settings):
    return tiny_config(DENSE, {"init": str(init)}, *more, **settings)


def weights_of(run):
    return {weight.name.removesuffix(":0"): weight.numpy() for weight in run.model.weights}


def test_a_run_begins_with_them(source, tmp_path):
    """Bit by bit, in place of another seed's initial values."""
    run = train.Run(config_from(source, seed=3), tmp_path)
    expected = read_weights(source)
    for name, array in weights_of(run).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
    assert {row.result for row in run.transferred} == {"loaded"}
    assert run.first_step == 0


def test_before_the_optimizer(source, tmp_path, monkeypatch):
    """What keeps a copy of the weights, as an average does, must not copy the initial values."""
    seen = {}

    def remember(optimizer, weights):
        seen.update((weight.name.removesuffix(":0"), weight.numpy()) for weight in weights)

    monkeypatch.setattr(train, "create_state", remember)
    train.Run(config_from(source, seed=3), tmp_path)
    for name, array in read_weights(source).items():
        np.testing.assert_array_equal(array, seen[name], err_msg=name)


def test_another_deployment_on_two_replicas(source, tmp_path):
    """Made in the strategy's scope: each replica has them."""
    run = train.Run(config_from(source, {"model.attention_groups": None}, strategy="mirrored"), tmp_path)
    expected = read_weights(source)["encoder/attention_0/query/kernel"]
    for attention in run.model.get_layer("encoder").attentions:
        assert len(attention.query.kernel.values) == 2
        for copy in attention.query.kernel.values:
            np.testing.assert_array_equal(copy, expected)


def run_command(workdir, **settings):
    """The driver's command in this process."""
    argv = command(workdir, **DENSE, **settings)[2:]
    with flagsaver.flagsaver(), mock.patch.object(sys, "argv", argv):
        train.main(parse_flags(argv))


def test_command(source, tmp_path, monkeypatch, capsys):
    """It prints the table. Going on it reads the run's own checkpoint and nothing else, though the source is gone by then."""

    def announce(run):
        run._announce()
        run.checkpoints.save(run.first_step + 1, 0.0)

    monkeypatch.setattr(train.Run, "train", announce)
    monkeypatch.chdir(ROOT)
    gone = tmp_path / "gone"
    shutil.copytree(source, gone)
    workdir = tmp_path / "run"
    run_command(workdir, init=gone)
    said = capsys.readouterr().out
    assert f"Starting from {gone}:\nweight " in said
    assert [line.split()[-1] for line in said.splitlines() if line.startswith("encoder/")] == ["loaded"] * 5
    assert json.loads((workdir / "config.json").read_text())["init"] == str(gone)

    shutil.rmtree(gone)
    run_command(workdir, init=gone)
    said = capsys.readouterr().out
    assert "Resuming from the checkpoint of step 1." in said
    assert "Starting from" not in said
    assert (workdir / "checkpoints" / "step-2.index").exists()

    with pytest.raises(SystemExit) as stopped:
        run_command(workdir, init=source)
    assert f"holds a run with other settings (init: {str(gone)!r} -> {str(source)!r}" in stopped.value.code


def test_wrong_path(tmp_path, monkeypatch):
    """One sentence at once: no model is built, no folder made."""
    monkeypatch.setattr(train, "create_strategy", None)
    with pytest.raises(ValueError) as error:
        train.run(config_from(tmp_path / "nothing"), tmp_path / "run")
    assert str(error.value).startswith(f"init={str(tmp_path / 'nothing')!r} is not allowed: it must be the workdir of a run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_another_kind_of_model(source, tmp_path):
    """Nothing fits: refused, and the workdir can still be used."""
    with pytest.raises(ValueError, match="none of its 23 weights fits") as error:
        train.run(config_from(source, {"model.width": 32}), tmp_path)
    assert str(error.value).startswith(f"init={str(source)!r} is not allowed: it must be of a model like widenet_ti16_digits")
    assert not files_and_digests(tmp_path)


def test_a_run_from_before_the_setting(source, tmp_path, capsys):
    """Its config.json has no `init`: it goes on as the run without one that it is, and may not be given one."""
    shutil.copytree(source, tmp_path, dirs_exist_ok=True)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written.pop("init") == ""
    (tmp_path / "config.json").write_text(json.dumps(written))
    with pytest.raises(ValueError, match=r"other settings \(init: '' -> "):
        train.run(config_from(source), tmp_path)
    run = train.Run(config_from(""), tmp_path)
    assert train.finished_summary(config_from(""), tmp_path) is None
    assert run.first_step == 1
    assert "Settings changed" not in capsys.readouterr().out
