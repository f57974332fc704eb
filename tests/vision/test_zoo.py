"""The table of image models: exact parameter counts, names, settings and refusals."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf

import vision
from tests.widenet.settings import other_moe_settings
from widenet.routing import MOE_SETTINGS

NAMES = [
    "vit_ti16",
    "vit_s16",
    "vit_b16",
    "vit_l16",
    "vit_moe_b16",
    "vit_moe_l16",
    "widenet_ti16",
    "widenet_s16",
    "widenet_b16",
    "widenet_l16",
    "widenet_h16",
]
TINY = dict(depth=2, width=16, heads=2, ffn_dim=32, expert_dim=32, image_size=8, patch_size=4, channels=1, classes=3)

# A value other than the default for every setting a user may change, all of them possible together at the tiny size.
OVERRIDES = dict(
    classes=5,
    image_size=12,
    patch_size=6,
    channels=2,
    representation=False,
    pool="token",
    position_cubic=-0.75,
    depth=3,
    width=24,
    heads=3,
    ffn_dim=40,
    expert_dim=20,
    **other_moe_settings(),
    kernel_initializer="he_normal",
    kernel_regularizer="l1",
    activation="relu",
    dropout=0.1,
    attention_dropout=0.2,
    drop_path=0.3,
    norm_epsilon=1e-5,
    attention_groups=2,
    ffn_groups=2,
    norm_groups=2,
    routing_groups=2,
    moe_blocks=(0, 2),
    norm_position="post",
)


def count(name, **overrides):
    """Parameters of a model. Inside a tf.Graph no initial value is computed: the shapes alone take a fraction of the time."""
    with tf.Graph().as_default():
        return vision.create_model(name, **overrides).count_params()


def full(*values):
    """Values of a test that takes seconds, of which `make test` runs one of a kind."""
    return pytest.param(*values, marks=pytest.mark.size)


@pytest.mark.parametrize(
    "name, overrides, expected",
    [
        full("vit_b16", {}, 87_158_248),
        full("vit_l16", {}, 305_376_232),
        full("vit_moe_b16", {}, 128_088_552),
        full("vit_moe_l16", {}, 406_115_304),
        ("widenet_b16", {}, 29_689_832),
        full("widenet_l16", {}, 40_940_520),
        full("widenet_h16", {}, 63_340_520),
        full("widenet_b16", dict(norm_groups=1), 29_656_040),
        full("widenet_b16", dict(moe_blocks=0), 9_223_912),
        full("widenet_l16", dict(moe_blocks=0), 15_755_240),
        full("widenet_h16", dict(moe_blocks=0), 23_994_600),
        full("widenet_b16", dict(attention_groups=None, ffn_groups=None, moe_blocks=2), 128_088_552),
        full("widenet_l16", dict(attention_groups=None, ffn_groups=None, moe_blocks=4), 406_115_304),
        full("widenet_b16", dict(routing_groups=4), 29_689_832),
        full("widenet_l16", dict(depth=12), 40_891_368),
    ],
)
def test_paper_counts(name, overrides, expected):
    """The models and ablations of the paper's main tables, to the parameter."""
    assert count(name, **overrides) == expected


@pytest.mark.size
def test_fully_shared_vit_count():
    """The paper's ViT-L with parameter sharing and a wide FFN, counted by hand."""
    shared = dict(attention_groups=1, ffn_groups=1, norm_groups=1, routing_groups=1)
    expected = (
        (16 * 16 * 3 * 1024 + 1024)  # patches
        + 1024  # class token
        + (14 * 14 + 1) * 1024  # positions
        + 4 * (1024 * 1024 + 1024)  # one attention
        + (1024 * 8192 + 8192)  # one FFN, in
        + (8192 * 1024 + 1024)  # and out
        + 2 * 2 * 1024  # one pair of norms, gamma and beta
        + 2 * 1024  # final norm
        + (1024 * 1024 + 1024)  # representation
        + (1024 * 1000 + 1000)  # head
    )
    assert expected == 24_055_784
    assert count("vit_l16", ffn_dim=8192, **shared) == expected


def reference_count(width, hidden, depth, widenet):
    """A dense ViT or a WideNet of 4 experts at 224 pixels, from the sizes alone; heads split the width and add nothing."""

    def dense(inputs, outputs):
        return inputs * outputs + outputs

    feed_forward = dense(width, hidden) + dense(hidden, width)
    embedding = dense(16 * 16 * 3, width) + (224 // 16) ** 2 * width
    blocks = 4 * dense(width, width) + feed_forward
    if widenet:
        blocks = 4 * dense(width, width) + 4 * feed_forward + 4 * width
    else:
        embedding += 2 * width  # the class token and its position
        blocks *= depth
    norms = (2 * depth + 1) * 2 * width
    return embedding + blocks + norms + dense(width, width) + dense(width, 1000)


@pytest.mark.further_cases
@pytest.mark.parametrize("size, width, hidden", [("ti16", 192, 768), ("s16", 384, 1536)])
@pytest.mark.parametrize("family", ["vit", "widenet"])
def test_small_counts(family, size, width, hidden):
    """The sizes that the paper does not have, by a formula of their own."""
    assert count(f"{family}_{size}") == reference_count(width, hidden, 12, widenet=family == "widenet")


def test_reference_count_agrees_with_the_paper():
    """The formula above is worth something only if it also gives the paper's counts."""
    assert reference_count(768, 3072, 12, widenet=False) == 87_158_248
    assert reference_count(768, 4096, 12, widenet=True) == 29_689_832


def test_list_models():
    """The names are public; a new one must be added here on purpose."""
    assert vision.list_models() == NAMES


def test_list_models_is_a_copy():
    """A user who sorts or empties the list must not change the zoo."""
    vision.list_models().clear()
    assert vision.list_models() == NAMES


def test_list_models_by_pattern():
    assert vision.list_models("vit_moe*") == ["vit_moe_b16", "vit_moe_l16"]
    assert vision.list_models("*ti16") == ["vit_ti16", "widenet_ti16"]
    assert vision.list_models("resnet*") == []


def test_settings_are_exactly_the_documented_ones():
    """A setting that no document names, or a documented one that is missing, is a mistake."""
    for name in NAMES:
        assert set(vision.model_settings(name)) == set(OVERRIDES)


@pytest.mark.parametrize("setting", OVERRIDES)
def test_every_override_reaches_the_settings(setting):
    """Each override alone changes its own setting and no other."""
    changed = vision.model_settings("widenet_b16", **{setting: OVERRIDES[setting]})
    default = vision.model_settings("widenet_b16")
    assert {key for key in default if changed[key] != default[key]} == {setting}
    assert changed[setting] == OVERRIDES[setting]


def test_every_override_reaches_the_model():
    """All of them at once: what is built has these values and not the defaults."""
    model = vision.create_model("widenet_ti16", **OVERRIDES)
    encoder, embedding = model.get_layer("encoder"), model.get_layer("embedding")
    for setting in ("depth width heads ffn_dim expert_dim activation dropout attention_dropout drop_path norm_epsilon").split():
        assert getattr(encoder, setting) == OVERRIDES[setting], setting
    for setting in "attention_groups ffn_groups norm_groups routing_groups moe_blocks norm_position".split():
        assert getattr(encoder.deployment, setting) == OVERRIDES[setting], setting
    assert model.input_shape == (None, 12, 12, 2)
    assert model.output_shape == (None, 5)
    assert embedding.patch_size == 6
    assert embedding.class_token
    assert model.get_layer("pooling").pool == "token"
    assert model.get_layer("embedding_dropout").rate == 0.1
    assert not any(layer.name == "representation" for layer in model.layers)
    assert encoder.final_norm is None
    assert [block.is_moe for block in encoder.blocks] == [True, False, True]
    for setting in MOE_SETTINGS:
        assert getattr(encoder, setting) == OVERRIDES[setting], setting
        assert getattr(encoder.moe_layers[0], setting) == OVERRIDES[setting], setting
        assert getattr(encoder.moe_layers[0].router, setting, OVERRIDES[setting]) == OVERRIDES[setting], setting


@pytest.mark.parametrize(
    "wrong, near",
    [
        ("widenet_b_16", "widenet_b16"),
        ("vit_moe_b", "vit_moe_b16"),
        ("ViT_b16", "vit_b16"),
    ],
)
def test_unknown_model(wrong, near):
    """A wrong name is answered with the nearest and with all of them."""
    with pytest.raises(ValueError, match=re.escape(repr(wrong))) as error:
        vision.create_model(wrong)
    assert f"did you mean {near}?" in str(error.value)
    assert all(name in str(error.value) for name in NAMES)


@pytest.mark.parametrize(
    "wrong, near",
    [
        ("num_expert", "num_experts"),
        ("clases", "classes"),
        ("moe_block", "moe_blocks"),
        ("patchsize", "patch_size"),
        ("norm_group", "norm_groups"),
    ],
)
def test_unknown_setting(wrong, near):
    """A typo must not be swallowed: it is answered with its value, the nearest setting and all of them."""
    for function in (vision.create_model, vision.model_settings):
        with pytest.raises(ValueError, match=f"{wrong}=7") as error:
            function("widenet_b16", **{wrong: 7})
        assert f"did you mean {near}?" in str(error.value)
        assert all(setting in str(error.value) for setting in OVERRIDES)


@pytest.mark.parametrize(
    "elsewhere, here",
    [
        ("num_classes", "classes"),
        ("img_size", "image_size"),
        ("in_chans", "channels"),
        ("global_pool", "pool"),
        ("drop_rate", "dropout"),
        ("attn_drop_rate", "attention_dropout"),
        ("drop_path_rate", "drop_path"),
        ("embed_dim", "width"),
        ("hidden_size", "width"),
        ("num_layers", "depth"),
        ("num_heads", "heads"),
    ],
)
def test_names_of_other_libraries(elsewhere, here):
    with pytest.raises(ValueError, match=f"^{elsewhere}=1 is not a setting of vit_b16: it is called {here} here; known: "):
        vision.create_model("vit_b16", **{elsewhere: 1})


def test_numbers_of_numpy():
    """As they come from a sweep over an array."""
    settings = {name: np.int64(value) for name, value in TINY.items()}
    model = vision.create_model("widenet_ti16", **settings, dropout=np.float32(0.5), noise=np.bool_(False))
    encoder = model.get_layer("encoder")
    assert (encoder.depth, encoder.dropout, encoder.noise) == (2, 0.5, False)
    json.dumps(encoder.get_config())


@pytest.mark.further
def test_two_models_in_one(tmp_path):
    """Each has a name of its own in the other model, also when it is saved."""
    first, second = (vision.create_model("vit_ti16", name=name, **TINY) for name in ("teacher", "student"))
    assert (first.name, second.name) == ("teacher", "student")
    images = tf.keras.Input((8, 8, 1))
    both = tf.keras.Model(images, [first(images), second(images)])
    both.save(tmp_path / "both.keras")
    batch = tf.random.stateless_uniform([2, 8, 8, 1], (0, 1), -1, 1)
    loaded = tf.keras.models.load_model(tmp_path / "both.keras")
    for answers, model in zip(loaded(batch), (first, second), strict=True):
        np.testing.assert_allclose(answers, model(batch), atol=1e-6)


@pytest.mark.parametrize("name", ["", 3])
def test_wrong_name(name):
    with pytest.raises(ValueError, match=f"^name={name!r} is not allowed: it must be a name for the Keras model"):
        vision.create_model("vit_ti16", name=name, **TINY)


def test_name_of_the_zoo_as_a_keyword():
    assert vision.create_model(name="vit_ti16", **TINY).name == "vit_ti16"


def test_unknown_setting_without_a_near_one():
    """Nothing is suggested where nothing is near, and all that is known is still told."""
    with pytest.raises(ValueError, match="qqqq=1") as error:
        vision.create_model("vit_b16", qqqq=1)
    assert "did you mean" not in str(error.value)
    assert "known: " in str(error.value)


@pytest.mark.parametrize(
    "setting, value, allowed",
    [
        ("patch_size", 3, "divisor of image_size=8"),
        ("patch_size", 16, "divisor of image_size=8"),
        ("patch_size", 0, "at least 1"),
        ("image_size", 8.0, "an integer"),
        ("channels", 0, "at least 1"),
        ("classes", -1, "at least 0"),
        ("classes", True, "an integer"),
        ("pool", "max", "'token', 'gap'"),
        ("representation", 2, "True, False"),
        ("position_cubic", -1.0, "-0.5, -0.75"),
        ("depth", 0, "at least 1"),
        ("width", "16", "an integer"),
        ("heads", 3, "divisor of width=16"),
        ("heads", 0, "at least 1"),
        ("ffn_dim", 0, "at least 1"),
        ("expert_dim", -4, "at least 1"),
        ("num_experts", 0, "at least 1"),
        ("top_k", 5, "from 1 to 4"),
        ("top_k", 0, "from 1 to 4"),
        ("capacity_factor", 0, "above 0"),
        ("capacity_factor", float("nan"), "above 0"),
        ("eval_capacity_factor", -1.0, "None"),
        ("balance_weight", -0.1, "at least 0"),
        ("activation", "swishy", "'gelu'"),
        ("dropout", 1.0, "from 0 up to"),
        ("dropout", -0.1, "from 0 up to"),
        ("attention_dropout", 2, "from 0 up to"),
        ("drop_path", 1, "from 0 up to"),
        ("norm_epsilon", 0, "above 0"),
        ("norm_groups", 3, "from 1 to 2"),
        ("attention_groups", 3, "from 1 to 2"),
        ("ffn_groups", 0, "at least 1"),
        ("routing_groups", 1.5, "None"),
        ("moe_blocks", 3, "from 0 to 2"),
        ("moe_blocks", (0, 2), "from 0 to 1"),
        ("moe_blocks", "last", '"all"'),
        ("moe_blocks", -1, "at least 0"),
        ("norm_position", "middle", "'pre', 'post'"),
    ],
)
def test_refused_values(setting, value, allowed):
    """Every wrong value is refused before anything is built, by setting, value and what is allowed."""
    with pytest.raises(ValueError, match=re.escape(f"{setting}={value!r} is not allowed")) as error:
        vision.create_model("widenet_ti16", **{**TINY, setting: value})
    assert allowed in str(error.value).partition("must be")[2]


@pytest.mark.further
def test_noise_and_renormalize_change_what_they_say():
    """Outputs in training are noisy by default only; renormalized gates sum to 1."""
    images = tf.random.stateless_uniform([2, 8, 8, 1], (0, 1), -1, 1)
    plain = dict(TINY, capacity_factor=None, balance_weight=0)
    for noise in (True, False):
        model = vision.create_model("widenet_ti16", **plain, noise=noise)
        first, second = model(images, training=True), model(images, training=True)
        assert bool(tf.reduce_all(first == second)) != noise
    tokens = tf.random.stateless_normal([2, 4, 16], (0, 1))
    for renormalize in (True, False):
        (moe,) = vision.create_model("widenet_ti16", **TINY, renormalize=renormalize).get_layer("encoder").moe_layers
        sums = tf.reduce_sum(moe.route(tokens).gates, axis=-1)
        assert bool(tf.reduce_all(tf.abs(sums - 1) < 1e-5)) == renormalize


@pytest.mark.parametrize("initializer", ["ones", {"class_name": "Constant", "config": {"value": 1.0}}])
def test_kernel_initializer_is_of_every_kernel(initializer):
    """And of nothing else."""
    model = vision.create_model("vit_moe_b16", **{**TINY, "moe_blocks": 1}, kernel_initializer=initializer)
    for weight in model.weights:
        is_kernel = weight.name.rsplit("/", 1)[-1].startswith("kernel")
        assert bool(tf.reduce_all(weight == 1)) == (is_kernel or "gamma" in weight.name), weight.name


def test_wrong_initializer():
    with pytest.raises(ValueError, match=r"kernel_initializer='he' is not allowed: it must be a Keras initializer"):
        vision.create_model("widenet_ti16", **TINY, kernel_initializer="he")
