"""Tables of models by name: what is refused, and in which words."""

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
