"""A model that nobody uses any more is freed, with its graphs and its custom gradients."""

import gc

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.func_graph import FuncGraph
from tensorflow.python.framework.ops import gradient_registry

import bert
import vision
from widenet import fast_path

SIZES = dict(depth=1, width=8, heads=2, ffn_dim=12, expert_dim=12, num_experts=2)


def image_model():
    return vision.create_model("widenet_ti16", **SIZES, image_size=4, patch_size=2, channels=1, classes=3)


def text_model():
    return bert.create_model("widenet_base_e4", task="classification", classes=3, **SIZES, vocab_size=20, max_length=6)


def alive():
    """How many custom gradients, graphs and variables there are."""
    gc.collect()
    objects = gc.get_objects()
    graphs, variables = (sum(isinstance(x, kind) for x in objects) for kind in (FuncGraph, tf.Variable))
    return {"gradients": len(gradient_registry.list()), "graphs": graphs, "variables": variables}


@pytest.mark.further
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("create", [image_model, text_model])
def test_models_that_are_created_leave_nothing_behind(create, policy):
    tf.keras.mixed_precision.set_global_policy(policy)
    create()
    before = alive()
    for _ in range(3):
        create()
    assert alive() == before


def ask(model, images):
    model.predict(images, verbose=0)


def evaluate(model, images):
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.evaluate(images, np.zeros(len(images)), verbose=0)


def take_gradients(model, images):
    @tf.function
    def gradients(images):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(model(images, training=True))
        return tape.gradient(total, model.trainable_variables)

    gradients(images)


@pytest.mark.further
@pytest.mark.parametrize("use", [ask, evaluate, take_gradients])
def test_models_that_are_used_leave_nothing_behind(use, monkeypatch):
    """Not in `fit`, where Keras's optimizers register a custom gradient of any model, and keep its graph."""
    monkeypatch.setattr(fast_path, "COMPILED_ELEMENTS", 0)
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    images = np.ones([4, 4, 4, 1], "float32")
    use(image_model(), images)
    before = alive()
    for _ in range(2):
        use(image_model(), images)
    assert alive() == before
