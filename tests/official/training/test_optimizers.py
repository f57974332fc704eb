"""Each optimizer against NumPy in float64, and what it leaves out by name."""

import numpy as np
import pytest
import tensorflow as tf

import vision
from official.config import train_settings
from official.training.optimizers import LAMB, SGD, AdamW, create_optimizer, create_state
from tests.official.references import REFERENCES

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


@pytest.mark.further
@pytest.mark.parametrize("name", REFERENCES)
def test_a_saved_model_has_the_optimizer_s_state(tmp_path, name):
    """A `.keras` file has all of it, the average too: the step after loading is the step without saving."""
    model = tiny_model(depth=1)
    model.compile(create_optimizer(train_settings(optimizer=name, ema_decay=0.9)), "sparse_categorical_crossentropy")
    images, labels = np.ones([2, 4, 4, 1], "float32"), np.arange(2)
    model.fit(images, labels, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    assert len(model.optimizer.weights) > 2 * len(model.weights) and model.optimizer.iterations == 2
    for step in range(2):
        states = zip(model.optimizer.get_weights(), loaded.optimizer.get_weights(), strict=True)
        for state, other in [*states, *zip(model.get_weights(), loaded.get_weights(), strict=True)]:
            np.testing.assert_array_equal(state, other, err_msg=f"step {step}")
        for each in (model, loaded):
            each.optimizer.apply_gradients([(tf.ones_like(weight), weight) for weight in each.trainable_weights])


def test_a_state_that_does_not_fit_is_said():
    model = tiny_model()
    model.compile(create_optimizer(train_settings()), "sparse_categorical_crossentropy")
    create_state(model.optimizer, model.trainable_weights)
    with pytest.warns(UserWarning, match="the optimizer's state in the file fits other weights: the optimizer starts anew"):
        model._legacy_state.load_own_variables({"0": np.zeros(3)})


@pytest.mark.parametrize("name", REFERENCES)
def test_a_name_that_only_contains_a_bias_is_not_excluded(name):
    """The patterns are of a name's whole last part: "unbiased" or a layer called "gamma" hide nothing."""
    optimizer = create_optimizer(train_settings(optimizer=name))
    for weight, excluded in (
        ("unbiased_kernel", False),
        ("gamma/kernel", False),
        ("bias_table", False),
        ("alphabeta", False),
        ("layer/bias", True),
        ("layer/bias/replica_1", True),
        ("bias", True),
        ("layer/gamma", True),
    ):
        variable = tf.Variable(1.0, name=weight)
        assert optimizer._do_use_weight_decay(variable) != excluded, weight
        if name == "lamb":
            assert optimizer._do_layer_adaptation(variable) != excluded, weight


@pytest.mark.further_cases
@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("scale, is_clipped", [(100.0, True), pytest.param(1e-3, False, marks=pytest.mark.further)])
def test_steps_against_numpy(name, scale, is_clipped):
    """Three steps as `fit` does them, in float64 so that only the formula can differ; learning rate and betas alone are float32.

    They are off by 6e-8 of themselves at most, which moves a weight by about 1e-8 a step: 1e-7 is for three. Gradients come from
    a tape of their own. The loss is scaled so that its gradient's norm is above 1, which is clipped, and below, which is not.
    """
    tf.keras.mixed_precision.set_global_policy("float64")
    model = vision.create_model("vit_ti16", **{**TINY, "depth": 1})
    train = train_settings(
        optimizer=name, lr=0.05, steps=10, weight_decay=0.3, beta_1=0.8, beta_2=0.95, epsilon=1e-5, momentum=0.7
    )
    generator = np.random.default_rng(0)
    for weight in model.trainable_weights:
        # Away from the zeros that biases and class token start at, so that decay has something to act on.
        weight.assign(weight + generator.normal(0, 0.1, weight.shape))
    images, labels = generator.uniform(-1, 1, (6, 4, 4, 1)), np.arange(6) % 3

    def loss(y, logits):
        return scale * tf.keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)

    model.compile(create_optimizer(train), loss)
    decays = [weight.name.split("/")[-1][:4] not in ("bias", "gamm", "beta") for weight in model.trainable_weights]
    assert 0 < sum(decays) < len(decays)
    reference = REFERENCES[name](model.trainable_weights, decays, train)
    for _ in range(3):
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(loss(labels, model(images, training=True)))
        norm = reference.apply(tape.gradient(value, model.trainable_weights))
        assert (norm > 1) == is_clipped
        model.train_on_batch(images, labels)
        for weight, expected in zip(model.trainable_weights, reference.weights, strict=True):
            np.testing.assert_allclose(weight.numpy(), expected, rtol=0, atol=1e-7, err_msg=weight.name)


@pytest.mark.parametrize(
    "slots, train",
    [
        (2, dict(optimizer="lamb")),
        (2, dict(optimizer="adamw")),
        (3, dict(optimizer="adamw", ema_decay=0.9)),
        (1, dict(optimizer="sgd")),
        (0, dict(optimizer="sgd", momentum=0.0)),
    ],
)
def test_create_state_makes_all_slots(slots, train):
    """Before any step there are moments, velocity and average of every weight, which is what a checkpoint is checked against."""
    model = tiny_model()
    optimizer = create_optimizer(train_settings(**train))
    create_state(optimizer, model.trainable_weights)
    assert len(optimizer.variables()) == 1 + slots * len(model.trainable_weights)
    assert int(optimizer.iterations.numpy()) == 0


def test_default_settings_are_the_paper_s():
    """LAMB's constants of the paper's recipes."""
    optimizer = create_optimizer(train_settings())
    config = optimizer.get_config()
    assert (config["beta_1"], config["beta_2"], config["epsilon"]) == (0.9, 0.999, 1e-6)
    assert optimizer.global_clipnorm == 1.0


@pytest.mark.parametrize("kind", [LAMB, AdamW, SGD])
def test_through_keras_s_config(kind):
    """What a saved model keeps of its optimizer."""
    train = train_settings(optimizer=kind.__name__.lower(), lr=0.02, ema_decay=0.9, layer_decay=0.5, momentum=0.3)
    optimizer = create_optimizer(train, {"a/kernel": 0.5, "norm/gamma": [[0.25], [0.5]]})
    again = tf.keras.optimizers.deserialize(tf.keras.optimizers.serialize(optimizer))
    assert type(again) is kind
    assert again.get_config() == optimizer.get_config()
    assert again.update_scales == {"a/kernel": 0.5, "norm/gamma": [[0.25], [0.5]]}
    assert again.ema_decay == 0.9


def test_no_operation_for_no_decay():
    """A weight decay of 0 is not one of 0 times the weight."""
    for name in ("adamw", "sgd"):
        optimizer = create_optimizer(train_settings(optimizer=name, weight_decay=0.0))
        assert not optimizer._do_use_weight_decay(tf.Variable(1.0, name="a/kernel"))


def test_what_create_optimizer_refuses():
    """A layer decay that could not be applied must not be forgotten in silence."""
    with pytest.raises(ValueError, match=r"train\.layer_decay=0\.5 is not allowed: it must be 1 where no scales are given"):
        create_optimizer(train_settings(layer_decay=0.5))
    with pytest.raises(ValueError, match=r"train\.optimizer='adam' is not allowed: it must be one of lamb, adamw, sgd"):
        create_optimizer(train_settings(optimizer="adam"))
