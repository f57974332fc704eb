"""Layers that stay as they are."""

import pytest
import tensorflow as tf

from official.training.fine_tuning import freeze


@pytest.fixture
def model():
    layers = [tf.keras.layers.Dense(2, name=name) for name in ("first", "second")]
    return tf.keras.Sequential([tf.keras.Input((3,)), *layers])


def test_only_the_named_layers(model):
    weights = len(model.weights)
    freeze(model, ())
    assert len(model.trainable_weights) == weights == 4
    freeze(model, ("first",))
    assert [weight.name for weight in model.trainable_weights] == ["second/kernel:0", "second/bias:0"]
    assert len(model.weights) == weights


def test_layers_in_a_layer(model):
    outer = tf.keras.Sequential([tf.keras.Input((3,)), model, tf.keras.layers.Dense(2, name="third")])
    inner = model.name
    freeze(outer, (f"{inner}/first", "third"))
    assert [weight.name for weight in outer.trainable_weights] == ["second/kernel:0", "second/bias:0"]
    with pytest.raises(ValueError, match=f"must be among the model's layers: {inner}/first, {inner}/second$"):
        freeze(outer, (f"{inner}/frist",))


@pytest.mark.parametrize(
    "names, allowed",
    [
        (("first", "frist"), "be among the model's layers: first, second"),
        (("first", "second"), "leave at least one layer trainable"),
    ],
)
def test_refusals(model, names, allowed):
    """The setting, its value and what is allowed; nothing is frozen by half."""
    with pytest.raises(ValueError) as error:
        freeze(model, names)
    assert str(error.value) == f"train.frozen={names!r} is not allowed: it must {allowed}"
