"""Wrong settings are refused at construction, by an error that names the setting, the value and what is allowed."""

import inspect
import math
import re

import pytest
import tensorflow as tf

from tests.widenet.settings import other_moe_settings
from widenet import Deployment, Encoder, FeedForward, IndividualLayerNorm, Router, SelfAttention, SharedMoE
from widenet.checks import check_choice, check_count, check_known, check_not_negative, check_positive, check_rate, refuse
from widenet.feed_forward import get_activation
from widenet.routing import MOE_SETTINGS

REQUIRED = {
    Router: dict(num_experts=4),
    SharedMoE: dict(num_experts=4, hidden_dim=8),
    IndividualLayerNorm: dict(depth=3),
    SelfAttention: dict(width=8, heads=2),
    FeedForward: dict(hidden_dim=8),
    Encoder: dict(depth=3, width=8, heads=2, ffn_dim=16),
    Deployment: dict(),
}

INTEGER = "an integer of at least 1"
RATE = "a number from 0 up to, not including, 1"
CAPACITY = "a finite number above 0, or None to drop nothing"
ACTIVATION = "one of 'gelu', 'gelu_tanh', 'relu', 'silu', 'tanh', 'linear', or a function"

WRONG = [
    (Router, "num_experts", 0, INTEGER),
    (Router, "num_experts", 2.0, INTEGER),
    (Router, "num_experts", True, INTEGER),
    (Router, "num_experts", None, INTEGER),
    (Router, "top_k", 0, "an integer from 1 to 4 (num_experts=4)"),
    (Router, "top_k", 5, "an integer from 1 to 4 (num_experts=4)"),
    (Router, "top_k", 1.5, "an integer from 1 to 4 (num_experts=4)"),
    (Router, "balance_weight", -0.01, "a finite number of at least 0"),
    (Router, "balance_weight", math.nan, "a finite number of at least 0"),
    (Router, "balance_weight", None, "a finite number of at least 0"),
    (Router, "kernel_initializer", "glorot", 'a Keras initializer, such as "glorot_uniform"'),
    (SharedMoE, "num_experts", -1, INTEGER),
    (SharedMoE, "hidden_dim", 0, INTEGER),
    (SharedMoE, "hidden_dim", "8", INTEGER),
    (SharedMoE, "top_k", 5, "an integer from 1 to 4 (num_experts=4)"),
    (SharedMoE, "top_k", 0, "an integer from 1 to 4 (num_experts=4)"),
    *((SharedMoE, "capacity_factor", value, CAPACITY) for value in (0, 0.0, -1, math.nan, math.inf, "1", True, [1.2])),
    *((SharedMoE, "eval_capacity_factor", value, CAPACITY) for value in (0, -1.5, math.nan, math.inf, "1")),
    (SharedMoE, "balance_weight", math.inf, "a finite number of at least 0"),
    (SharedMoE, "activation", "swish", ACTIVATION),
    (SharedMoE, "activation", None, ACTIVATION),
    (SharedMoE, "dropout", 1.0, RATE),
    (SharedMoE, "dropout", -0.1, RATE),
    (SharedMoE, "dropout", math.nan, RATE),
    (IndividualLayerNorm, "depth", 0, INTEGER),
    (IndividualLayerNorm, "depth", None, INTEGER),
    (IndividualLayerNorm, "epsilon", 0, "a finite number above 0"),
    (IndividualLayerNorm, "epsilon", -1e-6, "a finite number above 0"),
    (IndividualLayerNorm, "epsilon", math.nan, "a finite number above 0"),
    (SelfAttention, "width", 0, INTEGER),
    (SelfAttention, "heads", 3, "a divisor of width=8"),
    (SelfAttention, "heads", 0, INTEGER),
    (SelfAttention, "heads", 2.0, INTEGER),
    (SelfAttention, "dropout", 1, RATE),
    (SelfAttention, "attention_dropout", 1.0, RATE),
    (SelfAttention, "attention_dropout", "0.1", RATE),
    (FeedForward, "hidden_dim", 0, INTEGER),
    (FeedForward, "activation", "Gelu", ACTIVATION),
    (FeedForward, "dropout", 2, RATE),
    (Encoder, "depth", 0, INTEGER),
    (Encoder, "width", -8, INTEGER),
    (Encoder, "heads", 3, "a divisor of width=8"),
    (Encoder, "ffn_dim", 0, INTEGER),
    (Encoder, "expert_dim", 0, INTEGER),
    (Encoder, "num_experts", 0, INTEGER),
    (Encoder, "top_k", 5, "an integer from 1 to 4 (num_experts=4)"),
    (Encoder, "capacity_factor", 0, CAPACITY),
    (Encoder, "eval_capacity_factor", math.nan, CAPACITY),
    (Encoder, "activation", "elu", ACTIVATION),
    (Encoder, "dropout", 1.0, RATE),
    (Encoder, "attention_dropout", 1.0, RATE),
    (Encoder, "drop_path", 1.0, RATE),
    (Encoder, "drop_path", -0.5, RATE),
    (Encoder, "norm_epsilon", 0, "a finite number above 0"),
    (Encoder, "deployment", "widenet", "a widenet.Deployment"),
    (Encoder, "deployment", None, "a widenet.Deployment"),
    (Deployment, "attention_groups", 0, "an integer of at least 1, or None for one a block"),
    (Deployment, "ffn_groups", -1, "an integer of at least 1, or None for one a block"),
    (Deployment, "norm_groups", "all", "an integer of at least 1, or None for one a block"),
    (Deployment, "routing_groups", 1.0, "an integer of at least 1, or None for one a block"),
    (Deployment, "moe_blocks", "last", 'an integer of at least 0, "all" or a tuple of block indices'),
    (Deployment, "moe_blocks", -1, 'an integer of at least 0, "all" or a tuple of block indices'),
    (Deployment, "moe_blocks", None, 'an integer of at least 0, "all" or a tuple of block indices'),
    (Deployment, "norm_position", "middle", "one of 'pre', 'post'"),
    (Deployment, "norm_position", None, "one of 'pre', 'post'"),
]


def assert_refused(build, setting, value, allowed):
    with pytest.raises(ValueError, match=rf"^{re.escape(f'{setting}={value!r}')} .*{re.escape(allowed)}"):
        build()


@pytest.mark.parametrize(("layer", "setting", "value", "allowed"), WRONG)
def test_wrong_setting(layer, setting, value, allowed):
    settings = {**REQUIRED[layer], setting: value}
    assert_refused(lambda: layer(**settings), setting, value, allowed)


@pytest.mark.parametrize("layer", REQUIRED)
def test_the_settings_above_are_all_right_but_for_the_wrong_one(layer):
    layer(**REQUIRED[layer])


@pytest.mark.parametrize("layer", [Router, SharedMoE, SelfAttention, FeedForward, Encoder])
@pytest.mark.parametrize(
    "initializer",
    [
        tf.keras.initializers.GlorotUniform(seed=1),
        tf.keras.initializers.TruncatedNormal(stddev=0.02, seed=0),
        {"class_name": "GlorotNormal", "config": {"seed": 3}},
    ],
    ids=["instance", "seed of zero", "config"],
)
def test_seeded_initializer(layer, initializer):
    """A seed would make all experts, and all blocks, start equal."""
    with pytest.raises(ValueError, match=r"kernel_initializer=.*'seed': \d.*without a seed"):
        layer(**REQUIRED[layer], kernel_initializer=initializer)


@pytest.mark.parametrize("layer", [Router, SharedMoE, SelfAttention, FeedForward, Encoder])
@pytest.mark.parametrize("initializer", [None, 5, "no_such", {"class_name": "NoSuch", "config": {}}])
def test_no_initializer(layer, initializer):
    with pytest.raises(ValueError, match=r"kernel_initializer=.* a Keras initializer"):
        layer(**REQUIRED[layer], kernel_initializer=initializer)


@pytest.mark.parametrize("layer", [Router, SharedMoE, IndividualLayerNorm, SelfAttention, FeedForward, Encoder])
def test_unknown_setting(layer):
    with pytest.raises(ValueError, match=rf"units=8 is not a setting of {layer.__name__}.*known: .*name, dtype, trainable"):
        layer(**REQUIRED[layer], units=8)


@pytest.mark.parametrize(
    ("layer", "wrong", "meant"),
    [
        (Router, "topk", "top_k"),
        (SharedMoE, "capacity_faktor", "capacity_factor"),
        (IndividualLayerNorm, "epsylon", "epsilon"),
        (SelfAttention, "drop_out", "dropout"),
        (FeedForward, "activations", "activation"),
        (Encoder, "num_expert", "num_experts"),
    ],
)
def test_misspelt_setting_names_the_nearest(layer, wrong, meant):
    with pytest.raises(ValueError, match=rf"{wrong}=1 is not a setting.*did you mean {meant}\?.*known: .*{meant}"):
        layer(**REQUIRED[layer], **{wrong: 1})


@pytest.mark.parametrize("setting", ["noise", "renormalize"])
@pytest.mark.parametrize("layer", [Router, SharedMoE, Encoder])
@pytest.mark.parametrize("value", ["off", None, 0.0])
def test_switches_are_true_or_false(layer, setting, value):
    """The string "off" would switch something on."""
    with pytest.raises(ValueError, match=rf"{setting}={value!r} is not allowed"):
        layer(**REQUIRED[layer], **{setting: value})


@pytest.mark.parametrize("setting", ["attention_groups", "ffn_groups", "norm_groups", "routing_groups"])
def test_more_groups_than_blocks(setting):
    allowed = "an integer from 1 to 3 (depth=3), or None for one a block"
    deployment = Deployment(**{setting: 4})
    assert_refused(lambda: deployment.blocks(3), setting, 4, allowed)
    assert_refused(lambda: Encoder(**REQUIRED[Encoder], deployment=deployment), setting, 4, allowed)
    Encoder(**{**REQUIRED[Encoder], "depth": 4}, deployment=deployment)


@pytest.mark.parametrize(
    ("value", "allowed"),
    [
        (4, "an integer from 0 to 3 (depth=3)"),
        ((0, 3), "block indices from 0 to 2 (depth=3)"),
        ((7,), "block indices from 0 to 2 (depth=3)"),
    ],
)
def test_moe_blocks_outside_the_depth(value, allowed):
    assert_refused(lambda: Encoder(**REQUIRED[Encoder], deployment=Deployment(moe_blocks=value)), "moe_blocks", value, allowed)


@pytest.mark.parametrize("block", [-1, 1.0, "0", True])
def test_moe_block_that_no_depth_has(block):
    assert_refused(lambda: Deployment(moe_blocks=(0, block)), "moe_blocks", block, "an integer of at least 0")


@pytest.mark.parametrize("depth", [0, -1, 2.0, None])
def test_depth_of_a_deployment(depth):
    assert_refused(lambda: Deployment().blocks(depth), "depth", depth, INTEGER)


@pytest.mark.parametrize("name", ["GELU", "", None, 1])
def test_unknown_activation(name):
    assert_refused(lambda: get_activation(name), "activation", name, ACTIVATION)


def test_bounds_of_each_check():
    """What lies just inside passes."""
    check_count("n", 1)
    check_count("n", 0, minimum=0)
    check_count("n", 3, maximum=3)
    check_rate("r", 0)
    check_rate("r", 0.999)
    check_not_negative("x", 0)
    check_positive("x", 5e-324)
    check_choice("c", "a", ("a", "b"))
    check_known({"a": 1}, ("a",), "setting")


@pytest.mark.parametrize(
    ("check", "args", "message"),
    [
        (check_count, ("n", 0), "n=0 is not allowed: it must be an integer of at least 1"),
        (check_count, ("n", 4, 1, 3, " (depth=3)"), "n=4 is not allowed: it must be an integer from 1 to 3 (depth=3)"),
        (check_count, ("n", False, 0), "n=False is not allowed: it must be an integer of at least 0"),
        (check_rate, ("r", 1), "r=1 is not allowed: it must be a number from 0 up to, not including, 1"),
        (check_rate, ("r", math.inf), "r=inf is not allowed: it must be a number from 0 up to, not including, 1"),
        (check_not_negative, ("x", -1e-9), "x=-1e-09 is not allowed: it must be a finite number of at least 0"),
        (check_positive, ("x", 0.0), "x=0.0 is not allowed: it must be a finite number above 0"),
        (check_choice, ("c", "z", ("a", "b")), "c='z' is not allowed: it must be one of 'a', 'b'"),
        (refuse, ("s", [1], "a string"), "s=[1] is not allowed: it must be a string"),
        (check_known, ({"dept": 3}, ("depth",), "setting"), "dept=3 is not a setting (did you mean depth?); known: depth"),
    ],
)
def test_messages(check, args, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check(*args)


# The table of settings


@pytest.mark.parametrize("layer", [Router, SharedMoE])
def test_signatures_have_the_defaults_of_the_table(layer):
    parameters = inspect.signature(layer.__init__).parameters
    for name, setting in layer.table.items():
        if name in parameters and name != "num_experts":
            assert parameters[name].default == setting.default, name


def test_positional_arguments():
    """Their names and order are public."""
    names = list(inspect.signature(Router).parameters)
    assert names[:5] == ["num_experts", "top_k", "noise", "renormalize", "balance_weight"]
    names = list(inspect.signature(SharedMoE).parameters)
    assert (
        names[:8] == "num_experts hidden_dim top_k capacity_factor eval_capacity_factor balance_weight noise renormalize".split()
    )
    assert names[8:10] == ["activation", "dropout"]


def test_every_setting_reaches_every_layer():
    """Given as one dict, as keywords, or read from a config; as attributes of encoder, MoE layer and router."""
    moe = other_moe_settings()
    assert all(value != MOE_SETTINGS[name].default for name, value in moe.items())
    encoder = Encoder(**REQUIRED[Encoder], moe=moe)
    flat = Encoder(**REQUIRED[Encoder], **moe)
    assert encoder.moe == flat.moe == Encoder.from_config(encoder.get_config()).moe == moe
    for name, value in moe.items():
        assert getattr(encoder, name) == getattr(encoder.moe_layers[0], name) == value
        assert getattr(encoder.moe_layers[0].router, name, value) == value
    assert Encoder(**REQUIRED[Encoder]).moe == {name: setting.default for name, setting in MOE_SETTINGS.items()}


def test_a_config_without_newer_settings_has_their_defaults():
    """As files from before a setting existed have it."""
    config = Encoder(**REQUIRED[Encoder], num_experts=3).get_config()
    old = {name: value for name, value in config.items() if name not in MOE_SETTINGS or name == "num_experts"}
    assert Encoder.from_config(old).get_config() == config


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(moe=4), "moe=4 is not allowed: it must be a dict of settings of widenet.SharedMoE"),
        (dict(moe={"num_expert": 3}), "num_expert=3 is not a setting of moe (did you mean num_experts?)"),
        (dict(moe={"width": 3}), "width=3 is not a setting of moe"),
        (dict(moe={"top_k": 5}), "top_k=5 is not allowed: it must be an integer from 1 to 4 (num_experts=4)"),
        (dict(moe={"top_k": 1}, top_k=2), "top_k=2 is not allowed: it must be given once: moe has top_k=1"),
    ],
)
def test_wrong_settings_of_moe(given, message):
    """Also where no block is an MoE."""
    with pytest.raises(ValueError, match=re.escape(message)):
        Encoder(**REQUIRED[Encoder], deployment=Deployment(moe_blocks=0), **given)
