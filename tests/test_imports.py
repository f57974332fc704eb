"""What an import brings along: importing a package must not wait for, or need, what only some of its users need."""

import json
import pathlib
import subprocess
import sys

import pytest

from tests.official.tiny import environment

ROOT = pathlib.Path(__file__).parents[1]
OURS = {"widenet", "official", "vision", "bert", "benchmarks", "tests"}


def fresh(code):
    """What `code` prints as JSON in a new process, run in the root of the repository."""
    command = [sys.executable, "-c", code]
    # Without the environment that libraries set for themselves in this process, such as transformers' TF_USE_LEGACY_KERAS.
    result = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
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


@pytest.mark.parametrize("package, model", [("vision", "vit_ti16"), ("bert", "bert_tiny")])
@pytest.mark.process
def test_the_first_import_of_tensorflow_may_be_in_create_model(package, model):
    """Models are made in a process that has imported nothing before, in whose course TensorFlow and the layers are imported."""
    assert fresh(f"import {package}; print({package}.create_model({model!r}, depth=1, width=16, heads=2).count_params())") > 0
