"""TensorBoard's files of runs that were stopped, killed or extended: every series once, whatever an earlier session left."""

import shutil

import tensorflow as tf

from official.training.tensorboard import TensorBoard
from tests.official.events import events


def steps(workdir):
    return {place: [step for step, _ in values] for place, values in events(workdir).items()}


def session(workdir, first_step, evaluations):
    """Writes what a run writes that begins at `first_step`."""
    board = TensorBoard(workdir / "tensorboard", first_step)
    board.write_config({"name": "a", "train": {"lr": 0.1, "frozen": ["x"], "best": None}})
    for step in evaluations[evaluations[0] == first_step :]:  # a step that is done is not evaluated again
        for split in ("train", "validation"):
            board.write_scalars(split, {"loss": float(first_step), "lr": 0.5}, step)
    picture = tf.io.encode_png(tf.zeros([2, 3, 3], tf.uint8)).numpy()
    board.write_picture("curves", picture, evaluations[-1])


def expected(scalars, pictures):
    of_splits = {(split, tag): scalars for split in ("train", "validation") for tag in ("loss", "lr")}
    board = {"config": [0], "_hparams_/session_start_info": [0], "curves": pictures}
    return of_splits | {("tensorboard", tag): values for tag, values in board.items()}


def test_sessions(tmp_path):
    """Steps after the checkpoint come from the session that resumed from it; what is written once a session is the last one's."""
    session(tmp_path, 0, [3, 6])
    assert steps(tmp_path) == expected([3, 6], [6])
    session(tmp_path, 4, [6, 9])
    assert steps(tmp_path) == expected([3, 6, 9], [9])
    assert [tf.make_ndarray(value.tensor) for _, value in events(tmp_path)["train", "loss"]] == [0, 4, 4]
    session(tmp_path, 9, [9])  # the end of a run that was killed before its summary
    assert steps(tmp_path) == expected([3, 6, 9], [9])
    session(tmp_path, 9, [12])
    assert steps(tmp_path) == expected([3, 6, 9, 12], [12])


def test_killed(tmp_path):
    """A file that ends inside of an event is read up to there; one that was joined but not removed counts once."""
    session(tmp_path, 0, [3, 6])
    (file,) = (tmp_path / "tensorboard" / "train").iterdir()
    content = file.read_bytes()
    file.write_bytes(content[:-7])  # of the last scalar, lr at step 6
    shutil.copy(file, file.with_name(file.name + ".kept"))
    TensorBoard(tmp_path / "tensorboard", 6)
    found = steps(tmp_path)
    assert (found["train", "loss"], found["train", "lr"]) == ([3, 6], [3])
    assert found["validation", "lr"] == [3, 6]


def test_other_files_stay(tmp_path):
    """What the user lays beside them, and the plugins of other programs."""
    folder = tmp_path / "tensorboard" / "train"
    session(tmp_path, 0, [3])
    (folder / "notes.txt").write_text("mine")
    session(tmp_path, 3, [6])
    assert (folder / "notes.txt").read_text() == "mine"
