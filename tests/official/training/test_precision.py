"""The choice of precision by speed."""

import pytest
import tensorflow as tf

from official.training import devices as precision


@pytest.mark.parametrize(("bfloat16_seconds", "expected"), [(0.5, "mixed_bfloat16"), (0.9, "float32"), (3.0, "float32")])
def test_bfloat16_must_be_clearly_faster(monkeypatch, bfloat16_seconds, expected):
    monkeypatch.setattr(precision, "_seconds", lambda dtype: bfloat16_seconds if dtype == tf.bfloat16 else 1.0)
    assert precision.fastest_precision() == expected


def test_one_slow_moment_decides_nothing(monkeypatch):
    """The machine stumbles once, at the first float32 product: the median of the five does not see it."""
    seconds = {tf.float32: iter([50.0, 1, 1, 1, 1]), tf.bfloat16: iter([1.0] * 5)}
    monkeypatch.setattr(precision, "_seconds", lambda dtype: next(seconds[dtype]))
    assert precision.fastest_precision() == "float32"


def test_it_does_measure():
    assert precision._seconds(tf.float32) > 0
    assert precision.fastest_precision() in ("float32", "mixed_bfloat16")
