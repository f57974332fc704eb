"""Which folder may import which, and what an import brings along."""

import ast
import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent

# Ours on the left may import ours on the right, and itself.
ARROWS = {
    "widenet": set(),
    "official": set(),
    "vision": {"widenet", "official"},
    "bert": {"widenet", "official"},
}
OURS = {*ARROWS, "benchmarks", "tests"}


def imported_packages(source):
    """Top-level names of all absolute imports of a module, inside functions and by importlib.import_module too."""
    packages = set()
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            names = [argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant)]
        packages.update(name.split(".")[0] for name in names)
    return packages


def test_every_way_to_import_is_seen():
    source = """
import a.x, b as other
from c.y import z
from . import sibling
from .d import w
def late():
    import e
    import importlib
    importlib.import_module("f.g")
    __import__("h")
if True:
    from i import j
"""
    assert imported_packages(source) == {"a", "b", "c", "e", "importlib", "f", "h", "i"}


@pytest.mark.parametrize("folder", ARROWS)
def test_a_folder_imports_only_what_it_may(folder):
    forbidden = OURS - ARROWS[folder] - {folder}
    for path in sorted((ROOT / folder).rglob("*.py")):
        crossed = imported_packages(path.read_text()) & forbidden
        assert not crossed, f"{path.relative_to(ROOT)} imports {sorted(crossed)}"


@pytest.mark.parametrize("folder", ARROWS)
def test_there_are_modules_to_look_at(folder):
    assert list((ROOT / folder).rglob("*.py"))


def fresh(code):
    """What `code` prints as JSON in a new process, run in the root of the repository."""
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def imports():
    """In one process: modules and flags after TensorFlow alone, after widenet, after vision's models, and after bert's."""
    return fresh("""
import json, sys
from absl import flags
import tensorflow
def state():
    return [sorted(sys.modules), sorted(flags.FLAGS)]
states = [state()]
import widenet
states.append(state())
import vision
states.append(state())
for name in [name for name in sys.modules if name.split(".")[0] == "vision"]:
    del sys.modules[name]  # so that it is there again only if it is imported again
import bert.models, bert.transfer
states.append(state())
print(json.dumps(states))
""")


def packages(state):
    return {module.split(".")[0] for module in state[0]}


HEAVY = {
    "tensorflow_addons",
    "tensorflow_datasets",
    "tensorflow_hub",
    "tensorflow_text",
    "sklearn",
    "matplotlib",
    "ml_collections",
}


def test_importing_widenet_brings_layers_and_nothing_else(imports):
    """No optimizer, no data set library, no flag, and nothing else of ours."""
    before, after, *_ = imports
    added = packages(after) - packages(before)
    assert "widenet" in added
    assert not added & (HEAVY | OURS - {"widenet"})
    assert not packages(after) & HEAVY
    assert after[1] == before[1]


def test_importing_vision_brings_no_text(imports):
    _, before, after, _ = imports
    assert "vision" in packages(after)
    assert not packages(after) & {"tensorflow_text", "bert", "benchmarks", "tests"}
    assert after[1] == before[1]


def test_importing_text_models_brings_no_images_and_no_tokenizer(imports):
    """tensorflow_text comes when a tokenizer is made."""
    _, _, before, after = imports
    assert {"bert", "widenet"} <= packages(after)
    assert not packages(after) & {*HEAVY, "vision", "benchmarks", "tests"}
    assert after[1] == before[1]


@pytest.mark.parametrize("folder, name", [("vision", "widenet_b16"), ("bert", "widenet_base_e4")])
def test_listing_models_does_not_wait_for_tensorflow(folder, name):
    modules = fresh(f"""
import json, sys
import {folder}
assert "{name}" in {folder}.list_models()
print(json.dumps(sorted(sys.modules)))
""")
    assert not {module.split(".")[0] for module in modules} & {"tensorflow", "keras", "tensorflow_text", "widenet"}
