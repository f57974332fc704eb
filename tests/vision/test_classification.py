"""Image classification as the driver's task: what it refuses, and what it hands out."""

import re

import numpy as np
import pytest
import tensorflow as tf

from vision.classification import ImageClassification
from vision.configs import digits


def tiny_config(model="widenet_ti16", **overrides):
    config = digits.get_config(model)
    config.model.update(dict(depth=2, width=16, heads=2, ffn_dim=32, expert_dim=32, num_experts=2, patch_size=4))
    config.train.batch_size = 8
    config.update_from_flattened_dict(overrides)
    return config


@pytest.mark.parametrize("setting, value, needed", [("image_size", 16, 8), ("channels", 3, 1), ("classes", 1000, 10)])
def test_model_must_fit_the_data(setting, value, needed):
    """Before anything is built: the setting, its value and what the data set needs."""
    config = tiny_config(**{f"model.{setting}": value})
    with pytest.raises(ValueError, match=re.escape(f"model.{setting}={value} is not allowed")) as error:
        ImageClassification(config)
    assert f"data.name='digits' needs {needed}" in str(error.value)


def test_unknown_data():
    config = tiny_config(**{"data.name": "digit"})
    with pytest.raises(ValueError, match=re.escape("data.name='digit' is not allowed")):
        ImageClassification(config)


def test_every_model_of_the_zoo_fits_the_recipe():
    """The recipe takes any model's name as its argument: its settings are complete and of that model."""
    import vision

    for name in vision.list_models():
        config = digits.get_config(name)
        task = ImageClassification(config)
        assert task.unit == "images"
        assert config.name == f"{name}_digits"
        assert set(config.model) == set(vision.model_settings(name))


def test_model_is_what_the_settings_say():
    """The config's settings reach the model, which bears the config's name."""
    model = ImageClassification(tiny_config(**{"model.moe_blocks": (1,), "model.capacity_factor": None})).create_model()
    assert model.name == "widenet_ti16_digits"
    assert model.output_shape == (None, 10)
    encoder = model.get_layer("encoder")
    assert [block.is_moe for block in encoder.blocks] == [False, True]
    assert encoder.capacity_factor is None


def test_loss_reads_logits():
    """Cross-entropy of a softmax over the logits, by hand; 1e-6 for float32."""
    loss = ImageClassification(tiny_config()).loss()
    logits = np.array([[1.0, 2.0, -1.0]], np.float32)
    expected = np.log(np.exp(logits).sum()) - 2.0
    np.testing.assert_allclose(loss(np.array([1]), logits), expected, rtol=1e-6)


def test_metrics_count_hits():
    (accuracy,) = ImageClassification(tiny_config()).metrics()
    assert accuracy.name == "accuracy"
    accuracy.update_state([0, 1, 2], tf.one_hot([0, 2, 2], 3))
    np.testing.assert_allclose(accuracy.result(), 2 / 3, rtol=1e-6)


def test_datasets():
    """Training is augmented and starts where it is told; validation is every image of its split, once and as it is."""
    task = ImageClassification(tiny_config())
    batches = list(task.train_dataset(0).take(3))
    later = next(iter(task.train_dataset(2)))
    np.testing.assert_array_equal(later[0], batches[2][0])
    plain = ImageClassification(tiny_config(**{"data.rotate": 0.0, "data.scale": 0.0, "data.shift": 0.0}))
    unmoved = next(iter(plain.train_dataset(0)))
    np.testing.assert_array_equal(unmoved[1], batches[0][1])
    assert not np.array_equal(unmoved[0], batches[0][0])
    labels = np.concatenate([labels for _, labels in task.validation_dataset()])
    assert labels.shape == (359,)
