"""A folder that takes another's place: at every moment one of the two, whole."""

import errno
import os
import re
import socket
import subprocess
import sys

import pytest

from official.files import atomic
from official.files.atomic import atomic_dir, atomic_replace_dir, atomic_write, sole
from tests.official.kills import found_after_kills
from tests.official.tiny import ROOT

FILES = 5


def make(folder, text):
    folder.mkdir()
    for number in range(FILES):
        (folder / str(number)).write_text(text)
    return folder


def content(folder):
    """The one text of all its files."""
    files = list(folder.iterdir())
    assert len(files) == FILES
    (text,) = {file.read_text() for file in files}
    return text


@pytest.fixture(params=["in one step", "in two"])
def either_way(request, monkeypatch):
    """With and without an operating system that lets two names trade places."""
    if request.param == "in two":
        monkeypatch.setattr(atomic, "_renameat2", lambda: None)


@pytest.mark.usefixtures("either_way")
def test_first_and_next(tmp_path):
    """The name is taken, and taken over; nothing else stays."""
    for text in ("old", "new"):
        atomic_replace_dir(make(tmp_path / "made.partial", text), tmp_path / "made")
        assert content(tmp_path / "made") == text
        assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_atomic_dir(tmp_path):
    """It replaces the folder at its end; if it raises, the old folder stays. What a killed process left is removed."""
    for text in ("old", "new"):
        make(tmp_path / "made.partial", "half")
        with atomic_dir(tmp_path / "made") as folder:
            make(folder / "inside", text)
    assert content(tmp_path / "made" / "inside") == "new"
    with pytest.raises(KeyboardInterrupt), atomic_dir(tmp_path / "made"):
        raise KeyboardInterrupt
    assert content(tmp_path / "made" / "inside") == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


@pytest.mark.usefixtures("either_way")
def test_a_file_in_its_place(tmp_path):
    """Refused, and both are still there."""
    make(tmp_path / "made.partial", "new")
    (tmp_path / "made").write_text("a file")
    with pytest.raises(NotADirectoryError):
        atomic_replace_dir(tmp_path / "made.partial", tmp_path / "made")
    assert (tmp_path / "made").read_text() == "a file"
    assert content(tmp_path / "made.partial") == "new"


def test_a_file_system_without_it(tmp_path, monkeypatch):
    """It says EINVAL, and the folder is moved in two steps."""

    def refuse(*arguments):
        atomic.ctypes.set_errno(errno.EINVAL)
        return -1

    monkeypatch.setattr(atomic, "_renameat2", lambda: refuse)
    make(tmp_path / "made", "old")
    atomic_replace_dir(make(tmp_path / "made.partial", "new"), tmp_path / "made")
    assert content(tmp_path / "made") == "new"


@pytest.mark.usefixtures("either_way")
def test_nothing_to_put_there(tmp_path):
    """The old folder stays."""
    make(tmp_path / "made", "old")
    with pytest.raises(FileNotFoundError):
        atomic_replace_dir(tmp_path / "made.partial", tmp_path / "made")
    assert content(tmp_path / "made") == "old"


def test_what_a_kill_left_between_the_two_steps(tmp_path, monkeypatch):
    """The old folder comes back first."""
    monkeypatch.setattr(atomic, "_renameat2", lambda: None)
    make(tmp_path / "made.previous", "old")
    with pytest.raises(FileNotFoundError):
        atomic_replace_dir(tmp_path / "made.partial", tmp_path / "made")
    assert content(tmp_path / "made") == "old"


def killed(folder):
    """For tests.official.kills."""

    def act():
        atomic_replace_dir(make(folder / "made.partial", "new"), folder / "made")

    return lambda: make(folder / "made", "old"), act, lambda: content(folder / "made")


linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not trade names in one step")


@linux
def test_killed_before_every_step():
    """The old folder, and from some step on the new one."""
    found = found_after_kills("at_every_step", "tests.official.files.test_atomic:killed")
    assert found == sorted(found, reverse=True)
    assert set(found) == {"old", "new"}


@linux
def test_read_all_the_while(tmp_path):
    """A reader in another process never finds the name gone."""
    made = make(tmp_path / "made", "0")
    code = f"import os\nprint('begun', flush=True)\nwhile os.path.exists({str(made)!r}): pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout.readline() == "begun\n"
        for number in range(1, 100):
            atomic_replace_dir(make(tmp_path / "made.partial", str(number)), made)
        assert reader.poll() is None
        reader.kill()


class TestSole:
    """The lock of a folder in which only one process may write."""

    def test_another_process_is_refused(self, tmp_path):
        """Told which one has it; after that one was killed, its file is no hindrance."""
        code = (
            "import pathlib, sys\n"
            "from official.files.atomic import sole\n"
            "with sole(pathlib.Path(sys.argv[1]), print):\n"
            "    print('here', flush=True)\n"
            "    sys.stdin.read()\n"
        )
        lock = tmp_path / "new" / "run" / ".lock"
        process = subprocess.Popen([sys.executable, "-c", code, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
        try:
            assert process.stdout.readline() == b"here\n"
            holder = rf"^process {process.pid} on {re.escape(socket.gethostname())}$"
            with pytest.raises(BlockingIOError, match=holder), sole(lock, print):
                pass
        finally:
            process.kill()
            process.wait()
        assert lock.exists()
        with sole(lock, print):
            pass
        assert not lock.exists()

    def test_folders_that_it_made(self, tmp_path):
        """They go with it, unless something was written there."""
        with sole(tmp_path / "a" / "b" / ".lock", print):
            pass
        assert not (tmp_path / "a").exists()
        with sole(tmp_path / "a" / "b" / ".lock", print):
            (tmp_path / "a" / "file").touch()
        assert [path.name for path in (tmp_path / "a").iterdir()] == ["file"]
        (tmp_path / "empty").mkdir()
        with sole(tmp_path / "empty" / ".lock", print):
            pass
        assert (tmp_path / "empty").exists()

    def test_without_locks(self, tmp_path, monkeypatch):
        """Of a file system that has none: said, and no hindrance."""

        def refuse(*arguments):
            raise OSError(errno.ENOTSUP, "no locks")

        monkeypatch.setattr(atomic.fcntl, "flock", refuse)
        said = []
        with sole(tmp_path / ".lock", said.append):
            assert not (tmp_path / ".lock").exists()
        assert said == [f"No file can be locked in {tmp_path}: nothing keeps another process from writing there."]


def test_a_full_disk(tmp_path, monkeypatch):
    """The file stays as it was, nothing else is left, and the error names it."""
    (tmp_path / "file").write_text("old")

    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/file'$"):
        atomic_write(tmp_path / "file", b"new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "old")]
