"""Damage to checkpoints, of every kind at every file: the newest that is whole is taken, with a sentence, and nothing is lost."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from official.checkpoints import files
from official.checkpoints.manager import Checkpoints, kept_step, resumes_from
from official.checkpoints.weights import locate, read_weights

DATA, INDEX, SUMS = "step-6.data-00000-of-00001", "step-6.index", "step-6.sums"


def compiled_model():
    model = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,))])
    model.compile(optimizer="sgd", loss="mse")
    return model


@pytest.fixture(scope="module")
def model():
    return compiled_model()


@pytest.fixture(scope="module")
def two(model, tmp_path_factory):
    """A folder with checkpoints of steps 4 and 6, whose kernels are 4 and 6 everywhere."""
    folder = tmp_path_factory.mktemp("two") / "checkpoints"
    checkpoints = Checkpoints(folder, model, keep=2)
    for step in (4, 6):
        model.layers[0].kernel.assign(tf.fill([3, 2], float(step)))
        checkpoints.save(step, 0.0)
    return folder


@pytest.fixture
def folder(two, tmp_path):
    return shutil.copytree(two, tmp_path / "checkpoints")


def without_sums(folder):
    """As an earlier version leaves it."""
    for file in folder.glob("*.sums"):
        file.unlink()


def cut_off(file):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def flip(file):
    """One bit, in the middle; of the state file that is in the name of the newest checkpoint."""
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(bytes(content))


def lose(file):
    file.unlink()


def empty(file):
    file.write_bytes(b"")


DAMAGES = [cut_off, flip, lose, empty]


def restored(folder, model):
    """The step, and the value that all of the kernel has."""
    model.layers[0].kernel.assign(tf.zeros([3, 2]))
    step = Checkpoints(folder, model, keep=2).restore()
    (value,) = np.unique(model.layers[0].kernel)
    return step, value


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", [DATA, INDEX])
@pytest.mark.parametrize("sealed", [True, False], ids=["with checksums", "of an earlier version"])
def test_newest_is_damaged(folder, model, capsys, damage, name, sealed):
    """The one before it is taken, and what is wrong is said; what is left of the newest stays where it is."""
    if not sealed:
        without_sums(folder)
    damage(folder / name)
    left = sorted(path.name for path in folder.iterdir())
    if sealed or name == DATA or damage is not lose:
        assert restored(folder, model) == (4, 4.0)
        said = capsys.readouterr().out
        assert said.startswith(f"The checkpoint {folder}/step-6 is damaged and is not used: ")
        assert len(said.splitlines()) == 1
        assert name in said or not sealed
    else:  # data without anything else are of a process that was killed
        assert restored(folder, model) == (4, 4.0)
    assert sorted(path.name for path in folder.iterdir()) == left
    assert locate(folder).prefix == str(folder / "step-4")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", [SUMS, "checkpoint"])
def test_nothing_but_what_tells_of_it_is_damaged(folder, model, damage, name):
    """Checksums that cannot be read, and TensorFlow's state file, which it needs not."""
    damage(folder / name)
    if name == SUMS and damage is flip:  # by itself, a wrong checksum looks like a wrong file
        (folder / SUMS).write_text((folder / SUMS).read_text().replace("sha256", "sha265"))
    assert restored(folder, model) == (6, 6.0)
    assert locate(folder).prefix == str(folder / "step-6")


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", '{"step-6.index": {"bytes": Infinity, "sha256": ""}}'])
def test_checksums_from_elsewhere(folder, model, content):
    """A file that is not a table of checksums counts as missing: the checkpoint is read as a whole."""
    (folder / SUMS).write_text(content)
    assert restored(folder, model) == (6, 6.0)


def test_unknown_to_the_state_file(folder, model):
    """Of a process that was killed before it told of its last checkpoint."""
    files.write_state(folder, ["step-4"])
    assert restored(folder, model) == (6, 6.0)


def test_killed_before_the_checksums(folder, model):
    """Or before old ones were removed, after the last step: the next session does both, although it saves nothing."""
    (folder / SUMS).rename(folder / f"{SUMS}.partial")
    files.write_state(folder, ["step-4"])
    checkpoints = Checkpoints(folder, model, keep=1)
    checkpoints.complete()  # of a run that begins: nothing
    assert not (folder / SUMS).exists()
    assert checkpoints.restore() == 6
    checkpoints.complete()
    checkpoints.save(6, 0.0)
    assert {path.name for path in folder.iterdir()} == {"checkpoint", DATA, INDEX, SUMS}
    assert json.loads((folder / SUMS).read_text()).keys() == {DATA, INDEX}
    assert files.damage(folder / "step-6") is None
    assert tf.train.latest_checkpoint(str(folder)) == str(folder / "step-6")


@pytest.mark.parametrize("damage", DAMAGES)
def test_none_is_whole(folder, damage, capsys):
    """Never a silent start at step 0, unless that is asked for."""
    for name in (DATA, DATA.replace("6", "4", 1)):
        damage(folder / name)
    with pytest.raises(ValueError, match="none of the checkpoints in .* is whole: .* set --config.train.restart=True"):
        resumes_from(folder)
    assert len(capsys.readouterr().out.splitlines()) == 2
    with pytest.raises(ValueError, match=f"none of its checkpoints is whole: {DATA}"):
        locate(folder)
    capsys.readouterr()
    assert resumes_from(folder, restart=True) is None
    assert capsys.readouterr().out.endswith("is whole: the run starts again at step 0.\n")


def test_only_the_state_file_is_left(folder):
    for file in folder.iterdir():
        if file.name != "checkpoint":
            file.unlink()
    with pytest.raises(ValueError, match="is whole"):
        resumes_from(folder)


def test_there_never_was_one(folder, tmp_path):
    """No folder, an empty one, or data of a process that was killed before its first checkpoint was finished."""
    assert resumes_from(tmp_path / "nothing") is None
    (tmp_path / "empty").mkdir()
    assert resumes_from(tmp_path / "empty") is None
    shutil.copyfile(folder / DATA, tmp_path / "empty" / DATA)
    assert resumes_from(tmp_path / "empty") is None


def test_going_on_after_damage(folder, model):
    """The damaged one is no longer counted among those that are kept, and goes once the run has passed it."""
    flip(folder / DATA)
    checkpoints = Checkpoints(folder, model, keep=2)
    assert checkpoints.restore() == 4
    checkpoints.save(5, 0.0)
    assert {path.stem for path in folder.glob("*.index")} == {"step-4", "step-5", "step-6"}
    (folder / "step-6_temp").mkdir()
    checkpoints.save(7, 0.0)
    assert {path.name.partition(".")[0] for path in folder.iterdir()} == {"checkpoint", "step-5", "step-7"}
    assert all(files.damage(prefix) is None for prefix in files.prefixes(folder))
    assert tf.train.latest_checkpoint(str(folder)) == str(folder / "step-7")


def test_a_damaged_one_of_the_same_step_is_replaced(folder, model):
    cut_off(folder / INDEX)
    checkpoints = Checkpoints(folder, model, keep=2)
    checkpoints.restore()
    checkpoints.save(6, 0.0)
    assert restored(folder, model) == (6, 4.0)


def test_the_best_is_damaged(folder, capsys):
    """Of the folder with one, none is left; without the state file it is found all the same."""
    lose(folder / "checkpoint")
    assert kept_step(folder) == 6
    for file in folder.glob("step-4*"):
        file.unlink()
    empty(folder / DATA)
    assert kept_step(folder) is None
    assert capsys.readouterr().out.endswith(f"{DATA} is empty.\n")


@pytest.mark.parametrize("name", ["lr[1]", "a*b", "what?", "back\\slash"])
def test_characters_of_patterns(model, tmp_path, name):
    """TensorFlow takes them for patterns when it looks for files; old ones are removed all the same."""
    folder = tmp_path / name / "checkpoints"
    checkpoints = Checkpoints(folder, model, keep=2)
    for step in (1, 2, 3):
        model.layers[0].kernel.assign(tf.fill([3, 2], float(step)))
        checkpoints.save(step, 0.0)
    assert {path.stem for path in folder.glob("*.index")} == {"step-2", "step-3"}
    assert restored(folder, model) == (3, 3.0)
    assert locate(folder).prefix == str(folder / "step-3")
    without_sums(folder)
    assert any(np.all(weight == 3.0) for weight in read_weights(folder).values())


def test_exported_model_in_such_a_folder(tmp_path):
    module = tf.Module()
    module.variable = tf.Variable([1.0, 2.0])
    tf.saved_model.save(module, str(tmp_path / "lr[1]" / "saved_model"))
    loaded = tf.saved_model.load(files.readable(str(tmp_path / "lr[1]" / "saved_model")))
    np.testing.assert_array_equal(loaded.variable, [1.0, 2.0])


def test_other_names(tmp_path):
    """Of a folder that Keras or somebody's code wrote, the state file's is the newest, and others of its name are next."""
    for name in ("ckpt-9", "ckpt-10", "ckpt-11", "best-12"):
        tf.train.Checkpoint(x=tf.Variable(1.0)).write(str(tmp_path / name))
    files.write_state(tmp_path, ["ckpt-9", "ckpt-11", "ckpt-10"])
    found = [prefix.rpartition("/")[2] for prefix in files.prefixes(tmp_path, state_first=True)]
    assert found == ["ckpt-10", "ckpt-11", "ckpt-9"]
