"""Installations as users have them, for tests: a wheel, and environments of their own without any package of ours."""

import shutil
import subprocess
import sys
import sysconfig

from tests.official.tiny import ROOT, environment

PACKAGES = ("bert", "official", "vision", "widenet")


def run(*words, cwd, code=0):
    """Runs a command to its end, which must have this exit code; returns a subprocess.CompletedProcess with text."""
    done = subprocess.run([*map(str, words)], cwd=cwd, env=environment(), capture_output=True, text=True, timeout=600)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def copy_tree(folder):
    """Copies what pip needs of the checkout, and some that it must leave out, to a folder in which pip may leave files."""
    for package in (*PACKAGES, "benchmarks", "docs", "tests"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "scripts").mkdir()
    for file in ("pyproject.toml", "README.md", "LICENSE", "widenet_keras.py", "widenet_keras.pth", "scripts/build_backend.py"):
        shutil.copy(ROOT / file, folder / file)


def build_wheel(folder):
    """Builds the wheel of the checkout in a new folder."""
    copy_tree(folder)
    options = ("--no-deps", "--no-index", "--no-build-isolation", "-w", folder)
    run(sys.executable, "-m", "pip", "wheel", *options, ".", cwd=folder)


def create_venv(folder):
    """Creates an environment that has all packages of the running one, but nothing of ours."""
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "running.pth").write_text(sysconfig.get_path("purelib") + "\n")


def install(venv, *what):
    """Installs a wheel or a folder in an environment of `create_venv`."""
    options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    run(venv / "bin/python", "-m", "pip", "install", *options, *what, cwd=venv)
