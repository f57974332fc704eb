"""make and scripts/setup.sh in a copy of the tree, with Pythons that are shell scripts: nothing is installed or downloaded."""

import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parent.parent
TOOLS = "sh make sed dirname rm touch cat mkdir chmod cp"
LOCKS = [f"locks/{stack}/requirements{extra}.lock" for stack in ("reference", "modern") for extra in ("", "-test")]
NAMES = ["Makefile", "scripts/setup.sh", "widenet_keras.py", "widenet_keras.pth", *LOCKS]

# A Python of some version that has what `setup.sh` asks for. Its venv is a folder with a copy of itself, as python.
PYTHON = """#!/bin/sh
case "$1" in
    --version) echo "Python {version}.1" ;;
    -c) {probe} ;;
    -m)
        echo "$0|$PYTHONPATH|$*" >>"{log}"
        if [ "$2" = venv ]; then mkdir -p "$3/bin" "$3/lib/python{version}/site-packages" && cp "$0" "$3/bin/python"; fi
        if [ "$2" = pip ] && [ -e "{pip_fails}" ]; then exit 1; fi ;;
esac
"""


class Tree:
    """A copy of what `make` needs, and a PATH with nothing but a few tools and the Pythons that a test adds."""

    def __init__(self, folder):
        self.root = folder / "a tree"
        self.bin = folder / "bin"
        self.log = folder / "log"
        self.pip_fails = folder / "pip fails"
        self.bin.mkdir(parents=True)
        for name in NAMES:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.root / name)
        for tool in TOOLS.split():
            (self.bin / tool).symlink_to(shutil.which(tool))

    def add_python(self, name, version, complete=True, folder=None):
        path = (folder or self.bin) / name
        probe = f"echo {version}" if complete else "exit 1"
        path.write_text(PYTHON.format(version=version, probe=probe, log=self.log, pip_fails=self.pip_fails))
        path.chmod(0o755)
        return path

    def make(self, *arguments, **environment):
        return self.run("make", *arguments, **environment)

    def run(self, *command, **environment):
        self.log.write_text("")
        return subprocess.run(
            command,
            cwd=self.root,
            env={"PATH": str(self.bin), "HOME": str(self.root), **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )

    @property
    def calls(self):
        """What Pythons were asked to do in the last run, as words after -m: "venv", "pip", "official.train", ..."""
        return [line.split("|")[2].split()[1] for line in self.log.read_text().splitlines()]

    @property
    def locks(self):
        """The lock files that pip was given in the last run."""
        return [line.split()[-1] for line in self.log.read_text().splitlines() if "|-m pip" in line]

    @property
    def venv(self):
        return self.root / ".venv"


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def the_sentence(done):
    """The one line of an error besides make's own."""
    assert done.returncode != 0
    own = [line for line in done.stderr.splitlines() if not line.startswith("make: ***")]
    assert len(own) == 1, done.stderr
    assert done.stdout == ""
    return own[0]


@pytest.mark.parametrize("target", ["demo", "test", "lint", "zoo"])
def test_wrong_python(tree, target):
    """One sentence: what is needed and what was found. Nothing half-made stays."""
    tree.add_python("python3", "3.14")
    said = the_sentence(tree.make(target))
    for word in ("3.10 to 3.13", "Python 3.14.1"):
        assert word in said
    assert not tree.venv.exists()
    assert tree.calls == []


def test_no_python(tree):
    said = the_sentence(tree.make("demo"))
    assert "needs Python 3.10 to 3.13" in said
    assert "no Python" in said
    assert not tree.venv.exists()


def test_python_without_venv(tree):
    """Debian's python3 lacks it: the sentence says what to install."""
    tree.add_python("python3", "3.11", complete=False)
    said = the_sentence(tree.make("demo"))
    assert "Python 3.11.1" in said
    assert "venv module" in said
    assert "python3-venv" in said
    assert not tree.venv.exists()


@pytest.mark.parametrize("named, found", [("python3", "Python 3.14.1"), ("python9", "does not run")])
def test_python_named_by_the_user(tree, named, found):
    """The one that was named is looked at and no other, even if there is a good one."""
    tree.add_python("python3", "3.14")
    tree.add_python("python3.11", "3.11")
    said = the_sentence(tree.make("demo", f"PYTHON={named}"))
    assert named in said
    assert found in said
    assert not tree.venv.exists()


@pytest.mark.parametrize(
    "present, asked, chosen, stack",
    [
        ("3.14 3.10", "", "3.10", "reference"),
        ("3.10 3.11", "", "3.11", "reference"),
        ("3.13 3.11", "", "3.11", "reference"),
        ("3.12 3.13", "", "3.13", "modern"),
        ("3.11 3.12", "modern", "3.12", "modern"),
        ("3.10", "modern", "3.10", "modern"),
        ("3.13 3.10", "reference", "3.10", "reference"),
    ],
)
def test_a_good_python_is_found(tree, present, asked, chosen, stack):
    """By its versioned name beside a python3 that is too new; the newest of the stack, of which the reference comes first."""
    tree.add_python("python3", "3.14")
    for version in present.split():
        tree.add_python(f"python{version}", version)
    done = tree.make("demo", f"STACK={asked}")
    assert done.returncode == 0, done.stderr
    assert f"Making .venv with Python {chosen}.1." in done.stdout
    assert tree.log.read_text().startswith(f"{tree.bin}/python{chosen}|")
    assert tree.locks == [f"locks/{stack}/requirements.lock"]
    packages = tree.venv / f"lib/python{chosen}/site-packages"
    assert {path.name for path in packages.iterdir()} == {"widenet_keras.py", "widenet_keras.pth"}


@pytest.mark.parametrize("asked, said", [("reference", "STACK=reference needs Python 3.10 or 3.11"), ("new", "STACK=new is not")])
def test_stack_that_there_cannot_be(tree, asked, said):
    tree.add_python("python3", "3.12")
    assert said in the_sentence(tree.make("demo", f"STACK={asked}"))
    assert not tree.venv.exists()


def test_another_stack(tree):
    """It replaces .venv, which is kept where no stack is named, and stands beside it in another folder."""
    tree.add_python("python3", "3.11")
    for asked, calls, locks in (
        ([], ["venv", "pip", "official.train"], ["reference"]),
        (["STACK=reference"], ["official.train"], []),
        (["STACK=modern"], ["venv", "pip", "official.train"], ["modern"]),
        (["STACK=modern"], ["official.train"], []),
        ([], ["official.train"], []),
        (["STACK=reference", "VENV=.venv-other"], ["venv", "pip", "official.train"], ["reference"]),
        (["VENV=.venv-other"], ["official.train"], []),
        ([], ["official.train"], []),
    ):
        done = tree.make("demo", *asked)
        assert done.returncode == 0, done.stderr
        assert tree.calls == calls
        assert tree.locks == [f"locks/{stack}/requirements.lock" for stack in locks]
    assert tree.make("test").returncode == 0
    assert tree.locks == ["locks/modern/requirements-test.lock"]


def test_python_in_another_folder(tree, tmp_path):
    """PYTHON may be a path."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = tree.add_python("my-python", "3.10", folder=elsewhere)
    done = tree.make("demo", f"PYTHON={path}")
    assert done.returncode == 0, done.stderr
    assert "Python 3.10.1" in done.stdout


def test_set_up_once(tree):
    """The first command makes and fills .venv; later ones do their work at once."""
    tree.add_python("python3", "3.11")
    done = tree.make("demo")
    assert done.returncode == 0, done.stderr
    assert tree.calls == ["venv", "pip", "official.train"]
    pip = next(line for line in tree.log.read_text().splitlines() if "|-m pip" in line)
    # Everything from the lock file, checked, and nothing resolved.
    for word in ("install", "--require-hashes", "--no-deps", "-r locks/reference/requirements.lock"):
        assert word in pip
    assert tree.make("demo").returncode == 0
    assert tree.calls == ["official.train"]
    assert tree.make("zoo").returncode == 0
    assert tree.calls == ["vision", "bert"]


def test_tests_bring_all_else(tree):
    """The test lock holds the other: after it nothing is left to install, in either order."""
    tree.add_python("python3", "3.11")
    assert tree.make("test").returncode == 0
    assert tree.calls == ["venv", "pip", "pytest"]
    assert tree.make("demo").returncode == 0
    assert tree.calls == ["official.train"]
    assert tree.make("lint").returncode == 0
    assert tree.calls == ["ruff", "ruff"]


def test_tests_after_the_demo(tree):
    """Only what is missing is installed, into the .venv that is there."""
    tree.add_python("python3", "3.11")
    tree.make("demo")
    assert tree.make("test", "ARGS=-k 'a b'").returncode == 0
    assert tree.calls == ["pip", "pytest"]
    called = tree.log.read_text().splitlines()[-1]
    assert "|-m pytest -n 2 " in called
    assert called.endswith(" -k a b")
    assert tree.make("test").returncode == 0
    assert tree.calls == ["pytest"]


def test_new_lock_file(tree):
    """A checkout whose lock file has changed since is brought up to date, in the same .venv."""
    tree.add_python("python3", "3.11")
    tree.make("demo")
    later = (tree.venv / "installed-requirements").stat().st_mtime + 10
    os.utime(tree.root / "locks/reference/requirements.lock", (later, later))
    assert tree.make("demo").returncode == 0
    assert tree.calls == ["pip", "official.train"]


def test_failed_installation_is_repeated(tree):
    """No stamp where pip failed: the next command tries again, and the .venv need not be made anew."""
    tree.add_python("python3", "3.11")
    tree.pip_fails.touch()
    assert tree.make("demo").returncode != 0
    assert tree.calls == ["venv", "pip"]
    tree.pip_fails.unlink()
    assert tree.make("demo").returncode == 0
    assert tree.calls == ["pip", "official.train"]


def break_venv(tree):
    """As when the Python that it was made from is gone."""
    (tree.venv / "bin" / "python").unlink()
    (tree.venv / "bin" / "python").symlink_to("/nonexistent/python3.11")


def test_broken_venv_is_made_again_by_the_script(tree):
    """And what lay in it goes."""
    tree.add_python("python3", "3.11")
    tree.make("demo")
    break_venv(tree)
    (tree.venv / "old").touch()
    done = tree.run("sh", "scripts/setup.sh", "requirements.lock")
    assert done.returncode == 0, done.stderr
    assert tree.calls == ["venv", "pip"]
    assert not (tree.venv / "old").exists()


@pytest.mark.parametrize("target, work", [("demo", "official.train"), ("test", "pytest")])
def test_broken_venv_is_noticed_by_make(tree, target, work):
    """A stamp from before says nothing about a Python that no longer runs."""
    tree.add_python("python3", "3.11")
    tree.make(target)
    break_venv(tree)
    done = tree.make(target)
    assert done.returncode == 0, done.stderr
    assert tree.calls == ["venv", "pip", work]


def test_venv_of_a_wrong_version_is_made_again(tree):
    """One that was made by hand with another Python."""
    tree.add_python("python3", "3.11")
    (tree.venv / "bin").mkdir(parents=True)
    tree.add_python("python", "3.14", folder=tree.venv / "bin")
    done = tree.make("demo")
    assert done.returncode == 0, done.stderr
    assert tree.calls == ["venv", "pip", "official.train"]


def test_other_environments_do_not_leak(tree):
    """Of an active environment elsewhere nothing gets into ours."""
    tree.add_python("python3", "3.11")
    done = tree.make("demo", PYTHONPATH="/elsewhere", VIRTUAL_ENV="/other")
    assert done.returncode == 0, done.stderr
    assert all(line.split("|")[1] == "" for line in tree.log.read_text().splitlines())


def test_help_needs_no_python(tree):
    """It lists every command with what it does, and sets up nothing."""
    done = tree.make()
    assert done.returncode == 0
    assert tree.calls == []
    for target in ("demo", "test", "lint", "zoo", "lock", "clean"):
        assert f"make {target}: " in done.stdout


def test_clean(tree):
    """.venv and runs, and nothing else."""
    tree.add_python("python3", "3.11")
    tree.make("demo")
    (tree.root / "runs").mkdir()
    assert tree.make("clean").returncode == 0
    assert {path.name for path in tree.root.iterdir()} == {name.partition("/")[0] for name in NAMES}
