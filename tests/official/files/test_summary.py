"""summary.json: whole or not at all, with versions and, where there is git, the commit."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from importlib import metadata

import pytest
import tensorflow as tf

from official.files import summary
from tests.official.tiny import ROOT


@pytest.fixture
def copied(tmp_path):
    """The module in a source tree of its own: (tree, module)."""
    (tmp_path / "official").mkdir()
    path = shutil.copy(ROOT / "official" / "files" / "summary.py", tmp_path / "official")
    spec = importlib.util.spec_from_file_location("copied_summary", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return tmp_path, module


def git(folder, *arguments):
    isolated = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, env=isolated, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_outside_git(copied):
    """A tree that was copied without its history has no commit, and that is no error."""
    assert copied[1].source() == {"git_commit": None, "git_modified": None}


def test_without_git(copied, monkeypatch):
    """Nor is it one where git is not installed."""
    git(copied[0], "init", "--quiet")
    monkeypatch.setenv("PATH", str(copied[0]))
    assert copied[1].source() == {"git_commit": None, "git_modified": None}


def test_commit_and_changes(copied, monkeypatch, tmp_path):
    """That of the source and not of the folder one stands in, and whether the source has changed since."""
    tree, module = copied
    git(tree, "init", "--quiet")
    git(tree, "add", ".")
    git(tree, "commit", "--quiet", "-m", "first")
    monkeypatch.chdir("/")
    commit = git(tree, "rev-parse", "HEAD")
    assert len(commit) == 40
    assert module.source() == {"git_commit": commit, "git_modified": False}
    (tree / "official" / "summary.py").write_text("changed\n")
    assert module.source() == {"git_commit": commit, "git_modified": True}


def test_in_a_repository_of_others(copied):
    """A package that is installed inside somebody's repository has no commit there."""
    tree, module = copied
    git(tree, "init", "--quiet")
    (tree / "theirs.py").touch()
    git(tree, "add", "theirs.py")
    git(tree, "commit", "--quiet", "-m", "first")
    assert module.source() == {"git_commit": None, "git_modified": None}


def test_versions():
    """Of what runs, as installed, Keras the one that TensorFlow uses."""
    versions = summary.versions()
    assert versions.pop("python") == ".".join(map(str, sys.version_info[:3]))
    assert {"tensorflow", "numpy"} < versions.keys()
    for package in versions:
        assert versions[package] == metadata.version(package)
    keras = sys.modules[tf.keras.Model.__module__.partition(".")[0]]
    assert versions[keras.__name__.replace("_", "-")] == keras.__version__


@pytest.mark.parametrize(
    "there, used",
    [
        (["tensorflow==2.15.1", "keras==2.15", "tf-keras==2.15", "tensorflow-addons==0.23.0"], ["keras", "tensorflow-addons"]),
        (["tensorflow==2.21.0", "keras==3.15.1", "tf-keras==2.21.0"], ["tf-keras"]),
        (["tensorflow-tpu==2.20.0", "keras==3.15.1", "tf-keras==2.20.1"], ["tf-keras"]),
    ],
    ids=["with_addons", "without_addons", "tpu"],
)
def test_versions_of_each_stack(monkeypatch, there, used):
    """TensorFlow with Addons and its own Keras 2, and later ones with Keras 2 beside Keras 3."""
    installed = dict(package.split("==") for package in there)

    def version(package):
        if package not in installed:
            raise metadata.PackageNotFoundError(package)
        return installed[package]

    monkeypatch.setattr(summary.metadata, "version", version)
    of_tensorflow = installed.get("tensorflow", installed.get("tensorflow-tpu"))
    expected = {"tensorflow": of_tensorflow, **{package: installed[package] for package in used}}
    versions = summary.versions()
    assert {package: versions[package] for package in versions if package != "python"} == expected


def test_write_summary(tmp_path):
    """The fields given, and versions and commit beside them; no partial file stays, and an old one is replaced."""
    path = tmp_path / "summary.json"
    path.write_text("old")
    written = summary.write_summary(path, step=3, metrics=dict(loss=0.5))
    assert json.loads(path.read_text()) == written
    assert written["step"] == 3
    assert written["metrics"] == {"loss": 0.5}
    assert {"versions", "git_commit", "git_modified"} <= set(written)
    assert [file.name for file in tmp_path.iterdir()] == ["summary.json"]


def test_summary_is_whole_or_not_at_all(tmp_path):
    """A run is finished where there is a summary: half of one must not look like it."""
    with pytest.raises(TypeError):
        summary.write_summary(tmp_path / "summary.json", step=object())
    assert not (tmp_path / "summary.json").exists()
