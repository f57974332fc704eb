"""Scaled updates, averages and sparse gradients, for each optimizer against NumPy in float64."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from official.checkpoints.weights import plain_name
from official.config import train_settings
from official.training.optimizers import (
    COMPILED_ELEMENTS,
    EXCLUDED,
    CompiledUpdate,
    bases,
    create_optimizer,
    create_schedule,
    create_state,
)
from tests.official.references import REFERENCES

SHAPES = {"table/kernel": (5, 3), "dense/kernel": (3, 4), "dense/bias": (4,), "norm/gamma": (2, 3), "head/kernel": (4, 2)}
# By hand, of a decay of 0.5 and three layers: the first, the second, and a bank with a norm of each; the head is the last.
SCALES = {"table/kernel": 0.125, "dense/kernel": 0.25, "dense/bias": 0.25, "norm/gamma": [[0.125], [0.25]]}
STEPS = 4


class CompiledLAMB(CompiledUpdate, bases.LAMB):
    """LAMB with nothing but its compiled update."""


def settings(name, **more):
    own = dict(beta_1=0.8, beta_2=0.95, epsilon=1e-5, momentum=0.7)
    return train_settings(optimizer=name, lr=0.05, steps=10, weight_decay=0.3, **own, **more)


def new_variables(seed=0):
    generator = np.random.default_rng(seed)
    return [tf.Variable(generator.normal(size=shape), name=name) for name, shape in SHAPES.items()]


def new_reference(name, variables, train, scales=None):
    decays = [variable.name.split("/")[-1].startswith("kernel") for variable in variables]
    factors = [np.array((scales or {}).get(plain_name(variable.name), 1.0)) for variable in variables]
    return REFERENCES[name](variables, decays, train, factors)


def step_function(optimizer, variables, **options):
    """One step from given gradients, as a graph."""

    def step(*gradients):
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    return tf.function(step, **options)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("name", REFERENCES)
def test_scaled_and_averaged_steps(name, jit_compile):
    """Clipped steps with decay, scales and averages. 1e-7: learning rate and betas are float32, as for the whole model.

    The scale is of the update, decay included: the gradients' scale would do nothing under Adam and LAMB.
    """
    train = settings(name, layer_decay=0.5, ema_decay=0.75)
    variables = new_variables()
    optimizer = create_optimizer(train, SCALES)
    create_state(optimizer, variables)
    reference = new_reference(name, variables, train, SCALES)
    unscaled = new_reference(name, variables, train)
    step = step_function(optimizer, variables, jit_compile=jit_compile)
    generator = np.random.default_rng(1)
    for _ in range(STEPS):
        gradients = [generator.normal(size=shape) for shape in SHAPES.values()]
        assert reference.apply(gradients) > 1
        unscaled.apply(gradients)
        step(*map(tf.constant, gradients))
        for i, variable in enumerate(variables):
            average = optimizer.get_slot(variable, "average")
            np.testing.assert_allclose(variable, reference.weights[i], rtol=0, atol=1e-7, err_msg=variable.name)
            np.testing.assert_allclose(average, reference.averages[i], rtol=0, atol=1e-7, err_msg=variable.name)
    np.testing.assert_allclose(variables[-1], unscaled.weights[-1], rtol=0, atol=1e-7)
    assert np.abs(variables[0] - unscaled.weights[0]).max() > 1e-3


@pytest.mark.parametrize("name", ["lamb", "adamw"])
def test_scale_of_a_large_weight(name):
    """Also where LAMB's update is compiled: a scaled weight's first step is its part of the unscaled one; 1e-6 in float32.

    The second optimizer comes when the first one is gone, of which the compiled functions must not have kept anything.
    """
    start = np.random.default_rng(0).normal(size=(COMPILED_ELEMENTS // 64, 64)).astype(np.float32)
    gradient = tf.constant(np.random.default_rng(1).normal(size=start.shape), tf.float32)
    moved = []
    for scales in ({}, {"a/kernel": 0.25}):
        variable = tf.Variable(start, name="a/kernel")
        step_function(create_optimizer(settings(name), scales), [variable])(gradient)
        moved.append(variable.numpy() - start)
    assert np.abs(moved[0]).max() > 1e-3
    np.testing.assert_allclose(moved[1], 0.25 * moved[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", REFERENCES)
def test_sparse_gradients(name):
    """A look-up's gradient, with a row that was looked up twice and rows that never were, does what the dense one does."""
    train = settings(name, layer_decay=0.5, ema_decay=0.75)
    variables = new_variables()
    optimizer = create_optimizer(train, SCALES)
    create_state(optimizer, variables)
    reference = new_reference(name, variables, train, SCALES)
    generator = np.random.default_rng(1)
    rows = np.array([3, 1, 3])

    @tf.function
    def step(values, *others):
        sparse = tf.IndexedSlices(values, tf.constant(rows), dense_shape=tf.constant(SHAPES["table/kernel"]))
        optimizer.apply_gradients(zip([sparse, *others], variables, strict=True))

    for _ in range(STEPS):
        values, *others = (generator.normal(size=shape) for shape in [(3, 3), *list(SHAPES.values())[1:]])
        dense = np.zeros(SHAPES["table/kernel"])
        np.add.at(dense, rows, values)
        reference.apply([dense, *others])
        step(values, *others)
        for i, variable in enumerate(variables):
            average = optimizer.get_slot(variable, "average")
            np.testing.assert_allclose(variable, reference.weights[i], rtol=0, atol=1e-7, err_msg=variable.name)
            np.testing.assert_allclose(average, reference.averages[i], rtol=0, atol=1e-7, err_msg=variable.name)


def operations(optimizer):
    """How often the graph of a step has each operation."""
    variables = new_variables()
    step = step_function(optimizer, variables)
    graph = step.get_concrete_function(*[tf.TensorSpec(variable.shape, variable.dtype) for variable in variables]).graph
    return collections.Counter(node.op for node in graph.as_graph_def().node)


@pytest.mark.further_cases
@pytest.mark.parametrize("name", REFERENCES)
def test_nothing_is_added_where_nothing_is_asked_for(name):
    """Without layer decay and averages the graph is that of the optimizer alone."""
    train = settings(name)
    schedule = create_schedule(train.lr, train.steps, train.warmup_steps)
    decay = create_schedule(train.lr * train.weight_decay, train.steps, train.warmup_steps)
    common = dict(learning_rate=schedule, exclude_from_weight_decay=EXCLUDED, global_clipnorm=1.0)
    alone = {
        "lamb": lambda: CompiledLAMB(weight_decay=0.3, exclude_from_layer_adaptation=EXCLUDED, **common),
        "adamw": lambda: bases.AdamW(weight_decay=decay, **common),
        "sgd": lambda: bases.SGDW(weight_decay=decay, momentum=0.7, **common),
    }
    expected = operations(alone[name]())
    assert operations(create_optimizer(train)) == expected
    for more in (create_optimizer(train, SCALES), create_optimizer(settings(name, ema_decay=0.5))):
        assert operations(more).total() > expected.total()


@pytest.mark.parametrize("name", REFERENCES)
def test_averages_do_not_touch_training(name):
    """With them every weight and moment is the same, bit by bit."""
    ends = []
    for ema_decay in (0.0, 0.9):
        variables = new_variables()
        optimizer = create_optimizer(settings(name, ema_decay=ema_decay))
        step = step_function(optimizer, variables)
        generator = np.random.default_rng(1)
        for _ in range(STEPS):
            step(*(tf.constant(generator.normal(size=shape)) for shape in SHAPES.values()))
        state = [variable for variable in optimizer.variables() if "average" not in variable.name]
        ends.append([variable.numpy() for variable in (*variables, *state)])
        assert (len(state) == len(optimizer.variables())) == (ema_decay == 0)
    for without, with_averages in zip(*ends, strict=True):
        np.testing.assert_array_equal(without, with_averages)


@pytest.mark.parametrize(
    "name, plain",
    [
        ("a/b:0", "a/b"),
        ("a/b/replica_1:0", "a/b"),
        ("a/b", "a/b"),
        ("a/replica_1/b:0", "a/replica_1/b"),
        ("a_0/b_1:0", "a_0/b_1"),
    ],
)
def test_plain_name(name, plain):
    assert plain_name(name) == plain
