"""Tables of models by name: what is refused, and in which words."""

import numpy as np
import pytest

from official.zoo import check_model, override

SETTINGS = dict(width=4, depth=2, classes=3)


def test_unknown_model():
    """The nearest one, and all; a word unlike any gets no guess."""
    check_model("small", {"tiny": {}, "small": {}})
    with pytest.raises(ValueError, match=r"^name='smal' is not a model \(did you mean small\?\); known: tiny, small$"):
        check_model("smal", {"tiny": {}, "small": {}})
    with pytest.raises(ValueError, match=r"^name=None is not a model; known: tiny, small$"):
        check_model(None, ["tiny", "small"])


def test_override():
    """Only what is given changes, and the table stays as it was."""
    assert override("tiny", SETTINGS, dict(depth=None)) == dict(width=4, depth=None, classes=3)
    assert SETTINGS["depth"] == 2
    said = r"^dept=3 is not a setting of tiny \(did you mean depth\?\); known: classes, depth, width$"
    with pytest.raises(ValueError, match=said):
        override("tiny", SETTINGS, dict(width=5, dept=3))


def test_names_of_other_libraries():
    """What it is called here, where that is a setting at all."""
    with pytest.raises(ValueError, match=r"^num_classes=10 is not a setting of tiny: it is called classes here; known: "):
        override("tiny", SETTINGS, dict(num_classes=10))
    with pytest.raises(ValueError, match=r"^global_pool='avg' is not a setting of tiny; known: classes, depth, width$"):
        override("tiny", SETTINGS, dict(global_pool="avg"))


def test_numbers_of_numpy():
    """Checks of settings ask for Python's, and JSON holds no others."""
    given = dict(width=np.int64(5), depth=(np.int32(0), np.int32(2)), classes=[np.float32(0.5), np.bool_(True), None])
    found = override("tiny", SETTINGS, given)
    assert found == dict(width=5, depth=(0, 2), classes=[0.5, True, None])
    assert [type(value) for value in (found["width"], *found["depth"], *found["classes"])] == [
        int, int, int, float, bool, type(None)
    ]  # fmt: skip
