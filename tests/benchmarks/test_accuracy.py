"""The verdict on two precisions, by hand."""

import pytest

from benchmarks.accuracy import verdict


def test_within_the_spread():
    found = verdict({"float32": [0.98, 0.99, 0.97], "mixed_bfloat16": [0.98, 0.97, 0.96]})
    assert found["means"] == pytest.approx({"float32": 0.98, "mixed_bfloat16": 0.97})
    assert found["difference"] == pytest.approx(-0.01)
    assert found["spread"] == pytest.approx(0.02)
    assert found["within_spread"]


def test_outside_the_spread():
    assert not verdict({"float32": [0.98, 0.99, 0.98], "mixed_bfloat16": [0.95, 0.95, 0.96]})["within_spread"]
