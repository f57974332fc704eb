"""What every layer owes Keras: one check over all of them, and the base class itself.

The check covers weights, configs, every saved format, symbolic and eager calls, tf.function and XLA, a step of fit, mixed
precision and float64, unknown batch size and length.
"""

import inspect
import json
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from tests.widenet import reference
from widenet import Deployment, Encoder, FeedForward, IndividualLayerNorm, Router, SelfAttention, SharedMoE
from widenet.layer import Layer, at_least_float32, check_initializer, compute_dtype_of, new_initializer

WIDTH = 8


def call_with_mask(layer, x, mask):
    return [layer(x, mask=mask)]


def call_with_details(layer, x, mask):
    """The mask as integers, as models of text have it."""
    encoding = layer(x, mask=tf.cast(mask, tf.int32), details=True)
    return [*encoding.block_outputs, encoding.output]


def call_router(layer, x, mask):
    return list(layer(x, mask=mask))


def call_norm(layer, x, mask):
    return [layer(x, 1)]


def call_feed_forward(layer, x, mask):
    return [layer(x)]


def call_reusing_a_routing(layer, x, mask):
    routing = layer.route(x, mask=mask)
    return [*routing, layer(layer(x, mask=mask, routing=routing), mask=mask, routing=routing)]


class Case(NamedTuple):
    """A layer to check: how to make and call it, and the shapes of its weights. The last output is the one to fit."""

    layer: type
    settings: dict
    call: Callable
    shapes: list


EXPERT = [(WIDTH, 6), (6,), (6, WIDTH), (WIDTH,)]
DENSE = [(WIDTH, WIDTH), (WIDTH,)]
MOE = dict(num_experts=3, hidden_dim=6, noise=False, capacity_factor=0.9, kernel_initializer="he_normal")
ENCODER = dict(width=WIDTH, heads=2, ffn_dim=6, num_experts=3, noise=False, capacity_factor=0.9)

CASES = {
    "router": Case(Router, dict(num_experts=3, noise=False, renormalize=True), call_router, [(WIDTH, 3)]),
    "moe": Case(SharedMoE, MOE, call_with_mask, [(WIDTH, 3)] + 3 * EXPERT),
    "moe_reusing_a_routing": Case(SharedMoE, MOE, call_reusing_a_routing, [(WIDTH, 3)] + 3 * EXPERT),
    "norm": Case(IndividualLayerNorm, dict(depth=3, epsilon=1e-3), call_norm, [(3, WIDTH)] * 2),
    "attention": Case(SelfAttention, dict(width=WIDTH, heads=2), call_with_mask, 4 * DENSE),
    "feed_forward": Case(FeedForward, dict(hidden_dim=6, activation="silu"), call_feed_forward, EXPERT),
    "encoder": Case(
        Encoder,
        dict(depth=2, deployment=Deployment(routing_groups=1), **ENCODER),
        call_with_mask,
        4 * DENSE + [(WIDTH, 3)] + 3 * EXPERT + [(2, WIDTH)] * 4 + [(1, WIDTH)] * 2,
    ),
    "encoder_details": Case(
        Encoder,
        dict(depth=2, **ENCODER),
        call_with_details,
        4 * DENSE + [(WIDTH, 3)] + 3 * EXPERT + [(2, WIDTH)] * 4 + [(1, WIDTH)] * 2,
    ),
    "encoder_mixed": Case(
        Encoder,
        dict(
            depth=2,
            deployment=Deployment(attention_groups=2, moe_blocks=(1,), norm_position="post"),
            kernel_initializer=tf.keras.initializers.TruncatedNormal(stddev=0.02),
            **ENCODER,
        ),
        call_with_mask,
        8 * DENSE + EXPERT + [(WIDTH, 3)] + 3 * EXPERT + [(2, WIDTH)] * 4,
    ),
}


def tokens(batch=2, length=5, dtype=np.float32):
    return np.random.default_rng(batch).normal(size=(batch, length, WIDTH)).astype(dtype)


def some_mask(batch=2, length=5):
    return np.arange(length)[np.newaxis] < 1 + np.arange(batch)[:, np.newaxis] + length // 2


def new_layer(case, **kwargs):
    layer = case.layer(**case.settings, **kwargs)
    layer.build((None, None, WIDTH))
    reference.randomize(layer, scale=0.3)
    return layer


def new_model(case, length=None, **kwargs):
    """A functional model around the layer, of unknown batch size and, by default, unknown length."""
    layer = new_layer(case, **kwargs)
    x = tf.keras.Input((length, WIDTH), dtype=layer.compute_dtype)
    mask = tf.keras.Input((length,), dtype=tf.bool)
    return tf.keras.Model([x, mask], case.call(layer, x, mask))


def assert_same_outputs(got, want, atol=1e-6, rtol=1e-7):
    for g, w in zip(tf.nest.flatten(got), tf.nest.flatten(want), strict=True):
        assert g.dtype == w.dtype
        np.testing.assert_allclose(tf.cast(g, tf.float64), tf.cast(w, tf.float64), atol=atol, rtol=rtol)


# Graphs take time: of the encoders, and of the two ways to call an MoE, the one with the most in it stands for the others.
IN_GRAPHS = [pytest.param(name, marks=[pytest.mark.further] * (name in ("moe", "encoder", "encoder_details"))) for name in CASES]


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


@pytest.fixture(params=IN_GRAPHS)
def graph_case(request):
    return CASES[request.param]


def test_weights(case):
    layer = case.layer(**case.settings)
    assert layer.weights == []  # made when the input's width is known
    case.call(layer, tokens(), some_mask())
    assert sorted(tuple(weight.shape) for weight in layer.trainable_weights) == sorted(case.shapes)
    assert layer.non_trainable_weights == []
    names = [weight.name for weight in layer.weights]
    assert len(set(names)) == len(names)
    layer.trainable = False
    assert layer.trainable_weights == []


def test_config(case):
    """Every setting is an attribute and in the config; layers made from it, also after JSON, have the same config."""
    layer = case.layer(name="some_name", trainable=False, **case.settings)
    config = layer.get_config()
    for setting, value in {**case.settings, "name": "some_name", "trainable": False, "dtype": "float32"}.items():
        if not setting.endswith(("initializer", "deployment")):
            assert config[setting] == value
        if not setting.endswith(("initializer", "dtype")):
            assert getattr(layer, setting) == value
    assert set(layer.settings()) < set(config)
    assert case.layer.from_config(config).get_config() == config
    described = json.loads(json.dumps(tf.keras.saving.serialize_keras_object(layer)))
    restored = tf.keras.saving.deserialize_keras_object(described)
    assert type(restored) is case.layer and restored.get_config() == config
    if hasattr(layer, "deployment"):
        assert restored.deployment == layer.deployment


def test_config_is_plain_json(case):
    """As that of Keras's own layers: it can be logged without Keras's encoder."""
    config = case.layer(**case.settings).get_config()
    assert case.layer.from_config(json.loads(json.dumps(config))).get_config() == config


def test_config_of_a_mixed_precision_layer(case):
    layer = case.layer(dtype="mixed_bfloat16", **case.settings)
    assert case.layer.from_config(layer.get_config()).get_config() == layer.get_config()
    assert case.layer.from_config(layer.get_config()).compute_dtype == layer.compute_dtype


def test_symbolic_call_equals_eager_call(graph_case):
    """Of unknown batch size and length; the static shape of what comes out is that of what goes in."""
    model = new_model(graph_case)
    assert all(output.shape.as_list()[:2] == [None, None] for output in model.outputs)
    assert all(output.shape[2] is not None for output in model.outputs)
    (layer,) = (layer for layer in model.layers if isinstance(layer, graph_case.layer))
    predict = tf.function(model, input_signature=[[tf.TensorSpec(i.shape, i.dtype) for i in model.inputs]])
    for batch, length in ((2, 5), (3, 9), (1, 1)):
        x, mask = tf.constant(tokens(batch, length)), tf.constant(some_mask(batch, length))
        eager = graph_case.call(layer, x, mask)
        assert_same_outputs(model([x, mask]), eager)
        assert_same_outputs(predict([x, mask]), eager, atol=1e-5)


@pytest.mark.parametrize("training", [True, pytest.param(False, marks=pytest.mark.further)])
def test_eager_equals_graph_equals_xla(graph_case, training):
    """Outputs, and in training losses and gradients; noise and dropout are off.

    Sums are ordered differently, hence 1e-5; of large gradients 1e-6 of them, several roundings of float32.
    """
    model = new_model(graph_case)

    def run(x, mask):
        with tf.GradientTape() as tape:
            outputs = model([x, mask], training=training)
            total = tf.reduce_sum(outputs[-1] ** 2) + sum(model.losses)
        if not training:
            return outputs
        gradients = tape.gradient(total, model.trainable_weights, unconnected_gradients="zero")
        return outputs, model.losses, list(map(tf.convert_to_tensor, gradients))  # those of embeddings are sparse

    x, mask = tf.constant(tokens()), tf.constant(some_mask())
    eager = run(x, mask)
    assert_same_outputs(tf.function(run)(x, mask), eager, atol=1e-5, rtol=1e-6)
    assert_same_outputs(tf.function(run, jit_compile=True)(x, mask), eager, atol=1e-5, rtol=1e-6)


def save_keras(model, path):
    model.save(f"{path}/model.keras")
    return tf.keras.models.load_model(f"{path}/model.keras")


def save_h5(model, path):
    model.save(f"{path}/model.h5")
    return tf.keras.models.load_model(f"{path}/model.h5")


def save_keras_directory(model, path):
    model.save(f"{path}/model", save_format="tf")
    return tf.keras.models.load_model(f"{path}/model")


def save_saved_model(model, path):
    tf.saved_model.save(model, f"{path}/model")
    loaded = tf.saved_model.load(f"{path}/model")
    return lambda inputs: loaded(inputs, training=False)


def save_export(model, path):
    model.export(f"{path}/model")
    loaded = tf.saved_model.load(f"{path}/model")
    return lambda inputs: loaded.serve(inputs)


def named(function):
    return function.__name__


def assert_saved_model_gives_the_same(case, save, path):
    """At several batch sizes and lengths, as all formats keep both unknown."""
    model = new_model(case)
    loaded = save(model, path)
    for batch, length in ((2, 5), (3, 7)):
        inputs = [tf.constant(tokens(batch, length)), tf.constant(some_mask(batch, length))]
        assert_same_outputs(loaded(inputs), model(inputs))


@pytest.mark.further_cases
@pytest.mark.parametrize("save", [save_keras, pytest.param(save_export, marks=pytest.mark.further)], ids=named)
def test_saved_model_gives_the_same(case, save, tmp_path):
    assert_saved_model_gives_the_same(case, save, tmp_path)


@pytest.mark.further
@pytest.mark.parametrize("name", ["encoder_mixed", "router", "norm", "attention", "feed_forward", "moe_reusing_a_routing"])
def test_tensorflow_saved_model_gives_the_same(name, tmp_path):
    """Traces every layer alone as well, in training and evaluation."""
    assert_saved_model_gives_the_same(CASES[name], save_saved_model, tmp_path)


@pytest.mark.further_cases
@pytest.mark.parametrize(
    ("name", "save"),
    [("moe_reusing_a_routing", save_h5), ("encoder_mixed", save_h5), ("encoder_mixed", save_keras_directory)],
    ids=["moe_h5", "encoder_h5", "encoder_directory"],
)
def test_older_keras_format_gives_the_same(name, save, tmp_path):
    assert_saved_model_gives_the_same(CASES[name], save, tmp_path)


@pytest.mark.further_cases
def test_checkpoint(case, tmp_path):
    """Restored into a new model of the same settings, which then gives the same."""
    model, other = new_model(case), new_model(case)
    for weight in other.weights:
        weight.assign(weight + 1)
    inputs = [tokens(), some_mask()]
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(model=other).read(path).assert_consumed()
    assert_same_outputs(other(inputs), model(inputs), atol=0)


@pytest.mark.parametrize(("name", "terms"), [("moe_reusing_a_routing", 1), ("encoder_mixed", 1)])
def test_loaded_model_goes_on_training(name, terms, tmp_path):
    """Training capacity and balance losses are those of the model that was saved."""
    model = new_model(CASES[name])
    loaded = save_keras(model, tmp_path)
    inputs = [tokens(), some_mask()]
    assert_same_outputs(loaded(inputs, training=True), model(inputs, training=True))
    assert_same_outputs(loaded.losses, model.losses)
    assert len(model.losses) == terms


@pytest.mark.further
def test_one_step_of_fit_moves_every_weight(case):
    model = new_model(case, length=5)
    model = tf.keras.Model(model.inputs, model.outputs[-1])
    before = model.get_weights()
    model.compile(tf.keras.optimizers.SGD(1.0), "mse")
    zeros = np.zeros((4, *model.output.shape[1:]))
    (loss,) = model.fit([tokens(4), some_mask(4)], zeros, batch_size=4, verbose=0).history["loss"]
    assert np.isfinite(loss) and loss > 0
    for variable, start in zip(model.weights, before, strict=True):
        assert np.all(np.isfinite(variable))
        # The bias of a key moves all scores of a query alike, which a softmax does not see.
        if "key/bias" not in variable.name:
            assert np.any(variable.numpy() != start), variable.name


def test_mixed_bfloat16(case):
    """Float32 weights, bfloat16 results (a routing is float32) near those of float32, and finite float32 gradients."""
    layer, plain = new_layer(case, dtype="mixed_bfloat16"), new_layer(case)
    assert {weight.dtype for weight in layer.weights} == {tf.float32}
    with tf.GradientTape() as tape:
        output = case.call(layer, tokens(), some_mask())[-1]
        total = tf.reduce_sum(tf.cast(output, tf.float32) ** 2)
    expected = case.call(plain, tokens(), some_mask())[-1]
    assert output.dtype == (tf.float32 if case.layer is Router else tf.bfloat16)
    # Of 8 bits, a few are lost in sums and from layer to layer.
    np.testing.assert_allclose(tf.cast(output, tf.float32), expected, atol=0.05 * np.max(np.abs(expected)))
    gradients = tape.gradient(total, layer.trainable_weights, unconnected_gradients="zero")
    for gradient in map(tf.convert_to_tensor, gradients):
        assert gradient.dtype == tf.float32 and np.all(np.isfinite(gradient))
    assert any(np.any(tf.convert_to_tensor(gradient) != 0) for gradient in gradients)


def test_float64(case):
    layer = new_layer(case, dtype="float64")
    assert {weight.dtype for weight in layer.weights} == {tf.float64}
    outputs = case.call(layer, tokens(dtype=np.float64), some_mask())
    assert outputs[-1].dtype == tf.float64
    # Float32 keeps 7 digits.
    np.testing.assert_allclose(outputs[-1], case.call(new_layer(case), tokens(), some_mask())[-1], atol=1e-4)


def test_global_policy_is_that_of_new_layers(case):
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    layer = new_layer(case)
    assert case.call(layer, tokens(), some_mask())[-1].dtype == (tf.float32 if case.layer is Router else tf.bfloat16)


# Masks


@pytest.mark.parametrize("name", ["router", "moe", "attention", "encoder"])
def test_masks_of_other_types_and_names(name):
    """Numbers as bools, and Hugging Face's name for the argument; outputs and losses, in training too."""
    layer, x, mask = new_layer(CASES[name]), tokens(), some_mask()
    for training in (False, True):
        expected = [layer(x, mask=mask, training=training), layer.losses]
        for given in (mask.astype(np.int32), mask.astype(np.float32), tf.constant(mask)):
            assert_same_outputs([layer(x, mask=given, training=training), layer.losses], expected)
            assert_same_outputs([layer(x, attention_mask=given, training=training), layer.losses], expected)
    assert_same_outputs(layer(x, attention_mask=None), layer(x))
    with pytest.raises(ValueError, match="attention_mask and mask are two names of one argument"):
        layer(x, mask=mask, attention_mask=mask)


def test_mask_by_another_name_in_a_saved_model(tmp_path):
    layer = new_layer(CASES["attention"])
    x, mask = tf.keras.Input((None, WIDTH)), tf.keras.Input((None,), dtype=tf.int32)
    model = tf.keras.Model([x, mask], layer(x, attention_mask=mask))
    inputs = [tokens(), some_mask().astype(np.int32)]
    assert_same_outputs(model(inputs), layer(tokens(), mask=some_mask()))
    assert_same_outputs(save_keras(model, tmp_path)(inputs), model(inputs))


@pytest.mark.parametrize("name", ["router", "moe", "attention", "encoder"])
def test_mask_of_a_wrong_shape(name):
    """From tokens to tokens, as Keras's MultiHeadAttention takes it."""
    wrong = np.ones((2, 5, 5), bool)
    with pytest.raises(ValueError, match=r"mask=\[2, 5, 5\] is not allowed: it must be \[batch, length\] for tokens \[2, 5, 8\]"):
        new_layer(CASES[name])(tokens(), mask=wrong)


# The base class


class Doubling(Layer):
    """Settings of its own, with and without defaults."""

    def __init__(self, factor, shift=0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor
        self.shift = shift


def test_a_subclass_writes_no_config():
    layer = Doubling(3, name="doubling", dtype="float64")
    assert Doubling.settings() == ["factor", "shift"]
    assert layer.get_config() == {"name": "doubling", "trainable": True, "dtype": "float64", "factor": 3, "shift": 0}
    assert Doubling.from_config(layer.get_config()).get_config() == layer.get_config()


def test_every_layer_passes_masks_on():
    assert Doubling(1).supports_masking


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("bfloat16", "float32"), ("float16", "float32"), ("float32", "float32"), (tf.float64, "float64"), ("float64", "float64")],
)
def test_at_least_float32(dtype, expected):
    assert at_least_float32(dtype) == expected


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (None, "float32"),
        ("mixed_bfloat16", "bfloat16"),
        ("mixed_float16", "float16"),
        ("float64", "float64"),
        (tf.bfloat16, "bfloat16"),
        (np.float64, "float64"),
        (tf.keras.mixed_precision.Policy("mixed_bfloat16"), "bfloat16"),
        ({"class_name": "Policy", "config": {"name": "mixed_bfloat16"}}, "bfloat16"),
    ],
    ids=str,
)
def test_compute_dtype_is_that_of_a_keras_layer_given_the_same(dtype, expected):
    assert tf.keras.layers.Layer(dtype=dtype).compute_dtype == expected
    assert compute_dtype_of(dtype) == expected


def test_compute_dtype_of_nothing_is_the_global_policys():
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    assert compute_dtype_of(None) == "bfloat16"


@pytest.mark.parametrize("initializer", ["he_normal", tf.keras.initializers.HeNormal(), {"class_name": "HeNormal", "config": {}}])
def test_initializers_by_name_instance_or_config(initializer):
    """All say the same, and each new one draws values of its own."""
    checked = check_initializer("kernel_initializer", initializer)
    assert type(new_initializer(checked)) is tf.keras.initializers.HeNormal
    assert np.any(new_initializer(checked)((3, 3)) != new_initializer(checked)((3, 3)))


def test_loads_a_model_around_it_that_tf_keras_saved():
    """As on the modern stack, whose modules have another name and whose input layers have one more setting."""
    inputs = tf.keras.Input((3, 4))
    model = tf.keras.Model(inputs, IndividualLayerNorm(2, name="norm")(inputs * 0.5, 0))
    config = json.loads(json.dumps(tf.keras.saving.serialize_keras_object(model)).replace('"keras.src.', '"tf_keras.src.'))
    assert config["module"] == "tf_keras.src.engine.functional"
    config["config"]["layers"][0]["config"]["optional"] = False
    loaded = tf.keras.saving.deserialize_keras_object(config)
    assert type(loaded) is type(model)
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in model.layers]


def test_an_optional_input_of_tf_keras_is_not_taken_for_another_one():
    if "optional" in inspect.signature(tf.keras.layers.InputLayer.__init__).parameters:
        pytest.skip("this Keras has optional inputs")
    config = {**tf.keras.layers.InputLayer((3,)).get_config(), "optional": True}
    with pytest.raises(TypeError, match="optional"):
        tf.keras.layers.InputLayer.from_config(config)


def test_autograph_does_not_convert_layers():
    """Neither a layer's `call` nor what it calls: that takes time for nothing."""
    found = []

    class Probe(Layer):
        def call(self, x):
            found.append(tf.__internal__.autograph.control_status_ctx().status.name)
            return x

    tf.function(Probe())(tf.zeros([1]))
    assert found
    assert set(found) == {"DISABLED"}
