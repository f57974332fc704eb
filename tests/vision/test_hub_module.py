"""An exported image model as a layer of tensorflow_hub: it trains, and its experts stay balanced with the documented layer."""

import numpy as np
import pytest
import tensorflow as tf

from official.cli import quiet
from official.serving.saved_models import write_saved_model
from tests.official.tiny import tiny_config
from tests.snippets import page, python_snippets, run_snippet
from vision.classification import ImageClassification

with quiet.hub_import():
    import tensorflow_hub as hub

SETTINGS = {"model.depth": 1, "model.num_experts": 4, "model.top_k": 1, "model.balance_weight": 1.0, "model.dropout": 0.1}
CLASSES = 4


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """(folder, Keras model) of a model whose router favors one expert for whatever it sees."""
    part = ImageClassification(tiny_config(SETTINGS)).part("model")
    encoder = part.model.get_layer("encoder")
    encoder.ffn_norm.beta.assign(tf.ones_like(encoder.ffn_norm.beta))
    kernel = encoder.moe_layers[0].router.kernel
    kernel.assign(0.3 * kernel + 0.25 * tf.one_hot([0] * kernel.shape[0], kernel.shape[1]))
    folder = tmp_path_factory.mktemp("module") / "saved_model"
    write_saved_model(part, folder)
    return folder, part.model


def random_images(count, seed=0):
    """Images of which each class has a brighter corner, and their classes."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count)
    images = random.uniform(-1, 1, (count, 8, 8, 1)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        image[4 * (label // 2) :, 4 * (label % 2) :][:4, :4] += 1
    return images, labels


@pytest.mark.further
def test_gradients_are_those_of_the_keras_model(saved):
    """Of the loaded module, of all weights, outside training, where nothing is random.

    To 1e-5 of a weight's largest gradient and 1e-6 of the model's, for float32: that of a key's bias is zero but for rounding.
    """
    folder, model = saved
    images, labels = random_images(8)
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def gradients(call, weights):
        with tf.GradientTape() as tape:
            value = loss(labels, call(images))
        return {weight.name: gradient for weight, gradient in zip(weights, tape.gradient(value, weights), strict=True)}

    layer = hub.KerasLayer(str(folder), trainable=True)
    found = gradients(lambda x: layer.resolved_object(x, training=False)["logits"], layer.trainable_weights)
    expected = gradients(lambda x: model(x, training=False), model.trainable_weights)
    assert found.keys() == expected.keys()
    rounding = 1e-6 * max(np.abs(gradient).max() for gradient in expected.values())
    for name, gradient in expected.items():
        atol = 1e-5 * np.abs(gradient).max() + rounding
        np.testing.assert_allclose(found[name], gradient, rtol=1e-5, atol=atol, err_msg=name)


@pytest.mark.further
def test_training_acts(saved):
    """Dropout and router noise where the layer is trained, and only there; a frozen one neither changes nor adds to the loss."""
    images, _ = random_images(8)
    layer, frozen = (hub.KerasLayer(str(saved[0]), trainable=trainable) for trainable in (True, False))
    plain = layer(images)
    first, second = (layer(images, training=True) for _ in range(2))
    assert np.abs(first["logits"] - second["logits"]).max() > 1e-3
    assert float(first["balance_loss"]) > 0 == float(plain["balance_loss"])
    for outputs in (layer(images, training=False), frozen(images, training=True), frozen(images)):
        np.testing.assert_allclose(outputs["logits"], plain["logits"], rtol=0, atol=1e-6)
        assert float(outputs["balance_loss"]) == 0
    assert not frozen.trainable_weights


def documented_layer():
    """BalancedLayer, as docs/serving.md has it."""
    (code,) = (snippet for snippet in python_snippets(page("docs/serving.md")) if "class BalancedLayer" in snippet)
    return run_snippet(code)["BalancedLayer"]


def largest_share(layer, model):
    """Fine-tunes the module in a Keras model; the largest share of tokens that an expert gets then, and the accuracy."""
    tf.keras.utils.set_random_seed(1)
    inputs = tf.keras.Input([8, 8, 1])
    whole = tf.keras.Model(inputs, tf.keras.layers.Dense(CLASSES)(layer(inputs)["features"]))
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    whole.compile(tf.keras.optimizers.Adam(0.003), loss, metrics=["accuracy"])
    images, labels = random_images(256)
    whole.fit(images, labels, batch_size=32, epochs=8, verbose=0)
    values = {weight.name: weight for weight in layer.weights}
    for weight in model.weights:
        weight.assign(values[weight.name])
    _, counts = model.call_with_assignments(images)
    counts = np.sum(counts, axis=(0, 1))
    return counts.max() / counts.sum(), whole.evaluate(images, labels, verbose=0)[1]


@pytest.mark.train
def test_experts_stay_balanced(saved):
    """With the documented layer; hub's own, which loses the balance term, leaves most tokens to one expert. Both learn."""
    folder, model = saved
    _, before = model.call_with_assignments(random_images(256)[0])
    assert np.sum(before, axis=(0, 1))[0] > 0.8 * np.sum(before)
    plain, learned = largest_share(hub.KerasLayer(str(folder), trainable=True), model)
    balanced, learned_too = largest_share(documented_layer()(str(folder), trainable=True), model)
    assert plain > 0.7
    assert balanced < 0.5
    # Guessing has a quarter.
    assert min(learned, learned_too) > 0.35
