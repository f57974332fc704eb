"""Our LAMB, AdamW and SGDW are those of TensorFlow Addons, bit by bit, and go on from each other's files; and against NumPy."""

import runpy
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from official.config import train_settings
from official.training import optimizers, weight_decay
from official.training.optimizers import COMPILED_ELEMENTS, create_schedule, create_state
from tests.official.references import REFERENCES

# The last weight starts at zero, where LAMB has no trust ratio.
SHAPES = {
    "table/kernel": (5, 3),
    "wide/kernel": (COMPILED_ELEMENTS // 256, 256),
    "dense/bias": (4,),
    "norm/gamma": (2, 3),
    "head/kernel": (4, 2),
}
SCALES = {"table/kernel": 0.125, "wide/kernel": 0.5, "norm/gamma": [[0.125], [0.25]]}
CLASSES = {"lamb": "LAMB", "adamw": "AdamW", "sgd": "SGD"}
COSINE, FALLING = create_schedule(0.05, 10, 3), create_schedule(0.02, 8, 0, "linear")


@pytest.fixture(scope="module")
def addons():
    reason = "TensorFlow Addons are not installed: there is nothing to compare with"
    return pytest.importorskip("tensorflow_addons", reason=reason).optimizers


@pytest.fixture(scope="module")
def ours():
    """The module `optimizers` as it is where TensorFlow Addons are not installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "tensorflow_addons", None)
        patch.setattr(tf.keras.saving, "register_keras_serializable", lambda package: lambda kind: kind)
        return types.SimpleNamespace(**runpy.run_path(optimizers.__file__))


def new_variables():
    generator = np.random.default_rng(0)
    variables = [tf.Variable(generator.normal(size=shape), dtype="float32", name=name) for name, shape in SHAPES.items()]
    variables[-1].assign(tf.zeros_like(variables[-1]))
    return variables


def take_steps(optimizer, variables, steps, wrap=lambda step: step, rows=None):
    """Takes steps with gradients that depend on their numbers; with `rows`, the first weight's is sparse."""

    def step(*gradients):
        if rows:
            sparse = tf.IndexedSlices(tf.gather(gradients[0], rows), tf.constant(rows), tf.constant(SHAPES["table/kernel"]))
            gradients = [sparse, *gradients[1:]]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    create_state(optimizer, variables)
    step = wrap(step)
    for number in steps:
        generator = np.random.default_rng(number + 1)
        step(*(tf.constant(generator.normal(size=shape), tf.float32) for shape in SHAPES.values()))


def state(optimizer, variables):
    """{name: value} of weights, slots and counter."""
    return {variable.name: variable.numpy() for variable in (*variables, *optimizer.variables())}


def end(optimizer, **options):
    """The state after ten steps."""
    variables = new_variables()
    take_steps(optimizer, variables, range(10), **options)
    return state(optimizer, variables)


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def recipe_optimizer(module, name):
    """With warm-up, decay, exclusions, clipping, layer-wise scales and averages."""
    own = dict(momentum=0.7, beta_1=0.8, ema_decay=0.75, layer_decay=0.5)
    train = train_settings(optimizer=name, lr=0.05, steps=10, warmup_steps=3, weight_decay=0.3, **own)
    return module.create_optimizer(train, SCALES)


def test_addons_where_they_are_installed(addons, ours):
    assert optimizers.bases is addons and issubclass(optimizers.LAMB, addons.LAMB)
    assert issubclass(ours.LAMB, weight_decay.LAMB) and not issubclass(ours.LAMB, addons.LAMB)


def test_ours_elsewhere(ours):
    assert ours.bases is weight_decay
    assert "tensorflow_addons" in sys.modules or optimizers.bases is weight_decay


@pytest.mark.parametrize(
    "wrap", [tf.function, pytest.param(lambda step: step, marks=pytest.mark.further)], ids=["graph", "eager"]
)
@pytest.mark.parametrize("name", REFERENCES)
def test_a_recipe_s_steps_are_those_with_addons(addons, ours, name, wrap):
    """All that create_optimizer knows, with a gradient of repeated rows."""
    expected = end(recipe_optimizer(optimizers, name), wrap=wrap, rows=[3, 1, 3])
    assert_same(end(recipe_optimizer(ours, name), wrap=wrap, rows=[3, 1, 3]), expected)


@pytest.mark.parametrize("rows", [None, [3, 1, 3]], ids=["dense", "sparse"])
@pytest.mark.parametrize(
    "name, settings",
    [
        ("LAMB", dict()),
        ("LAMB", dict(learning_rate=COSINE, weight_decay=0.1, exclude_from_weight_decay=["bias", "gam+a"], clipnorm=0.5)),
        ("LAMB", dict(weight_decay=0.1, exclude_from_layer_adaptation=["kernel"], decay=0.1, beta_2=0.9)),
        ("AdamW", dict(weight_decay=0.01)),
        ("AdamW", dict(weight_decay=FALLING, learning_rate=COSINE, exclude_from_weight_decay=["bias"], clipvalue=0.5)),
        ("AdamW", dict(weight_decay=lambda: 0.01, amsgrad=True)),
        ("SGDW", dict(weight_decay=0.01)),
        ("SGDW", dict(weight_decay=FALLING, momentum=0.9, nesterov=True, decay=0.1, exclude_from_weight_decay=["bias"])),
    ],
)
def test_steps_alone_are_those_of_addons(addons, name, settings, rows):
    """Without what this project adds: other clipping, exclusions of the one and not the other, and schedules of both rates."""
    expected = end(getattr(addons, name)(**settings), rows=rows)
    assert_same(end(getattr(weight_decay, name)(**settings), rows=rows), expected)


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("ours_first", [True, pytest.param(False, marks=pytest.mark.further)])
def test_a_checkpoint_goes_on_with_the_other(addons, ours, name, ours_first, tmp_path):
    """Moments, averages, counter and hyperparameters."""
    first, second = (ours, optimizers) if ours_first else (optimizers, ours)
    expected = end(recipe_optimizer(first, name))
    optimizer, variables = recipe_optimizer(first, name), new_variables()
    take_steps(optimizer, variables, range(5))
    path = tf.train.Checkpoint(optimizer=optimizer, weights=variables).save(tmp_path / "checkpoint")
    other, weights = recipe_optimizer(second, name), [tf.Variable(tf.zeros_like(w), name=w.name[:-2]) for w in variables]
    create_state(other, weights)
    tf.train.Checkpoint(optimizer=other, weights=weights).restore(path).assert_consumed()
    assert other.iterations == 5
    take_steps(other, weights, range(5, 10))
    assert_same(state(other, weights), expected)


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("ours_first", [True, pytest.param(False, marks=pytest.mark.further)])
def test_a_saved_model_s_optimizer_goes_on_with_the_other(addons, ours, name, ours_first):
    """A `.keras` file has its config, after whose first step numbers are variables, and its list of arrays."""
    first, second = (ours, optimizers) if ours_first else (optimizers, ours)
    expected = end(recipe_optimizer(first, name))
    optimizer, variables = recipe_optimizer(first, name), new_variables()
    at_the_start = optimizer.get_config()
    take_steps(optimizer, variables, range(5))
    kind = getattr(second, CLASSES[name])
    assert list(kind.from_config(at_the_start).get_config()) == list(optimizer.get_config())
    other = kind.from_config(optimizer.get_config())
    assert other.get_config() == optimizer.get_config()
    create_state(other, variables)
    other.set_weights(optimizer.get_weights())
    take_steps(other, variables, range(5, 10))
    assert_same(state(other, variables), expected)


@pytest.mark.parametrize("name", REFERENCES)
def test_steps_alone_against_numpy(name):
    """In float64, with everything written from the papers. 1e-7: learning rate and betas are float32."""
    train = train_settings(
        optimizer=name, lr=0.05, steps=10, weight_decay=0.3, beta_1=0.8, beta_2=0.95, epsilon=1e-5, momentum=0.7
    )
    common = dict(
        learning_rate=create_schedule(train.lr, 10, 0), exclude_from_weight_decay=["bias", "gamma"], global_clipnorm=1.0
    )
    moments = dict(beta_1=0.8, beta_2=0.95, epsilon=1e-5)
    decay = create_schedule(train.lr * train.weight_decay, 10, 0)
    optimizer = {
        "lamb": lambda: weight_decay.LAMB(weight_decay=0.3, **moments, **common),
        "adamw": lambda: weight_decay.AdamW(decay, **moments, **common),
        "sgd": lambda: weight_decay.SGDW(decay, momentum=0.7, **common),
    }[name]()
    variables = [tf.Variable(tf.cast(variable, tf.float64), name=variable.name[:-2]) for variable in new_variables()]
    reference = REFERENCES[name](variables, ["kernel" in variable.name for variable in variables], train)
    for number in range(4):
        generator = np.random.default_rng(number)
        gradients = [generator.normal(size=shape) for shape in SHAPES.values()]
        assert reference.apply(gradients) > 1
        optimizer.apply_gradients(zip(map(tf.constant, gradients), variables, strict=True))
        for variable, expected in zip(variables, reference.weights, strict=True):
            np.testing.assert_allclose(variable, expected, rtol=0, atol=1e-7, err_msg=variable.name)


@pytest.mark.parametrize(
    "name, setting",
    [
        ("LAMB", "exclude_from_weight_decay"),
        ("LAMB", "exclude_from_layer_adaptation"),
        ("AdamW", "exclude_from_weight_decay"),
        ("SGDW", "exclude_from_weight_decay"),
    ],
)
def test_a_string_is_not_a_list_of_exclusions(name, setting):
    """Each of its letters would be found in many names. TensorFlow Addons refuse it, too."""
    with pytest.raises(ValueError, match=f"^{setting}='bias' is not allowed: it must be a list of regular expressions$"):
        getattr(weight_decay, name)(weight_decay=0.1, **{setting: "bias"})
