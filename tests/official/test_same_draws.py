"""Runs with everything random on, stopped and resumed: weights, moments and tables of one never stopped, bit for bit."""

import numpy as np
import pytest

from official import train
from official.checkpoints.manager import Checkpoints
from official.training.callbacks import Stopped
from tests.bert.prepared_texts import write_tsv, write_vocabulary
from tests.bert.tiny import classification_config
from tests.kills import tables
from tests.official.test_resume import state, stop_at
from tests.official.tiny import tiny_config, without_export

LENGTH = dict(steps=7, eval_every=3, checkpoint_every=2)
# The recipe has rotations, scaling and shifts, and its models router noise.
NOISE = {
    "model.dropout": 0.1,
    "model.attention_dropout": 0.1,
    "model.drop_path": 0.2,
    "model.jitter": 0.05,
    "data.mixup": 0.5,
}


def images(folder):
    return tiny_config(NOISE, **LENGTH)


def texts(folder):
    rows = [(f"{'good' if i % 2 else 'bad'} word {i}", i % 2) for i in range(12)]
    files = {
        f"{split}_file": write_tsv(folder / f"{split}.tsv", ("text", "label"), *rows).name for split in ("train", "validation")
    }
    vocabulary = write_vocabulary(folder / "vocab.txt", ["good", "bad", "word"])
    config = classification_config(vocabulary, dict(name="file", dir=str(folder), **files), **LENGTH)
    config.update_from_flattened_dict({key: value for key, value in NOISE.items() if key.startswith("model.")})
    return config


@pytest.fixture(scope="module", params=[images, texts])
def uninterrupted(request, tmp_path_factory):
    """(config, state at the end, tables) of a run that nobody stopped."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    config = request.param(folder)
    with without_export():
        run = train.Run(config.copy_and_resolve_references(), folder / "run")
        run.train()
    return config, state(run), tables(folder / "run")


def assert_same(run, workdir, uninterrupted):
    _, expected, expected_tables = uninterrupted
    found = state(run)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    assert set(expected_tables) == {"metrics.csv", "expert_load.csv", "summary.json", "metrics of summary.json"}
    assert tables(workdir) == expected_tables


@pytest.mark.train
def test_stopped_again_and_again(uninterrupted, tmp_path):
    """After the first step, inside an epoch, at the end of one, and inside the last one."""
    config = uninterrupted[0]
    with without_export():
        for stop in (1, 2, 3, 5):
            with pytest.MonkeyPatch.context() as patch:
                stop_at(patch, stop)
                with pytest.raises(Stopped):
                    train.run(config, tmp_path)
        run = train.Run(config, tmp_path)
        assert run.first_step == 5
        run.train()
    assert_same(run, tmp_path, uninterrupted)


@pytest.mark.train
def test_killed(uninterrupted, tmp_path):
    """Without a checkpoint of its last step: what was trained after the one of step 3 is trained again."""
    config = uninterrupted[0]

    class Killed(Exception):
        pass

    def killed(*_, **__):
        raise Killed

    with without_export():
        with pytest.MonkeyPatch.context() as patch:
            save = Checkpoints.save
            patch.setattr(Checkpoints, "save", lambda self, step, *others: save(self, step, *others) if step < 5 else killed())
            with pytest.raises(Killed):
                train.run(config, tmp_path)
        run = train.Run(config, tmp_path)
        assert run.first_step == 3
        run.train()
    assert_same(run, tmp_path, uninterrupted)
