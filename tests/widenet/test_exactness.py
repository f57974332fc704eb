"""The MoE layer against the loop of reference.py in every dispatch and precision, output and gradients."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.widenet import reference
from widenet import Deployment, Encoder, SharedMoE, fast_path
from widenet.fast_path import xla_elementwise

# Of the largest value of each tensor. bfloat16 has 8 bits: every one of the half dozen roundings of a path is up to 2^-9, and
# they add up.
TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "mixed_bfloat16": 0.03}


@pytest.fixture(autouse=True)
def compile_however_small(monkeypatch):
    monkeypatch.setattr(fast_path, "COMPILED_ELEMENTS", 0)


def run_eagerly(function):
    return function()


def run_in_a_graph(function):
    return tf.function(function)()


def run_with_xla_elementwise(function):
    def scoped():
        with xla_elementwise():
            return function()

    return tf.function(scoped)()


def run_under_xla(function):
    return tf.function(function, jit_compile=True)()


DISPATCHES = [run_eagerly, run_in_a_graph, run_with_xla_elementwise, run_under_xla]


def case(precision, **kwargs):
    """A layer whose experts are wanted unequally, with tokens and upstream gradient, all exact in bfloat16."""
    layer = SharedMoE(4, 24, noise=False, balance_weight=0.0, dtype=tf.keras.mixed_precision.Policy(precision), **kwargs)
    layer.build((None, None, 8))
    reference.randomize(layer)
    random = np.random.default_rng(5)
    x = random.normal(size=(3, 23, 8)) + random.normal(size=8)
    upstream = random.normal(size=x.shape)
    x, upstream = (tf.cast(tf.cast(value, tf.bfloat16), layer.compute_dtype) for value in (x, upstream))
    for variable in layer.variables:
        variable.assign(tf.cast(tf.cast(variable, tf.bfloat16), variable.dtype))
    return layer, x, upstream, random.random((3, 23)) < 0.7


def assert_close(actual, expected, precision, name):
    scale = np.max(np.abs(expected))
    np.testing.assert_allclose(
        tf.cast(actual, tf.float64), expected, rtol=0, atol=TOLERANCE[precision] * scale, err_msg=str(name)
    )


@pytest.mark.parametrize("dispatch", DISPATCHES)
@pytest.mark.parametrize("precision", [pytest.param("float64", marks=pytest.mark.further), "float32", "mixed_bfloat16"])
@pytest.mark.parametrize(("capacity_factor", "masked"), [(0.8, True), pytest.param(None, False, marks=pytest.mark.further)])
def test_output_and_gradients(dispatch, precision, capacity_factor, masked):
    layer, x, upstream, mask = case(precision, capacity_factor=capacity_factor)
    given_mask = tf.constant(mask) if masked else None
    mask = mask if masked else None

    def output_and_gradients():
        with tf.GradientTape() as tape:
            tape.watch(x)
            output = layer(x, mask=given_mask, training=True)
        return output, tape.gradient(output, [x, *layer.trainable_variables], output_gradients=upstream)

    output, (by_x, *by_weights) = dispatch(output_and_gradients)
    wide, upstream = np.asarray(tf.cast(x, tf.float64)), np.asarray(tf.cast(upstream, tf.float64))
    expected, call = reference.moe(layer, wide, mask, training=True)
    assignments = 2 * (mask.sum() if masked else 3 * 23)
    assert (call.kept.sum() < assignments) == (capacity_factor is not None)  # or the capacity would be tested by nothing
    assert_close(output, expected, precision, "output")
    gradients = reference.moe_gradients(layer, wide, upstream, mask, training=True)
    assert_close(by_x, gradients["x"], precision, "x")
    named = {"router": layer.router.kernel} | {
        (name, e): getattr(expert, name)
        for e, expert in enumerate(layer.experts)
        for name in ("kernel_in", "bias_in", "kernel_out", "bias_out")
    }
    by_weights = dict(zip([weight.ref() for weight in layer.trainable_variables], by_weights, strict=True))
    for name, variable in named.items():
        assert_close(by_weights[variable.ref()], gradients[name], precision, name)


@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_garbage_in_the_padding_reaches_no_gradient(dispatch):
    """NaN in a masked token, the last one, which is nearest to the rows that no assignment has."""
    layer, x, upstream, _ = case("float32", capacity_factor=0.8)
    mask = np.ones((3, 23), bool)
    mask[-1, -1] = False
    x, upstream = (tf.constant(np.where(mask[..., np.newaxis], value, np.nan)) for value in (x, upstream))

    def gradients():
        with tf.GradientTape() as tape:
            output = layer(x, mask=tf.constant(mask), training=True)
        weights = [weight for expert in layer.experts for weight in expert.weights]
        return tape.gradient(output, weights, output_gradients=upstream)

    assert all(np.all(np.isfinite(gradient)) for gradient in dispatch(gradients))


def test_reference_gradients_against_central_differences():
    """Of a few elements of each tensor, in float64: steps of 1e-6 leave an error near 1e-9 of values near 10."""
    layer, x, upstream, mask = case("float64", capacity_factor=0.8)
    x, upstream = x.numpy(), upstream.numpy()
    gradients = reference.moe_gradients(layer, x, upstream, mask, training=True)

    def total(x):
        return np.sum(reference.moe(layer, x, mask, training=True)[0] * upstream)

    for index in [(0, 0, 0), (1, 5, 3), (2, 22, 7)]:
        step = np.zeros_like(x)
        step[index] = 1e-6
        assert abs((total(x + step) - total(x - step)) / 2e-6 - gradients["x"][index]) < 1e-6
    variables = {"router": layer.router.kernel, ("kernel_in", 0): layer.experts[0].kernel_in}
    variables |= {("bias_in", 1): layer.experts[1].bias_in, ("kernel_out", 0): layer.experts[0].kernel_out}
    for name, variable in variables.items():
        value = variable.numpy()
        index = tuple(size // 2 for size in value.shape)
        totals = []
        for sign in (1, -1):
            moved = value.copy()
            moved[index] += sign * 1e-6
            variable.assign(moved)
            totals.append(total(x))
        variable.assign(value)
        assert abs((totals[0] - totals[1]) / 2e-6 - gradients[name][index]) < 1e-6


@pytest.mark.parametrize("factor", [1.0, None])
def test_evaluation_under_xla_is_the_same_program(factor):
    """Nothing is dropped for want of a static buffer: with eval_capacity_factor=None each expert has room for all tokens."""
    layer, x, _, mask = case("float32", eval_capacity_factor=factor)
    compiled = tf.function(lambda x: layer(x, mask=tf.constant(mask), training=False), jit_compile=True)
    expected, _ = reference.moe(layer, x.numpy().astype(np.float64), mask, training=False)
    assert_close(compiled(x), expected, "float32", "output")


def test_gradient_of_the_gradient():
    """Penalties on gradients differentiate twice: forward over reverse and central differences agree to 1e-4 of the value."""
    layer, x, _, _ = case("float64", capacity_factor=None)

    def norm_of_gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(layer(x, training=True) ** 2)
        return tf.reduce_sum(tape.gradient(total, x) ** 2)

    with tf.GradientTape() as tape:
        tape.watch(x)
        value = norm_of_gradient(x)
    direction = tf.random.stateless_normal(x.shape, [0, 0], dtype=x.dtype)
    along = tf.reduce_sum(tape.gradient(value, x) * direction)
    step = 1e-6
    difference = (norm_of_gradient(x + step * direction) - norm_of_gradient(x - step * direction)) / (2 * step)
    np.testing.assert_allclose(along, difference, rtol=1e-4)


def encoder_gradients(precision, **kwargs):
    encoder = Encoder(3, 8, 2, 12, noise=False, capacity_factor=None, dtype=tf.keras.mixed_precision.Policy(precision), **kwargs)
    encoder.build((None, None, 8))
    reference.randomize(encoder, scale=0.2)
    x = tf.cast(tf.random.stateless_normal([2, 5, 8], [0, 0]), encoder.compute_dtype)

    @tf.function
    def gradients():
        with tf.GradientTape() as tape, xla_elementwise():
            total = tf.reduce_sum(tf.cast(encoder(x, training=True), tf.float32) ** 2)
        return tape.gradient(total, encoder.trainable_variables)

    return encoder, gradients


@pytest.mark.further
def test_a_shared_weight_is_cast_once():
    """Of twelve kernels and biases of experts and one FFN a step each is cast once, however many blocks use it."""
    for deployment_blocks in (2, 3):
        deployment = Deployment(attention_groups=1, ffn_groups=1, moe_blocks=deployment_blocks)
        encoder, gradients = encoder_gradients("mixed_bfloat16", num_experts=2, deployment=deployment)
        operations = gradients.get_concrete_function().graph.get_operations()
        casts = [op for op in operations if op.type == "Cast" and op.inputs[0].op.type == "ReadVariableOp"]
        shapes = [cast.outputs[0].shape.as_list() for cast in casts]
        dense = len(encoder.dense_layers)
        assert dense == (deployment_blocks == 2)
        assert shapes.count([8, 12]) == shapes.count([12, 8]) == 2 + dense


@pytest.mark.further
def test_gradients_of_shared_weights_are_added_in_float32():
    encoder, gradients = encoder_gradients("mixed_bfloat16", num_experts=2)
    wide, exact = encoder_gradients("float64", num_experts=2)
    for variable, gradient, expected in zip(encoder.trainable_variables, gradients(), exact(), strict=True):
        assert gradient.dtype == variable.dtype == tf.float32
        if "key/bias" in variable.name:
            continue  # a constant added to all keys changes no softmax: zero but for roundings
        # 5 % of the largest: three blocks of roundings, see TOLERANCE.
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=0.05 * np.max(np.abs(expected)), err_msg=variable.name)
    kernel = encoder.moe_layers[0].experts[0].kernel_in
    gradient = dict(zip([v.ref() for v in encoder.trainable_variables], gradients(), strict=True))[kernel.ref()].numpy()
    assert np.any(gradient != np.asarray(tf.cast(tf.cast(gradient, tf.bfloat16), tf.float32)))


DETERMINISM = """
import hashlib
import tensorflow as tf
import vision

tf.config.experimental.enable_op_determinism()

def digest():
    tf.keras.utils.set_random_seed(1)
    model = vision.create_model("widenet_ti16", image_size=32, patch_size=8, width=48, ffn_dim=96, expert_dim=96, depth=2,
                                classes=5, dropout=0.1)
    model.compile("sgd", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images = tf.random.stateless_normal([8, 32, 32, 3], [0, 0])
    data = tf.data.Dataset.from_tensors((images, tf.range(8) % 5)).repeat(4)
    model.fit(data, verbose=0)
    return hashlib.sha256(b"".join(weight.numpy().tobytes() for weight in model.weights)).hexdigest()

assert digest() == digest()
"""


@pytest.mark.further
def test_a_run_repeated_is_bit_identical():
    """With TensorFlow's deterministic operations, router noise and dropout included; in a process of its own: they stay on."""
    done = subprocess.run([sys.executable, "-c", DETERMINISM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
