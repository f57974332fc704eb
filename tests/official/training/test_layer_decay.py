"""Factors of updates from depths, by hand."""

import numpy as np
import pytest
import tensorflow as tf

from official.training.fine_tuning import update_scales


def weight(name, shape=(2, 3)):
    return tf.Variable(np.zeros(shape), name=name)


def test_by_hand():
    """Two blocks: layers 0 to 3. The last layer is updated in full, each below it by half of what the one above it is."""
    weights = [weight("embedding"), weight("block/kernel"), weight("bank"), weight("same"), weight("head")]
    depths = {"embedding:0": 0, "block/kernel": 2, "bank:0": np.array([[1], [3]]), "same": np.array([[2], [2]]), "head": 3}
    scales = update_scales(0.5, {**depths, "of another model": 7}, 3, weights)
    assert scales == {"embedding": 0.125, "block/kernel": 0.5, "bank": [[0.25], [1.0]], "same": [[0.5], [0.5]]}


def test_no_decay_is_no_scale():
    assert update_scales(1.0, {"a": 0, "b": np.array([[0], [1]])}, 1, [weight("a"), weight("b")]) == {}


@pytest.mark.parametrize(
    "weights, depths, message",
    [
        ([weight("a"), weight("b")], {"a": 0}, "b: its depth is not known"),
        ([weight("a"), weight("a")], {"a": 0}, "a: several weights have this name"),
        ([weight("a")], {"a": 3}, "a: depth 3 is not allowed: it must be from 0 to 2"),
        ([weight("a")], {"a": -1}, "a: depth -1 is not allowed: it must be from 0 to 2"),
        ([weight("a")], {"a": np.array([[0], [1], [2]])}, r"a: depths of shape \(3, 1\) do not fit a weight of shape \(2, 3\)"),
        (
            [weight("a", (1, 3))],
            {"a": np.array([[0], [1]])},
            r"a: depths of shape \(2, 1\) do not fit a weight of shape \(1, 3\)",
        ),
    ],
)
def test_refusals(weights, depths, message):
    """A weight without a depth of its own would be updated in full, in silence."""
    with pytest.raises(ValueError, match=f"^{message}$"):
        update_scales(0.5, depths, 2, weights)
