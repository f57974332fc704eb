"""The Python that has nothing of ours: what it is asked, what it answers, and that it forgets."""

import pytest

from tests.elsewhere import run_elsewhere

LOOK = """
import importlib.util, os
import tensorflow as tf
ours = [name for name in ("official", "vision", "bert", "widenet") if importlib.util.find_spec(name)]
registered = "Mine" in tf.keras.utils.get_custom_objects()
seen = [ours, sys.argv[1:], os.getcwd(), os.environ.get("COLOR"), registered, "kept" in globals()]
kept = True
tf.keras.utils.get_custom_objects()["Mine"] = dict
print("more output")
print(json.dumps(seen))
"""


@pytest.mark.further
def test_each_begins_afresh(tmp_path):
    assert run_elsewhere(LOOK, tmp_path, "a", 1, COLOR="red") == [[], ["a", "1"], str(tmp_path), "red", False, False]
    assert run_elsewhere(LOOK, "/") == [[], [], "/", None, False, False]


@pytest.mark.parametrize(
    "code, said", [("undefined", "NameError: name 'undefined' is not defined"), ("sys.exit(3)", "SystemExit: 3")]
)
def test_errors_are_told(tmp_path, code, said):
    with pytest.raises(AssertionError, match=said):
        run_elsewhere(code, tmp_path)


def test_what_is_of_ours_is_refused(tmp_path):
    (tmp_path / "widenet.py").touch()
    with pytest.raises(AssertionError, match="modules of ours: {'widenet'}"):
        run_elsewhere("sys.path.append(sys.argv[1])\nimport widenet\nprint(1)", tmp_path, tmp_path)
