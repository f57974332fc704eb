"""Padding never matters: an example is answered the same alone, in any batch and with any amount of padding."""

import numpy as np
import pytest
import tensorflow as tf

import bert
from tests.bert.batches import TINY, more_padding, random_batch, randomize
from widenet.expert_load import recording, recording_assignments

MODELS = {
    "widenet": ("widenet_tiny_e4", {}),
    "albert": ("albert_tiny", {}),
    "mixed": ("bert_tiny", dict(depth=3, moe_blocks=(0, 2), ffn_groups=1, routing_groups=2, num_experts=3)),
    "pre_norm": ("widenet_tiny_e8", dict(norm_position="pre")),
    "by_gate": ("widenet_tiny_e4", dict(batch_priority=True)),
}


def create(kind, task, **settings):
    """Without noise and dropout, which draw other numbers for other shapes; at weights as large as trained ones are."""
    name, others = MODELS[kind]
    model = bert.create_model(name, task, **{**TINY, **others, "dropout": 0.0, "attention_dropout": 0.0, **settings})
    for moe in model.get_layer("encoder").moe_layers:
        moe.router.noise = False
    return randomize(model, scale=0.3)


def single(batch, i):
    """Example i alone, without its padding."""
    length = int(batch["input_mask"][i].sum())
    return {name: array[i : i + 1, : array.shape[1] if "positions" in name else length] for name, array in batch.items()}


def outputs_of(model, batch, i):
    """What the model says of example i, without what it says of padding, and without the whole batch's balance."""
    length = int(batch["input_mask"][i].sum())
    outputs = model(batch)
    if isinstance(outputs, dict):
        outputs = {key: value for key, value in outputs.items() if key != "balance_loss"}

    def own(x):
        padded = x.shape.rank == 3 and x.shape[1] == batch["input_mask"].shape[1]
        return x[i, :length] if padded else x[i]

    return [own(x) for x in tf.nest.flatten(outputs)]


def assert_near(found, expected):
    """Sums come in another order where there are more terms, of which padding's are zeros: 1e-5."""
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


@pytest.mark.further_cases
@pytest.mark.parametrize("task", ["pretraining", pytest.param("span", marks=pytest.mark.further)])
@pytest.mark.parametrize("kind", MODELS)
def test_evaluation(kind, task):
    """Alone, in a batch, in another order, beside other examples, and with 1 or 6 tokens of padding more."""
    model = create(kind, task)
    predictions = 2 if task == "pretraining" else None
    batch = random_batch((10, 6, 2), predictions=predictions)
    others = random_batch((3, 9, 9, 9), predictions=predictions, seed=1)
    order = np.array([2, 0, 1])
    reordered = {name: array[order] for name, array in batch.items()}
    for i in range(3):
        expected = outputs_of(model, single(batch, i), 0)
        assert_near(outputs_of(model, batch, i), expected)
        assert_near(outputs_of(model, reordered, int(np.argmax(order == i))), expected)
        for amount in (1, 6):
            assert_near(outputs_of(model, more_padding(batch, amount), i), expected)
        alone = more_padding(single(batch, i), 10 - int(batch["input_mask"][i].sum()))
        together = {name: np.concatenate([array, _to_length(others[name], array.shape[1])]) for name, array in alone.items()}
        assert_near(outputs_of(model, together, 0), expected)


def _to_length(array, length):
    return np.pad(array, [(0, 0), (0, length - array.shape[1])])


def train_forward(model, batch, wrap):
    """Outputs, losses and experts' loads and assignments of a pass in training."""

    def run(batch):
        with recording() as loads, recording_assignments() as assignments:
            outputs = model(batch, training=True)
        return outputs, model.losses, [(load.kept, load.dropped) for load in loads], assignments

    return wrap(run)({name: tf.constant(array) for name, array in batch.items()})


@pytest.mark.further_cases
@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: tf.function(f, jit_compile=True)], ids=["eager", "xla"])
@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind != "albert"])
def test_training(kind, wrap):
    """Where capacity drops tokens: the same are kept, and outputs, balance and gradients' losses are those without padding."""
    model = create(kind, "pretraining", capacity_factor=0.7, balance_weight=0.5)
    batch = random_batch((10, 6, 2), predictions=2)
    outputs, losses, loads, assignments = train_forward(model, batch, wrap)
    assert sum(float(dropped) for _, dropped in loads) > 0
    real = batch["input_mask"] > 0
    for amount in (1, 6):
        padded = train_forward(model, more_padding(batch, amount), wrap)
        for (kept, dropped), (kept_padded, dropped_padded) in zip(loads, padded[2], strict=True):
            np.testing.assert_array_equal(kept_padded, kept)
            np.testing.assert_array_equal(dropped_padded, dropped)
        for found, expected in zip(padded[3], assignments, strict=True):
            np.testing.assert_array_equal(found, expected)
        np.testing.assert_allclose(padded[1], losses, rtol=1e-5)
        # Every token's output: one that another token's place was given to would show.
        for found, expected in zip(padded[0]["encoder_outputs"], outputs["encoder_outputs"], strict=True):
            np.testing.assert_allclose(found[:, :10][real], expected[real], rtol=0, atol=1e-5)
        for key in ("pooled_output", "mlm_logits", "next_sentence", "balance_loss"):
            np.testing.assert_allclose(padded[0][key], outputs[key], rtol=0, atol=1e-5)


def test_gradients_in_training():
    """Of loss and balance, for every weight, whatever the padding; 1e-5 of the largest."""
    model = create("widenet", "classification", capacity_factor=0.7, balance_weight=0.5)
    gradients = []
    for amount in (0, 5):
        with tf.GradientTape() as tape:
            logits = model(more_padding(random_batch((10, 6, 2)), amount), training=True)
            loss = tf.reduce_sum(logits**2) + tf.add_n(model.losses)
        gradients.append([tf.convert_to_tensor(g).numpy() for g in tape.gradient(loss, model.trainable_weights)])
    for weight, found, expected in zip(model.trainable_weights, *gradients, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1, np.max(np.abs(expected))), err_msg=weight.name)


def test_padding_in_a_batch_of_nothing_else():
    """An example without a real token gives finite numbers and leaves the others as they are."""
    model = create("widenet", "pretraining")
    batch = random_batch((5, 3), predictions=2)
    empty = {name: np.concatenate([array, array[:1]]) for name, array in batch.items()}
    empty["input_mask"][2] = 0
    assert_near(outputs_of(model, empty, 0), outputs_of(model, batch, 0))
    assert all(np.all(np.isfinite(x)) for x in tf.nest.flatten(model(empty, training=True)))
