"""LAMB against NumPy in float64, what it leaves out by name, and the learning rate."""

import ast
import math
import pathlib

import numpy as np
import pytest
import tensorflow as tf

import vision
from official.addons import tfa
from official.config import train_settings
from official.lamb import COMPILED_ELEMENTS
from official.optimizers import EXCLUDED, LAMB, create_optimizer, create_schedule, create_state

ROOT = pathlib.Path(__file__).parents[2]
TINY = dict(
    depth=2, width=8, heads=2, ffn_dim=12, expert_dim=12, num_experts=2, image_size=4, patch_size=2, channels=1, classes=3
)


def tiny_model(**overrides):
    """Every kind of weight there is: class token, dense FFN, router, experts, representation."""
    return vision.create_model("widenet_ti16", **{**TINY, "moe_blocks": 1, "pool": "token", **overrides})


def is_excluded(optimizer, weight):
    """Whether a LAMB leaves this weight out of decay, and of layer adaptation."""
    return not optimizer._do_use_weight_decay(weight), not optimizer._do_layer_adaptation(weight)


def excluded_names(model):
    optimizer = create_optimizer(train_settings())
    found = {weight.name: is_excluded(optimizer, weight) for weight in model.trainable_weights}
    assert all(decay == adaptation for decay, adaptation in found.values())
    return sorted(name for name, (decay, _) in found.items() if decay)


def test_excluded_by_name():
    """All biases, gammas and betas and nothing else: the whole list, so that a renamed weight is noticed."""
    dense = [f"encoder/attention_0/{layer}/bias" for layer in ("query", "key", "value", "output")] + [
        "embedding/projection/bias",
        "head/bias",
        "representation/bias",
    ]
    hidden = [
        f"encoder/{layer}/{bias}" for layer in ("ffn_0", "moe_0/expert_0", "moe_0/expert_1") for bias in ("bias_in", "bias_out")
    ]
    norms = [f"encoder/{norm}/{weight}" for norm in ("attention_norm", "ffn_norm", "final_norm") for weight in ("beta", "gamma")]
    assert excluded_names(tiny_model()) == sorted(f"{name}:0" for name in dense + hidden + norms)


def test_adapted_by_name():
    """What decay and layer adaptation do apply to: kernels of every kind, the positions and the class token."""
    model = tiny_model()
    excluded = excluded_names(model)
    adapted = {weight.name for weight in model.trainable_weights} - set(excluded)
    expected = {
        "embedding/class_token",
        "embedding/position_embedding",
        "embedding/projection/kernel",
        *(f"encoder/attention_0/{layer}/kernel" for layer in ("query", "key", "value", "output")),
        "encoder/moe_0/router/kernel",
        *(
            f"encoder/{layer}/{kernel}"
            for layer in ("ffn_0", "moe_0/expert_0", "moe_0/expert_1")
            for kernel in ("kernel_in", "kernel_out")
        ),
        "representation/kernel",
        "head/kernel",
    }
    assert adapted == {f"{name}:0" for name in expected}


def test_a_loaded_model_excludes_the_same(tmp_path):
    """The names of a model read from its file lack some of their paths; what is excluded must not change."""
    model = tiny_model()
    model.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    optimizer = create_optimizer(train_settings())
    assert [is_excluded(optimizer, weight) for weight in loaded.weights] == [
        is_excluded(optimizer, weight) for weight in model.weights
    ]


def test_a_name_that_only_contains_a_bias_is_not_excluded():
    """The patterns are of a name's whole last part: "unbiased" or a layer called "gamma" hide nothing."""
    optimizer = create_optimizer(train_settings())
    for name, excluded in (
        ("unbiased_kernel", False),
        ("gamma/kernel", False),
        ("bias_table", False),
        ("alphabeta", False),
        ("layer/bias", True),
        ("bias", True),
        ("layer/gamma", True),
    ):
        weight = tf.Variable(1.0, name=name)
        assert is_excluded(optimizer, weight) == (excluded, excluded), name


class NumpyLamb:
    """LAMB (arXiv:1904.00962, algorithm 2) in float64, decay inside the trust ratio, after clipping the global norm."""

    def __init__(self, weights, excluded, lr, beta_1, beta_2, epsilon, decay, clip):
        self.weights = [np.asarray(weight, np.float64) for weight in weights]
        self.m = [np.zeros_like(weight) for weight in self.weights]
        self.v = [np.zeros_like(weight) for weight in self.weights]
        self.excluded = excluded
        self.lr, self.beta_1, self.beta_2, self.epsilon, self.decay, self.clip = lr, beta_1, beta_2, epsilon, decay, clip
        self.step = 0

    def apply(self, gradients):
        gradients = [np.asarray(gradient, np.float64) for gradient in gradients]
        norm = math.sqrt(sum((gradient**2).sum() for gradient in gradients))
        gradients = [gradient * min(1, self.clip / norm) for gradient in gradients]
        self.step += 1
        for i, gradient in enumerate(gradients):
            self.m[i] = self.beta_1 * self.m[i] + (1 - self.beta_1) * gradient
            self.v[i] = self.beta_2 * self.v[i] + (1 - self.beta_2) * gradient**2
            m = self.m[i] / (1 - self.beta_1**self.step)
            v = self.v[i] / (1 - self.beta_2**self.step)
            update = m / (np.sqrt(v) + self.epsilon)
            ratio = 1.0
            if not self.excluded[i]:
                update = update + self.decay * self.weights[i]
                weight_norm, update_norm = np.linalg.norm(self.weights[i]), np.linalg.norm(update)
                ratio = weight_norm / update_norm if weight_norm and update_norm else 1.0
            self.weights[i] = self.weights[i] - self.lr(self.step - 1) * ratio * update
        return norm


@pytest.mark.parametrize("scale, is_clipped", [(100.0, True), (1e-3, False)])
def test_steps_against_numpy(scale, is_clipped):
    """Three steps as `fit` does them, in float64 so that only the formula can differ; the learning rate alone is float32.

    It is off by 6e-8 of itself at most, which moves a weight by about 1e-8 a step: 1e-7 is for three. Gradients come from a
    tape of their own. The loss is scaled so that its gradient's norm is above 1, which is clipped, and below, which is not.
    """
    tf.keras.mixed_precision.set_global_policy("float64")
    model = vision.create_model("vit_ti16", **TINY)
    train = train_settings(lr=0.05, steps=10, warmup_steps=0, weight_decay=0.3, beta_1=0.8, beta_2=0.95, epsilon=1e-5)
    generator = np.random.default_rng(0)
    for weight in model.trainable_weights:
        # Away from the zeros that biases and class token start at, so that decay has something to act on.
        weight.assign(weight + generator.normal(0, 0.1, weight.shape))
    images, labels = generator.uniform(-1, 1, (6, 4, 4, 1)), np.arange(6) % 3

    def loss(y, logits):
        return scale * tf.keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)

    model.compile(create_optimizer(train), loss)
    excluded = [weight.name.split("/")[-1][:4] in ("bias", "gamm", "beta") for weight in model.trainable_weights]
    assert 0 < sum(excluded) < len(excluded)

    def schedule(step):
        return 0.05 * 0.5 * (1 + math.cos(math.pi * step / 10))

    reference = NumpyLamb(model.trainable_weights, excluded, schedule, 0.8, 0.95, 1e-5, 0.3, 1.0)
    for _ in range(3):
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(loss(labels, model(images, training=True)))
        norm = reference.apply(tape.gradient(value, model.trainable_weights))
        assert (norm > 1) == is_clipped
        model.train_on_batch(images, labels)
        for weight, expected in zip(model.trainable_weights, reference.weights, strict=True):
            np.testing.assert_allclose(weight.numpy(), expected, rtol=0, atol=1e-7, err_msg=weight.name)


def test_create_state_makes_all_slots():
    """Before any step there is a moment m and v for every weight, which is what a checkpoint is checked against."""
    model = tiny_model()
    optimizer = create_optimizer(train_settings())
    create_state(optimizer, model.trainable_weights)
    assert len(optimizer.variables()) == 1 + 2 * len(model.trainable_weights)
    assert int(optimizer.iterations.numpy()) == 0


def test_default_settings_are_the_paper_s():
    """LAMB's constants of the paper's recipes."""
    optimizer = create_optimizer(train_settings())
    config = optimizer.get_config()
    assert (config["beta_1"], config["beta_2"], config["epsilon"]) == (0.9, 0.999, 1e-6)
    assert optimizer.global_clipnorm == 1.0


@pytest.mark.parametrize("warmup", [1, 4, 10])
def test_schedule(warmup):
    """Linear from 0 to the peak at `warmup_steps`, then half a cosine to 0 at `steps`; by hand, to float32's digits."""
    steps, peak = 30, 0.4
    schedule = create_schedule(peak, steps, warmup)
    for step in range(steps + 1):
        if step < warmup:
            expected = peak * step / warmup
        else:
            expected = peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
        assert float(schedule(step)) == pytest.approx(expected, abs=1e-6), step
    assert float(schedule(0)) == 0
    assert float(schedule(warmup)) == pytest.approx(peak, rel=1e-6)
    assert float(schedule((steps + warmup) // 2)) == pytest.approx(peak / 2, rel=0.2)


def test_schedule_without_warmup():
    """The first step already has the peak."""
    schedule = create_schedule(0.4, 8, 0)
    expected = [0.4 * 0.5 * (1 + math.cos(math.pi * step / 8)) for step in range(9)]
    np.testing.assert_allclose([float(schedule(step)) for step in range(9)], expected, rtol=0, atol=1e-6)
    assert expected[4] == pytest.approx(0.2)


@pytest.mark.parametrize("steps", [5, 3])
def test_schedule_whose_run_ends_in_the_warmup(steps):
    """A short trial of a recipe with a long warm-up: still linear, never above the peak, always a number."""
    schedule = create_schedule(1.0, steps, 5)
    np.testing.assert_allclose([float(schedule(step)) for step in range(steps)], [step / 5 for step in range(steps)], atol=1e-6)


def test_only_one_file_imports_addons():
    """TensorFlow Addons is at its end of life: one file to change when it goes."""
    importers = set()
    for path in ROOT.rglob("*.py"):
        inside = path.relative_to(ROOT)
        if inside.parts[0] in (".venv", "runs", "tests") or inside.parts[0].startswith("."):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "tensorflow_addons" for name in names):
                importers.add(inside.as_posix())
    assert importers == {"official/addons.py"}


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-13), ("float32", 2e-6)])
def test_compiled_update_is_that_of_addons(dtype, tolerance):
    """Twenty steps of a large adapted, a large excluded and a small weight; float32 differs by the order of a norm's sum."""
    shapes = {"kernel": (COMPILED_ELEMENTS // 256, 256), "wide/bias": (COMPILED_ELEMENTS,), "small/kernel": (3, 4)}
    random = np.random.default_rng(0)
    start = [random.normal(size=shape) for shape in shapes.values()]
    gradients = [[random.normal(size=shape) for shape in shapes.values()] for _ in range(20)]
    results = []
    for kind in (LAMB, tfa.optimizers.LAMB):
        weights = [tf.Variable(value, dtype=dtype, name=name) for name, value in zip(shapes, start, strict=True)]
        optimizer = kind(
            create_schedule(0.01, 20, 5),
            weight_decay=0.1,
            exclude_from_weight_decay=EXCLUDED,
            exclude_from_layer_adaptation=EXCLUDED,
            global_clipnorm=1.0,
        )
        apply = tf.function(lambda *given, o=optimizer, w=weights: o.apply_gradients(zip(given, w, strict=True)) and None)
        for step in gradients:
            apply(*[tf.constant(gradient, dtype) for gradient in step])
        results.append([value.numpy() for value in (*weights, *optimizer.variables())])
    assert isinstance(optimizer, tfa.optimizers.LAMB) and issubclass(LAMB, tfa.optimizers.LAMB)
    assert not np.allclose(results[0][0], start[0], atol=0.01)
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


def test_lamb_goes_through_keras_s_config():
    optimizer = create_optimizer(train_settings(lr=0.02))
    again = tf.keras.optimizers.deserialize(tf.keras.optimizers.serialize(optimizer))
    assert type(again) is LAMB
    assert again.get_config() == optimizer.get_config()
