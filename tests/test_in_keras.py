"""Models of the zoo used as any Keras model is: data without static shapes, configs and files, and Keras's callbacks."""

import numpy as np
import pytest
import tensorflow as tf

import bert
import vision
from official.config import train_settings
from official.training.optimizers import create_optimizer
from tests.bert.batches import FEW_EXPERTS, random_batch
from widenet import Model, fast_path, feed_forward, moe, norm

SIZES = dict(depth=1, width=8, heads=2, ffn_dim=12, expert_dim=12, num_experts=2, noise=False)
LABELS = np.arange(8) % 3
LOSS = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def image_model(**compiled):
    model = vision.create_model("widenet_ti16", **SIZES, image_size=4, patch_size=2, channels=1, classes=3)
    model.compile(**{"optimizer": tf.keras.optimizers.SGD(0.1), "loss": LOSS, **compiled})
    return model, np.random.default_rng(0).normal(size=(8, 4, 4, 1)).astype(np.float32)


def text_model(**compiled):
    settings = {**FEW_EXPERTS, **SIZES, "dropout": 0.0, "attention_dropout": 0.0}
    model = bert.create_model("widenet_tiny_e4", "classification", **settings, classes=3)
    model.compile(**{"optimizer": tf.keras.optimizers.SGD(0.1), "loss": LOSS, **compiled})
    return model, random_batch([5, 4, 3, 5, 2, 5, 1, 5])


# Data without static shapes


class Batches(tf.keras.utils.Sequence):
    """Batches of four of eight examples, with labels."""

    def __init__(self, inputs):
        self.inputs = inputs

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return tf.nest.map_structure(lambda array: array[4 * index : 4 * index + 4], (self.inputs, LABELS))


def without_shapes(inputs, known_labels=True):
    """A data set as of a decoder in Python: not even the ranks of the inputs are known."""

    def decode(inputs, label):
        inputs = tf.nest.map_structure(lambda x: tf.py_function(lambda x: x, [x], x.dtype), inputs)
        return inputs, label if known_labels else tf.py_function(lambda x: x, [label], label.dtype)

    return tf.data.Dataset.from_tensor_slices((inputs, LABELS)).map(decode).batch(4)


FEEDS = {
    "generator": lambda inputs: (batch for batch in Batches(inputs)),
    "sequence": Batches,
    "py_function": without_shapes,
}


@pytest.mark.parametrize(
    "feed", ["py_function", *(pytest.param(feed, marks=pytest.mark.further) for feed in ("generator", "sequence"))]
)
@pytest.mark.parametrize("create", [image_model, pytest.param(text_model, marks=pytest.mark.train)])
def test_data_without_static_shapes(create, feed, monkeypatch):
    """The same weights, losses, metrics and answers as of arrays, to float32's accuracy."""
    for module in (fast_path, feed_forward, moe, norm):  # compiling functions of tensors of unknown size takes time
        monkeypatch.setattr(module, "compiles_elementwise", lambda elements=None: False)
    model, inputs = create(metrics=["accuracy"])
    in_eager, _ = create(metrics=["accuracy"], run_eagerly=True)
    start = in_eager.get_weights()
    expected = in_eager.fit(inputs, LABELS, batch_size=4, shuffle=False, verbose=0).history
    measured, answers = in_eager.evaluate(inputs, LABELS, verbose=0), in_eager.predict(inputs, verbose=0)
    feed = FEEDS[feed]
    model.set_weights(start)
    history = model.fit(feed(inputs), shuffle=False, verbose=0).history
    assert history.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(history[name], values, atol=1e-5, err_msg=name)
    for weight, other in zip(model.get_weights(), in_eager.get_weights(), strict=True):
        np.testing.assert_allclose(weight, other, atol=1e-5)
    np.testing.assert_allclose(model.evaluate(feed(inputs), verbose=0), measured, atol=1e-5)
    np.testing.assert_allclose(model.predict(feed(inputs), verbose=0), answers, atol=1e-5)


def test_data_of_another_shape():
    """Where the sizes are unknown until the data come, the first batch says so."""
    model, images = image_model()
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[4,4,2,1\] is not compatible with expected shape \[\?,4,4,1\]"):
        model.predict(without_shapes(images[:, :, :2]), verbose=0)


def test_labels_of_unknown_rank():
    """Keras chooses between three metrics by the rank."""
    model, images = image_model(metrics=["accuracy"])
    with pytest.raises(ValueError, match='labels=.* is not allowed: it must be of a known rank for the metric "accuracy"'):
        model.evaluate(without_shapes(images, known_labels=False), verbose=0)


# Configs and files


def pretraining_model():
    """Its outputs are a dict with a list in it."""
    settings = {**FEW_EXPERTS, **SIZES, "dropout": 0.0, "attention_dropout": 0.0}
    return bert.create_model("widenet_tiny_e4", "pretraining", **settings), random_batch(predictions=2)


def from_json(model, folder):
    return tf.keras.models.model_from_json(model.to_json(indent=1))


def from_h5(model, folder):
    model.save(folder / "model.h5")
    return tf.keras.models.load_model(folder / "model.h5")


def from_config(model, folder):
    return type(model).from_config(model.get_config())


def clone(model, folder):
    return tf.keras.models.clone_model(model)


@pytest.mark.further_cases
@pytest.mark.parametrize(
    "create, copy",
    [
        *((image_model, copy) for copy in (from_json, from_h5, from_config, clone)),
        (pretraining_model, from_h5),
        (pretraining_model, clone),
    ],
)
def test_copies_are_models_of_the_zoo(create, copy, tmp_path):
    """With their outputs' names, the balance loss and the metrics of the experts' load."""
    model, inputs = create()
    copied = copy(model, tmp_path)
    copied.set_weights(model.get_weights())
    assert type(copied) is Model and copied.output_names == model.output_names
    for answers in zip(*(tf.nest.flatten(each(inputs, training=True)) for each in (copied, model)), strict=True):
        np.testing.assert_allclose(*answers, atol=1e-6)
    assert len(copied.losses) == len(model.losses) > 0
    np.testing.assert_allclose(copied.losses, model.losses, atol=1e-6)
    assert copied.expert_load.table() == model.expert_load.table()
    assert [metric.name for metric in copied.metrics] == [metric.name for metric in model.metrics]


# Callbacks, with the optimizers of create_optimizer


def batches(images):
    """Two batches of known size, for which nothing of such a small model is compiled."""
    return tf.data.Dataset.from_tensor_slices((images, LABELS)).batch(4, drop_remainder=True)


@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize(
    "callback",
    [tf.keras.callbacks.ReduceLROnPlateau(), tf.keras.callbacks.LearningRateScheduler(lambda epoch: 0.1)],
    ids=lambda callback: type(callback).__name__,
)
def test_callbacks_that_cannot_set_a_schedule(callback, as_list):
    """Before the first epoch, and not where the rate is first to be reduced."""
    model, images = image_model(optimizer=create_optimizer(train_settings()))
    name = type(callback).__name__
    message = f"callbacks='{name}' is not allowed: it must be used with a learning rate that is not a schedule: set a number"
    with pytest.raises(ValueError, match=message):
        model.fit(images, LABELS, callbacks=tf.keras.callbacks.CallbackList([callback]) if as_list else callback, verbose=0)
    assert model.optimizer.iterations == 0


def test_callbacks_that_set_the_learning_rate():
    """They set a number that is in place of the schedule, and a rate of 0 changes no weight."""
    model, images = image_model(optimizer=create_optimizer(train_settings(optimizer="sgd", momentum=0.0, weight_decay=0.0)))
    model.optimizer.learning_rate = 0.125
    weights = []
    callbacks = [
        tf.keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.0 if epoch == 2 else rate),
        tf.keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: weights.append(model.get_weights()[0])),
        tf.keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=1e6),  # no epoch is better than the first
    ]
    history = model.fit(batches(images), epochs=3, callbacks=callbacks, verbose=0).history
    assert history["lr"] == [0.125, 0.125, 0.0]
    assert model.optimizer.get_config()["learning_rate"] == 0.0
    assert np.any(weights[0] != weights[1]) and np.all(weights[1] == weights[2])


@pytest.mark.parametrize("name", ["lamb", "adamw", "sgd"])
def test_a_number_for_an_optimizer_with_state(name):
    """As that of a loaded model has: Keras would keep a number that no callback can set."""
    weight = tf.Variable([1.0], name="bias")
    optimizer = create_optimizer(train_settings(optimizer=name))
    optimizer._create_all_weights([weight])
    optimizer.learning_rate = 0.5
    tf.keras.backend.set_value(optimizer.lr, 0.0)
    optimizer.apply_gradients([(tf.ones(1), weight)])
    assert weight.numpy() == 1.0
    tf.keras.backend.set_value(optimizer.lr, 0.25)
    optimizer.apply_gradients([(tf.ones(1), weight)])
    assert weight.numpy() < 0.9


class Stop(Exception):
    """What stops a training in between."""


def stop_at(epoch):
    def stop(number, logs):
        if number == epoch:
            raise Stop

    return tf.keras.callbacks.LambdaCallback(on_epoch_begin=stop)


@pytest.mark.train
def test_backup_and_restore(tmp_path):
    """Stopped and resumed with a new model: the weights and the optimizer's state are those of a training that was not stopped.

    Without dropout and noise, whose seeds are not kept, to float32's accuracy.
    """

    def train(*callbacks):
        tf.keras.utils.set_random_seed(0)
        model, images = image_model(optimizer=create_optimizer(train_settings(steps=6, lr=0.1, ema_decay=0.9)))
        try:
            model.fit(batches(images), epochs=3, callbacks=callbacks, verbose=0)
        except Stop:
            assert model.optimizer.iterations == 2
        return model

    whole = train()
    train(tf.keras.callbacks.BackupAndRestore(tmp_path), stop_at(1))
    resumed = train(tf.keras.callbacks.BackupAndRestore(tmp_path))
    assert resumed.optimizer.iterations == whole.optimizer.iterations == 6
    pairs = [*zip(resumed.get_weights(), whole.get_weights(), strict=True)]
    pairs += zip(resumed.optimizer.get_weights(), whole.optimizer.get_weights(), strict=True)
    assert len(pairs) > 4 * len(whole.weights)
    for weight, expected in pairs:
        np.testing.assert_allclose(weight, expected, atol=1e-6)


@pytest.mark.further
def test_checkpoints_and_early_stopping(tmp_path):
    """Checkpoints of every epoch are whole models, and the best weights come back; the worst loss is taken for the best."""
    model, images = image_model(optimizer=create_optimizer(train_settings(lr=0.1, warmup_steps=0)))
    callbacks = [
        tf.keras.callbacks.ModelCheckpoint(str(tmp_path / "{epoch}.keras")),
        tf.keras.callbacks.EarlyStopping("loss", mode="max", patience=1, restore_best_weights=True),
    ]
    history = model.fit(batches(images), epochs=4, callbacks=callbacks, verbose=0).history
    assert len(history["loss"]) == 2 and history["loss"][1] < history["loss"][0]
    loaded = tf.keras.models.load_model(tmp_path / "1.keras")
    for weight, expected in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    assert loaded.optimizer.iterations == 2 and model.optimizer.iterations == 4
    assert len(loaded.optimizer.get_weights()) == len(model.optimizer.get_weights())
