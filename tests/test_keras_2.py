"""widenet_keras: which Keras TensorFlow will take. TensorFlow is a folder here with a version and nothing else."""

import re
import subprocess
import sys

import pytest
import tensorflow as tf

from tests.official.tiny import ROOT, environment

AT_START, REQUIRE = "widenet_keras.at_start()", "widenet_keras.require()"
# As TensorFlow does: the folder of the Keras that was chosen when it was imported stands before its own, beside one of Keras 3.
TENSORFLOW = """
import os
__version__ = "{version}"
keras = "tf_keras" if os.environ.get("TF_USE_LEGACY_KERAS") in ("1", "true", "True") else "keras"
folder = os.path.dirname(__path__[0])
__path__ = [os.path.join(folder, keras, "api", "_v2"), os.path.join(folder, "keras", "_tf_keras"), *__path__]
"""


def install(folder, version, package="tensorflow", keras_2=True):
    (folder / "tensorflow").mkdir()
    (folder / "tensorflow/__init__.py").write_text(TENSORFLOW.format(version=version))
    for name in ("tensorflow_text-2.22.0.dist-info", f"{package}-{version}.dist-info", "tensorflow-1.0.egg-link"):
        (folder / name).mkdir()
    if keras_2:
        (folder / "tf_keras").mkdir()
        (folder / "tf_keras/__init__.py").touch()


def variable_after(folder, code, **variables):
    """What TF_USE_LEGACY_KERAS is after the code, as Python writes it; or the last line of the error."""
    code = f"import os, widenet_keras\n{code}\nprint(repr(os.environ.get('TF_USE_LEGACY_KERAS')))"
    command = [sys.executable, "-S", "-c", code]
    variables = environment(PYTHONPATH=f"{folder}:{ROOT}", **variables)
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=60)
    return (done.stdout or done.stderr).splitlines()[-1]


@pytest.mark.parametrize("package", ["tensorflow", "tensorflow_cpu", "tensorflow_tpu"])
@pytest.mark.parametrize("version, value", [("2.15.1", "None"), ("2.16.0rc0", "'1'"), ("2.21.0", "'1'")])
def test_keras_3_is_turned_off_where_it_is_the_default(tmp_path, version, value, package):
    install(tmp_path, version, package)
    assert variable_after(tmp_path, AT_START) == value
    assert variable_after(tmp_path, REQUIRE) == value


def test_nothing_is_done_without_tensorflow(tmp_path):
    assert variable_after(tmp_path, f"{AT_START}; {REQUIRE}") == "None"


def test_start_of_python_leaves_what_the_user_chose(tmp_path):
    install(tmp_path, "2.21.0")
    assert variable_after(tmp_path, AT_START, TF_USE_LEGACY_KERAS="0") == "'0'"


def test_the_second_copy_of_keras_2_is_not_taken(tmp_path):
    """As for a process of one that has imported transformers, which sets the variable."""
    install(tmp_path, "2.15.1")
    assert variable_after(tmp_path, REQUIRE, TF_USE_LEGACY_KERAS="1") == "None"


@pytest.mark.parametrize("value", ["1", "true", "True"])
def test_tensorflow_that_has_keras_2_already(tmp_path, value):
    install(tmp_path, "2.21.0")
    assert variable_after(tmp_path, f"import tensorflow; {REQUIRE}", TF_USE_LEGACY_KERAS=value) == repr(value)
    assert variable_after(tmp_path, f"{AT_START}; import tensorflow; {REQUIRE}") == "'1'"


def test_tensorflow_that_has_keras_3_already(tmp_path):
    """Also where the variable was set after the import, which changes tf.keras and not `from tensorflow.keras import layers`."""
    install(tmp_path, "2.21.0")
    for late in ("", "os.environ['TF_USE_LEGACY_KERAS'] = '1'; "):
        said = variable_after(tmp_path, f"import tensorflow; {late}{REQUIRE}")
        assert said.startswith("ImportError: TensorFlow was imported with Keras 3, and WideNet needs Keras 2: import widenet, ")
        assert said.endswith("or set the variable TF_USE_LEGACY_KERAS=1 before Python starts")


@pytest.mark.process
def test_the_installed_tensorflow_that_has_keras_3_already(tmp_path):
    if tf.__version__.startswith("2.15."):
        pytest.skip("TensorFlow 2.15 has no Keras 3")
    code = "import tensorflow; os.environ['TF_USE_LEGACY_KERAS'] = '1'; import widenet"
    command = [sys.executable, "-c", f"import os; {code}"]
    variables = environment(PYTHONPATH=str(ROOT), TF_USE_LEGACY_KERAS="0")
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=300)
    assert done.stderr.splitlines()[-1].startswith("ImportError: TensorFlow was imported with Keras 3, and WideNet needs Keras 2")


def test_variable_that_asks_for_keras_3(tmp_path):
    install(tmp_path, "2.21.0")
    said = variable_after(tmp_path, REQUIRE, TF_USE_LEGACY_KERAS="0")
    assert said == "ImportError: TF_USE_LEGACY_KERAS='0' is not allowed: it must be 1, since WideNet needs Keras 2"


def test_keras_2_that_is_missing(tmp_path):
    install(tmp_path, "2.21.0", keras_2=False)
    assert "install the package tf-keras in TensorFlow's version" in variable_after(tmp_path, REQUIRE)
    (tmp_path / "older").mkdir()
    install(tmp_path / "older", "2.15.1", keras_2=False)  # has its own
    assert variable_after(tmp_path / "older", REQUIRE) == "None"


def test_the_choice_comes_before_any_other_import():
    code = "import sys, widenet_keras; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    assert {name.partition(".")[0] for name in done.stdout.split()} <= {*sys.stdlib_module_names, "widenet_keras", "__main__"}
    for package in ("widenet", "official"):
        lines = (ROOT / package / "__init__.py").read_text(encoding="utf-8").splitlines()
        imported = [re.split(r"[ .]", line)[1] for line in lines if line.startswith(("import ", "from "))]
        assert next(name for name in imported if name not in sys.stdlib_module_names) == "widenet_keras"
