"""An encoder that starts from another: which weights, and the same function where the deployments allow it."""

import numpy as np
import pytest
import tensorflow as tf

from widenet import Deployment, Encoder
from widenet.weight_transfer import transfer_encoder, weights_by_name

ONE_A_BLOCK = dict(attention_groups=None, ffn_groups=None)


def encoder(depth=4, width=16, deployment=None, **settings):
    """A small built Encoder, all of whose weights, norms and biases included, are random."""
    settings = dict(dict(heads=2, ffn_dim=24, num_experts=3, noise=False), **settings)
    built = Encoder(depth=depth, width=width, deployment=Deployment(**(deployment or {})), name="encoder", **settings)
    with tf.name_scope("encoder"):
        built.build((None, 5, width))
    for weight in built.weights:
        weight.assign(tf.random.normal(weight.shape, stddev=0.3))
    return built


def saved(source):
    """What a file of the encoder holds."""
    return {name: weight.numpy() for name, weight in weights_by_name(source).items()}


def start(target, weights):
    """Assigns what is taken, and returns {row.weight: row}; whatever is not taken must be told as fresh, and only that."""
    values, rows = transfer_encoder(target, weights)
    for name, weight in weights_by_name(target).items():
        if name in values:
            assert values[name].shape == weight.shape
            weight.assign(values[name])
    assert values.keys() <= weights_by_name(target).keys()
    assert len({row.weight for row in rows}) == len(rows)
    return {row.weight: row for row in rows}


def outputs(layer):
    return layer(np.random.default_rng(0).normal(size=(3, 5, layer.width)).astype(np.float32)).numpy()


def loaded(rows):
    return {name for name, row in rows.items() if row.result == "loaded"}


@pytest.mark.further_cases
@pytest.mark.parametrize(
    "before, after",
    [
        ({}, ONE_A_BLOCK),
        ({}, dict(attention_groups=2, ffn_groups=None)),
        (dict(attention_groups=2, ffn_groups=2), dict(attention_groups=4, ffn_groups=None)),
        (ONE_A_BLOCK, ONE_A_BLOCK),
        (dict(moe_blocks=0), dict(ONE_A_BLOCK, moe_blocks=0)),
        (dict(moe_blocks=2), dict(ONE_A_BLOCK, moe_blocks=2)),
        (dict(moe_blocks=(0, 2)), dict(moe_blocks=(0, 2))),
        (dict(norm_groups=1), {}),
        (dict(norm_position="post"), dict(norm_position="post", attention_groups=None)),
    ],
)
def test_sharing_less_is_the_same_function(before, after):
    """Each block computes with the very numbers that it had.

    Outside training no expert's capacity is limited, so nothing depends on how the layers are made. The same operations on the
    same numbers: 1e-6 is for threads that add in another order.
    """
    source, target = encoder(deployment=before), encoder(deployment=after)
    expected = outputs(source)
    assert abs(outputs(target) - expected).max() > 0.1
    rows = start(target, saved(source))
    assert {row.result for row in rows.values()} == {"loaded"}
    np.testing.assert_allclose(outputs(target), expected, rtol=0, atol=1e-6)


def test_table_of_sharing_less():
    rows = start(encoder(deployment=ONE_A_BLOCK), saved(encoder()))
    assert rows["encoder/attention_0..3 <- attention_0"].reason == "shared in the source"
    assert rows["encoder/moe_0..3 <- moe_0"].shape == "[16, 3], [16, 24], [24], [24, 16], [16]"
    assert rows["encoder/attention_norm"].reason == ""


def test_sharing_more():
    """One instance of four: the first, and the table says so and names those without a place."""
    source, target = encoder(deployment=ONE_A_BLOCK), encoder(deployment=dict(norm_groups=1))
    weights = saved(source)
    rows = start(target, weights)
    found = saved(target)
    np.testing.assert_array_equal(found["encoder/attention_0/key/kernel"], weights["encoder/attention_0/key/kernel"])
    np.testing.assert_array_equal(found["encoder/moe_0/expert_2/bias_in"], weights["encoder/moe_0/expert_2/bias_in"])
    np.testing.assert_array_equal(found["encoder/ffn_norm/gamma"], weights["encoder/ffn_norm/gamma"][:1])
    assert rows["encoder/attention_0"].reason == rows["encoder/ffn_norm"].reason == "the first of 4"
    assert rows["encoder/attention_1..3"][2:] == ("dropped", "no block of the model takes it")
    assert rows["encoder/moe_1..3"].result == "dropped"


def test_twice_as_deep():
    """Block b of 4 takes block b * 2 // 4 of 2, norms included."""
    source, target = encoder(2, deployment=ONE_A_BLOCK), encoder(4, deployment=ONE_A_BLOCK)
    weights = saved(source)
    rows = start(target, weights)
    found = saved(target)
    for i, j in enumerate([0, 0, 1, 1]):
        for part in ("attention_{}/query/kernel", "moe_{}/router/kernel", "moe_{}/expert_1/kernel_out"):
            np.testing.assert_array_equal(found["encoder/" + part.format(i)], weights["encoder/" + part.format(j)])
        np.testing.assert_array_equal(found["encoder/attention_norm/beta"][i], weights["encoder/attention_norm/beta"][j])
    assert rows["encoder/attention_0..3 <- attention_0..1"].reason == "i takes i * 2 // 4"


def test_dense_to_experts():
    """Attention and norms are taken; experts keep their initial values, and the table says why; and the other way round."""
    dense, moe = encoder(deployment=dict(ONE_A_BLOCK, moe_blocks=0)), encoder()
    for source, target, fresh, dropped in ((dense, moe, "moe_0", "ffn_0..3"), (encoder(), dense, "ffn_0..3", "moe_0")):
        before, weights = saved(target), saved(source)
        rows = start(target, weights)
        found = saved(target)
        for name, array in found.items():
            if "/moe_" in name or "/ffn_0" in name:
                np.testing.assert_array_equal(array, before[name])
        np.testing.assert_array_equal(found["encoder/ffn_norm/gamma"], weights["encoder/ffn_norm/gamma"])
        np.testing.assert_array_equal(found["encoder/attention_0/value/bias"], weights["encoder/attention_0/value/bias"])
        assert rows[f"encoder/{fresh}"].result == "fresh"
        assert "cannot start from" in rows[f"encoder/{fresh}"].reason
        assert rows[f"encoder/{dropped}"][2:] == ("dropped", "the model has none")


def test_a_vit_becomes_a_vit_moe():
    """The blocks that stay dense keep their FFNs, each its own."""
    source = encoder(deployment=dict(ONE_A_BLOCK, moe_blocks=0))
    target = encoder(deployment=dict(ONE_A_BLOCK, moe_blocks=1))
    weights = saved(source)
    rows = start(target, weights)
    for i in range(3):
        np.testing.assert_array_equal(saved(target)[f"encoder/ffn_{i}/bias_in"], weights[f"encoder/ffn_{i}/bias_in"])
    assert rows["encoder/moe_0"].result == "fresh"
    assert rows["encoder/ffn_3"].result == "dropped"


@pytest.mark.parametrize(
    "setting, value, fresh, reason",
    [
        ("num_experts", 5, {"moe_0"}, "router/kernel [16, 5], in the source [16, 3]"),
        ("expert_dim", 40, {"moe_0"}, "expert_0/kernel_in [16, 40], in the source [16, 24]"),
    ],
)
def test_other_experts(setting, value, fresh, reason):
    """All of an MoE layer or nothing: a router of other experts is of no use."""
    target = encoder(**{setting: value})
    before = saved(target)
    rows = start(target, saved(encoder()))
    assert {name for name, row in rows.items() if row.result == "fresh"} == {f"encoder/{name}" for name in fresh}
    assert rows["encoder/moe_0"].reason == reason
    np.testing.assert_array_equal(saved(target)["encoder/moe_0/expert_0/bias_out"], before["encoder/moe_0/expert_0/bias_out"])


def test_other_width():
    """Nothing is taken, with both shapes."""
    rows = start(encoder(width=32), saved(encoder()))
    assert {row.result for row in rows.values()} == {"fresh"}
    assert rows["encoder/attention_0"].reason == "query/kernel [32, 32], in the source [16, 16]"
    assert rows["encoder/ffn_norm"].reason == "gamma [4, 32], in the source [4, 16]"


def test_other_norm_position():
    """Norms at another place are other norms, whatever their shape."""
    rows = start(encoder(deployment=dict(norm_position="post")), saved(encoder()))
    assert loaded(rows) == {"encoder/attention_0", "encoder/moe_0"}
    assert rows["encoder/ffn_norm"].reason == "after attention and FFN, in the source before"
    assert rows["encoder/final_norm"].result == "dropped"
    back = start(encoder(), saved(encoder(deployment=dict(norm_position="post"))))
    assert back["encoder/ffn_norm"].reason == "before attention and FFN, in the source after them"
    assert back["encoder/final_norm"][2:] == ("fresh", "not in the source")


def test_what_is_missing_and_what_is_unknown():
    """A weight that the source lacks, and a layer that the target does: told, and the rest taken."""
    weights = saved(encoder())
    del weights["encoder/attention_0/key/bias"]
    weights["encoder/adapter/kernel"] = np.zeros((2, 3))
    weights["other/kernel"] = np.zeros(1)
    rows = start(encoder(), weights)
    assert rows["encoder/attention_0"][2:] == ("fresh", "key/bias is not in the source")
    assert rows["encoder/adapter"] == ("encoder/adapter", "[2, 3]", "dropped", "the model has none")
    assert "encoder/moe_0" in loaded(rows)
    assert "other" not in str(rows)
    assert {row.reason for row in start(encoder(), {}).values()} == {"not in the source"}
