"""What pip installs: packages, recipes, scripts and version; and the lock files, which pin what pyproject.toml asks for."""

import importlib.metadata
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import zipfile
from unittest import mock

import pytest
from absl.testing import flagsaver
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import widenet
from official.cli import scripts
from official.cli.recipe_flag import CONFIG, parse_flags
from tests.installed import PACKAGES, copy_tree, install, run
from tests.official.tiny import DENSE, ROOT, command

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
EXTRAS = ["", *PROJECT["optional-dependencies"]]


def asked_for(extra):
    """The Requirements of the project with an extra; "" for none."""
    found = {Requirement(text) for text in PROJECT["dependencies"]}
    for requirement in map(Requirement, PROJECT["optional-dependencies"][extra] if extra else ()):
        found |= set().union(*map(asked_for, requirement.extras)) if requirement.name == PROJECT["name"] else {requirement}
    return found


def locked(stack, extra):
    """[(Requirement with one version, whether the project itself asks for it)] of the extra's lock file of a stack."""
    text = (ROOT / f"locks/{stack}/requirements{extra and '-'}{extra}.lock").read_text(encoding="utf-8")
    entries = re.findall(r"^(\S+==.*?) \\\n((?: +.*\n)+)", text, re.MULTILINE)
    return [(Requirement(pinned), "widenet (pyproject.toml)" in reasons) for pinned, reasons in entries]


def holds(requirement, python):
    return requirement.marker is None or requirement.marker.evaluate(
        dict(python_version=python, python_full_version=f"{python}.1", sys_platform="linux", platform_machine="x86_64")
    )


# Of each Python its own stack, and the modern one under the Pythons of the reference, whose requirements are then those of 3.12.
STACKS = [("reference", "3.10"), ("reference", "3.11"), *(("modern", python) for python in ("3.10", "3.11", "3.12", "3.13"))]


@pytest.mark.parametrize("stack, python", STACKS)
@pytest.mark.parametrize("extra", EXTRAS)
def test_lock_file_pins_what_the_project_asks_for(extra, stack, python):
    """Each direct dependency at one allowed version, and no direct dependency that pyproject.toml no longer has."""
    of = max(python, "3.12") if stack == "modern" else python
    wanted = [(canonicalize_name(r.name), r.specifier) for r in asked_for(extra) if holds(r, of)]
    pinned = {canonicalize_name(r.name): (str(r.specifier)[2:], direct) for r, direct in locked(stack, extra) if holds(r, python)}
    assert {name for name, _ in wanted} == {name for name, (_, direct) in pinned.items() if direct}
    for name, allowed in wanted:
        assert allowed.contains(pinned[name][0]), name


@pytest.mark.parametrize("stack, python", STACKS)
@pytest.mark.parametrize("extra", [extra for extra in EXTRAS if extra != "test"])
def test_what_is_installed_is_what_is_tested(extra, stack, python):
    """Each version is the one of the lock file that tests run with."""
    installed, tested = ({r.name: str(r.specifier) for r, _ in locked(stack, e) if holds(r, python)} for e in (extra, "test"))
    assert installed.items() <= tested.items()


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_lock_file_of_tpu_differs_in_tensorflow_alone(python):
    """Only the TensorFlow for TPUs is there, which has all packages that import it in its version."""
    modern, tpu = ({r.name: str(r.specifier) for r, _ in locked(stack, "") if holds(r, python)} for stack in ("modern", "tpu"))
    assert "tensorflow" not in tpu
    assert [tpu[name] for name in ("tensorflow-tpu", "tf-keras", "tensorflow-text")] == ["==2.20.0", "==2.20.1", "==2.20.1"]
    assert modern.keys() - tpu.keys() == {"tensorflow"}
    assert tpu.keys() - modern.keys() == {"tensorflow-tpu", "libtpu"}
    assert {name for name in tpu.keys() & modern.keys() if tpu[name] != modern[name]} <= {"tf-keras", "tensorflow-text", "h5py"}


@pytest.mark.process
@pytest.mark.parametrize("python", ["3.10", "3.13"])
def test_lock_file_of_tpu_can_be_installed(tmp_path, python):
    """On a TPU VM, with what each package depends on but tensorflow: all is pinned, in versions that fit each other."""
    (tmp_path / "overrides.txt").write_text("tensorflow; python_version < '3'")
    command = [pathlib.Path(sys.executable).parent / "uv", "pip", "install", "--dry-run", "--require-hashes"]
    command += [
        "--override",
        tmp_path / "overrides.txt",
        "--target",
        tmp_path / "target",
        "-r",
        ROOT / "locks/tpu/requirements.lock",
    ]
    command += ["--python-version", python, "--python-platform", "x86_64-manylinux_2_31"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode and re.search("error sending request|dns error|timed out", done.stderr):
        pytest.skip("no index of packages can be reached")
    assert done.returncode == 0, done.stderr
    would = {line.removeprefix(" + ").partition("==")[0] for line in done.stderr.splitlines() if line.startswith(" + ")}
    assert would == {canonicalize_name(r.name) for r, _ in locked("tpu", "") if holds(r, python)}


def test_every_lock_file_has_an_extra():
    names = {f"requirements{extra and '-'}{extra}.lock" for extra in EXTRAS}
    found = {(path.parent.name, path.name) for path in (ROOT / "locks").rglob("*.*")}
    assert found == {(stack, name) for stack in ("reference", "modern") for name in names} | {("tpu", "requirements.lock")}


def test_version_is_the_last_in_the_changelog():
    released = re.search(r"^## \[(\d.*?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert widenet.__version__ == released.group(1)


def script(name):
    """(the function of a script, the module that it runs)."""
    target = PROJECT["scripts"][name]
    function = importlib.metadata.EntryPoint(name, target, "console_scripts").load()
    return function, function.args[0] if getattr(function, "func", None) is scripts.run else target.partition(":")[0]


@pytest.mark.parametrize("name", PROJECT["scripts"])
def test_script_is_a_command(name):
    _, module = script(name)
    path = pathlib.Path(importlib.util.find_spec(module).origin)
    assert 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")


# absl's flags can be defined once in a process: widenet-train runs in tests/official/test_command.py, and installed below.
@pytest.mark.parametrize("name", [name for name in PROJECT["scripts"] if name != "widenet-train"])
def test_help_and_wrong_arguments_of_script(name, monkeypatch, capsys):
    """Help is on standard output and no error; a wrong argument is one, with a sentence below the usage."""
    function, module = script(name)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for argument, code in (("--help", 0), ("--wrong", 2)):
        monkeypatch.setattr(sys, "argv", [name, argument])
        with pytest.raises(SystemExit) as ended:
            function()
        assert ended.value.code == code
        said = capsys.readouterr()
        assert (said.err if code else said.out).startswith(f"usage: python -m {module} ")
        assert not (said.out if code else said.err)
        if code:
            assert said.err.splitlines()[-1].startswith(f"python -m {module}: error: ")


def test_every_command_of_official_has_a_script():
    files = [p for p in (ROOT / "official").glob("*.py") if 'if __name__ == "__main__":' in p.read_text(encoding="utf-8")]
    scripts_of_official = {name for name, target in PROJECT["scripts"].items() if "official" in target}
    assert scripts_of_official == {f"widenet-{path.stem.replace('_', '-')}" for path in files}


def test_script_runs_the_module_as_main(tmp_path, monkeypatch, capsys):
    """A module in the working directory is found, but does not hide a package of ours."""
    (tmp_path / "mine.py").write_text("import vision; print(__name__, hasattr(vision, 'create_model'))")
    (tmp_path / "vision.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    scripts.run("mine")
    assert capsys.readouterr().out == "__main__ True\n"


class TestRecipe:
    """In a folder that is not the checkout."""

    @pytest.fixture(autouse=True)
    def elsewhere(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)

    def seed_and_data(self, *arguments):
        """train.seed and data.name of the config that a command line gives."""
        argv = ["train", *arguments]
        with flagsaver.flagsaver(), mock.patch.object(sys, "argv", argv):
            parse_flags(argv)
            return CONFIG.value.train.seed, CONFIG.value.data.name

    @pytest.mark.parametrize("flag", ["--config=vision/configs/digits.py:vit_ti16", "--config vision/configs/digits.py"])
    def test_of_this_project(self, flag):
        assert self.seed_and_data(*flag.split(), "--config.train.seed=7") == (7, "digits")

    def test_of_the_user_comes_first(self, tmp_path):
        own = tmp_path / "vision/configs/digits.py"
        own.parent.mkdir(parents=True)
        own.write_text((ROOT / "vision/configs/digits.py").read_text().replace('"digits"', '"mine"'))
        assert self.seed_and_data("--config=vision/configs/digits.py")[1] == "mine"

    def test_that_is_missing(self):
        with pytest.raises(SystemExit, match=r"^error: --config=vision/configs/digit\.py: no such file$"):
            self.seed_and_data("--config=vision/configs/digit.py")


@pytest.mark.process
@pytest.mark.smoke
def test_wheel_has_the_packages_and_nothing_else(wheel):
    expected = {path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    expected |= {f"{package}/py.typed" for package in PACKAGES} | {"widenet_keras.py", "widenet_keras.pth"}
    with zipfile.ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = archive.read(f"widenet-{widenet.__version__}.dist-info/METADATA").decode()
    assert files == expected
    assert "vision/configs/digits.py" in files
    assert set(re.findall(r"^Provides-Extra: (.*)$", metadata, re.MULTILINE)) == {
        *("text", "beam", "onnx", "weights", "minilm", "test")
    }


@pytest.mark.process
def test_editable_installation(venv, tmp_path):
    """From any folder, the packages are those of the checkout, and so are scripts."""
    tree = tmp_path / "tree"
    copy_tree(tree)
    install(venv, "-e", tree)
    code = "import vision, bert, official, os; print(vision.list_models()[0], os.path.dirname(vision.__path__[0]))"
    assert run(venv / "bin/python", "-c", code, cwd=tmp_path).stdout.split() == ["vit_ti16", str(tree)]
    assert "--handle" in run(venv / "bin/widenet-publish", "--help", cwd=tmp_path).stdout


@pytest.mark.process
def test_installed_wheel_trains_and_evaluates(wheel, venv, tmp_path):
    """Two steps of an installed recipe in an environment of its own, by scripts, in a folder that has nothing of ours."""
    install(venv, wheel)
    # TensorFlow first, as scripts do: the environment itself chooses Keras 2.
    code = "import tensorflow, widenet, official.train; print(widenet.__version__, official.train.__file__)"
    version, path = run(venv / "bin/python", "-c", code, cwd=tmp_path).stdout.split()
    assert version == widenet.__version__
    assert path.startswith(f"{venv}{os.sep}")
    settings = {"train.steps": 2, "train.warmup_steps": 1, **DENSE}
    train = run(venv / "bin/widenet-train", *command("run", **settings)[3:], cwd=tmp_path)
    assert train.stderr == ""
    assert (tmp_path / "run/saved_model/saved_model.pb").exists()
    assert "accuracy" in run(venv / "bin/widenet-evaluate", "--model=run", "--split=validation", cwd=tmp_path).stdout
    helped = run(venv / "bin/widenet-train", "--help", cwd=tmp_path).stdout
    assert "The training driver" in helped
    assert "--workdir" in helped
