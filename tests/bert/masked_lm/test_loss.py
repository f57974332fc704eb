"""Loss and metrics of masked words: the mean of the real ones, exactly, however they are spread."""

import numpy as np
import pytest
import tensorflow as tf

from bert.layers import MaskedWords
from bert.masked_lm.loss import MaskedLMAccuracy, MaskedLMLoss, word_losses


def batch(seed=0, rows=6, predictions=5, words=11):
    """(labels int32 [rows, predictions], of which rows have 0, 1, 2, ... real ones, and logits)."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, words, [rows, predictions]).astype(np.int32)
    labels[np.arange(predictions) >= np.arange(rows)[:, np.newaxis]] = -1
    return labels, random.normal(size=[rows, predictions, words]).astype(np.float32)


def expected_losses(labels, logits):
    """float64 [real words]"""
    logits = logits.astype(np.float64)
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return -np.array([log_probabilities[i][labels[i]] for i in zip(*np.nonzero(labels >= 0), strict=True)])


def test_loss_is_the_mean_of_real_words():
    """1e-6 relative for float32; padding has no gradient."""
    labels, logits = map(tf.constant, batch())
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = MaskedLMLoss()(labels, logits)
    np.testing.assert_allclose(loss, expected_losses(labels.numpy(), logits.numpy()).mean(), rtol=1e-6)
    gradient = tape.gradient(loss, logits).numpy()
    assert not gradient[labels.numpy() < 0].any()
    assert gradient[labels.numpy() >= 0].any(axis=-1).all()


def test_no_words():
    """A batch without any costs nothing, and gives no nan."""
    labels, logits = batch()
    labels[:] = -1
    assert float(MaskedLMLoss()(labels, logits)) == 0
    assert float(MaskedLMAccuracy()(labels, logits)) == 0


def test_numbers_of_each_word():
    labels, logits = batch()
    is_real, losses = (x.numpy() for x in word_losses(tf.constant(labels), tf.constant(logits)))
    np.testing.assert_array_equal(is_real, labels >= 0)
    np.testing.assert_allclose(losses[labels >= 0], expected_losses(labels, logits), rtol=1e-6)
    assert not losses[labels < 0].any()


def test_accuracy_counts_every_word_once():
    """Over batches of unequal numbers of words: hits of all over words of all."""
    metric, hits, words = MaskedLMAccuracy(), 0, 0
    for seed, rows in ((0, 6), (1, 3), (2, 2)):
        labels, logits = batch(seed, rows, words=3)
        metric.update_state(labels, logits)
        hits += (logits.argmax(axis=-1) == labels).sum()
        words += (labels >= 0).sum()
    assert float(metric.result()) == pytest.approx(hits / words)


def step(strategy, labels, inputs):
    """The kernel after one step of gradient descent, and the loss."""
    with strategy.scope():
        model = tf.keras.Sequential([tf.keras.layers.Dense(11, use_bias=False, kernel_initializer="zeros", input_shape=(5, 7))])
        model.compile(tf.keras.optimizers.SGD(1.0), MaskedLMLoss(), [MaskedLMAccuracy()])
    dataset = tf.data.Dataset.from_tensors((inputs, labels)).unbatch().batch(len(labels))
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    logs = model.fit(dataset.with_options(options), verbose=0).history
    return model.get_weights()[0], logs["loss"][0]


@pytest.mark.further
def test_two_replicas():
    """Words count alike, though one replica has three times as many of them: the step is that of one device."""
    labels, _ = batch()
    inputs = np.random.default_rng(1).normal(size=[6, 5, 7]).astype(np.float32)
    # Without collective operations, which TensorFlow confuses with those of other strategies in this process.
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    two = tf.distribute.MirroredStrategy(devices, cross_device_ops=tf.distribute.ReductionToOneDevice())
    assert two.num_replicas_in_sync == 2
    found, loss = step(two, labels, inputs)
    expected, expected_loss = step(tf.distribute.get_strategy(), labels, inputs)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    assert np.abs(expected).max() > 0.01


def test_names_in_saved_models():
    """Keras finds classes by their registered names, and a layer's weights in a .keras file by the name of its class."""
    registered = {
        MaskedLMLoss: "bert>MaskedWordLoss",
        MaskedLMAccuracy: "bert>MaskedWordAccuracy",
        MaskedWords: "bert>MaskedWords",
    }
    assert {kind: tf.keras.saving.get_registered_name(kind) for kind in registered} == registered
    assert MaskedWords.__name__ == "MaskedWords"
