"""Models with experts that are grown out of dense ones: the same function, what becomes of it in training, and refusals."""

import numpy as np
import pytest
import tensorflow as tf

import bert
import vision
from bert.transfer import grow_model as grow_text_model
from vision.transfer import grow_model as grow_image_model
from widenet import Deployment, Encoder, grow_model
from widenet.expert_load import recording_assignments
from widenet.weight_transfer import weights_by_name
from widenet.weight_transfer.block_router import BlockRouting, RouterFit, measure, record
from widenet.weight_transfer.growth import gate_lift

OWN = dict(attention_groups=None, ffn_groups=None)
BERT = dict(OWN, moe_blocks=0, norm_position="post")
VIT = dict(OWN, moe_blocks=0)
ALBERT = dict(moe_blocks=0, norm_groups=1, norm_position="post")
SHARED = dict(moe_blocks="all", ffn_groups=1)
# What a fitted router needs.
FITTED = dict(top_k=1, renormalize=True, capacity_factor=None, num_experts=3)


class Tiny(tf.keras.Model):
    """A model of an Encoder alone, which is made faster than a functional one."""

    def __init__(self, encoder):
        super().__init__(name="tiny")
        with tf.name_scope("encoder"):
            encoder.build((None, 5, encoder.width))
        self.encoder = encoder

    def call(self, x, training=None):
        return self.encoder(x, training=training)


def model(deployment, depth=3, seed=None, **settings):
    """A small model of tokens [batch, 5, 16]; with a seed all its weights are random, norms included."""
    settings = {**dict(width=16, heads=2, ffn_dim=24, num_experts=4), **settings}
    built = Tiny(Encoder(depth=depth, deployment=Deployment(**deployment), name="encoder", **settings))
    if seed is not None:
        random = np.random.default_rng(seed)
        for weight in built.weights:
            weight.assign(random.normal(0, 0.3, weight.shape))
    return built


def tokens(batch=8, seed=0, width=16):
    return np.random.default_rng(seed).normal(size=(batch, 5, width)).astype(np.float32)


def values(of):
    return {name: weight.numpy() for name, weight in weights_by_name(of).items()}


def assignments(child, x):
    """int [blocks, E], of all tokens outside training."""
    with recording_assignments() as records:
        child(x, training=False)
    return np.stack([record.numpy().sum(axis=0) for record in records])


def largest_gap(child, parent, x=None, **call):
    x = tokens() if x is None else x
    return float(np.abs(child(x, **call).numpy() - parent(x, **call).numpy()).max())


@pytest.mark.further_cases
@pytest.mark.parametrize(
    "parent, child, settings, gap",
    [
        (BERT, dict(BERT, moe_blocks="all"), dict(renormalize=True), 0),
        (BERT, dict(BERT, moe_blocks="all"), {}, 0),
        (BERT, dict(BERT, moe_blocks=(0, 2)), dict(num_experts=3, renormalize=True), 0),
        (VIT, dict(VIT, moe_blocks=2), dict(num_experts=8, top_k=4), 0),
        (VIT, dict(VIT, moe_blocks=1), dict(top_k=1), 0),
        (ALBERT, dict(moe_blocks="all", norm_position="post"), dict(num_experts=2), 0),
        (dict(VIT, attention_groups=1), dict(OWN, moe_blocks=3, routing_groups=1), {}, 0),
        # 1 / 3, 1 / 6 and 5 / 3 are rounded, once or twice for each term of the sum.
        (BERT, dict(BERT, moe_blocks="all"), dict(num_experts=3, top_k=3, renormalize=True), 2e-5),
        (BERT, dict(BERT, moe_blocks="all"), dict(num_experts=6), 2e-5),
        (VIT, dict(VIT, moe_blocks=2), dict(num_experts=5, top_k=3), 2e-5),
        (VIT, dict(VIT, moe_blocks=2), dict(expert_dim=40), 2e-5),  # the product with kernel_out may add in another order
    ],
)
def test_the_same_function(parent, child, settings, gap):
    """The very same numbers in float32 where the arithmetic is exact. 2e-5 is 30 roundings of outputs up to 10."""
    parent, child = model(parent, seed=1), model(child, seed=2, **settings)
    assert largest_gap(child, parent) > 0.1
    growth = grow_model(child, parent)
    assert largest_gap(child, parent) <= gap
    assert growth.own_share is growth.unexplained is None
    assert {row.result for row in growth.rows} <= {"loaded", "grown"}


def test_weights_by_hand():
    """Two experts of width 3 out of an FFN of width 2, E = 4 and K = 2: kernel_out and bias_out twice as large."""
    sizes = dict(width=2, heads=1, depth=1)
    parent, child = model(BERT, ffn_dim=2, **sizes), model(dict(BERT, moe_blocks="all"), ffn_dim=3, **sizes)
    start = values(child)
    given = {"kernel_in": [[1, 2], [3, 4]], "bias_in": [5, 6], "kernel_out": [[7, 8], [9, 10]], "bias_out": [11, 12]}
    for name, value in given.items():
        getattr(parent.get_layer("encoder").dense_layers[0], name).assign(value)
    rows = {row.weight: row for row in grow_model(child, parent).rows}
    found = values(child)
    np.testing.assert_array_equal(found["encoder/moe_0/router/kernel"], np.zeros([2, 4]))
    for e in range(4):
        expert = f"encoder/moe_0/expert_{e}/"
        np.testing.assert_array_equal(found[expert + "kernel_in"][:, :2], given["kernel_in"])
        np.testing.assert_array_equal(found[expert + "kernel_in"][:, 2], start[expert + "kernel_in"][:, 2])
        np.testing.assert_array_equal(found[expert + "bias_in"], [5, 6, 0])
        np.testing.assert_array_equal(found[expert + "kernel_out"], [[14, 16], [18, 20], [0, 0]])
        np.testing.assert_array_equal(found[expert + "bias_out"], [22, 24])
    assert start["encoder/moe_0/expert_0/kernel_in"][0, 2] != start["encoder/moe_0/expert_1/kernel_in"][0, 2]
    assert rows["encoder/moe_0/expert_0..3 <- ffn_0"][2:] == (
        "grown",
        "4 copies, kernel_out and bias_out times E / K = 2; 1 hidden units are new, with zeros in kernel_out",
    )


@pytest.mark.further_cases
@pytest.mark.parametrize("name, deployment", [("bert_tiny", {}), ("albert_tiny", dict(norm_groups=None))])
def test_text_models_with_padding(name, deployment):
    """BERT to experts in every block, ALBERT to WideNet: real tokens are the very same numbers."""
    sizes = dict(vocab_size=50, max_length=16, depth=2, width=16, heads=2, ffn_dim=32, expert_dim=32, embedding_dim=8)
    random = np.random.default_rng(0)
    mask = np.arange(9) < np.array([[9], [4], [1]])
    inputs = {
        "input_word_ids": random.integers(0, 50, mask.shape, np.int32),
        "input_mask": mask.astype(np.int32),
        "input_type_ids": random.integers(0, 2, mask.shape, np.int32),
    }
    parent = bert.create_model(name, **sizes)
    child = bert.create_model(name, **sizes, **deployment, moe_blocks="all", num_experts=4)
    for weight in parent.weights:
        weight.assign(random.normal(0, 0.3, weight.shape))
    rows = grow_text_model(child, parent).rows
    assert {"embedding", "pooler"} < {row.weight.split("/")[0] for row in rows if row.result == "loaded"}
    before, after = parent(inputs), child(inputs)
    np.testing.assert_array_equal(after["pooled_output"], before["pooled_output"])
    for theirs, ours in zip(before["encoder_outputs"], after["encoder_outputs"], strict=True):
        np.testing.assert_array_equal(ours.numpy()[mask], theirs.numpy()[mask])


@pytest.mark.further
def test_image_models():
    """ViT to ViT-MoE: the same logits; with another image size the positions are resampled as by transfer."""
    sizes = dict(image_size=8, patch_size=4, channels=1, classes=3, depth=3, width=16, heads=2, ffn_dim=32, expert_dim=32)
    parent = vision.create_model("vit_ti16", **sizes)
    for weight in parent.weights:
        weight.assign(tf.random.normal(weight.shape, stddev=0.3))
    images = tf.random.uniform((4, 8, 8, 1), -1, 1)
    child = vision.create_model("vit_ti16", **sizes, num_experts=4, moe_blocks=2)
    grow_image_model(child, parent)
    np.testing.assert_array_equal(child(images), parent(images))
    larger = vision.create_model("vit_ti16", **{**sizes, "image_size": 16}, num_experts=4, moe_blocks=2)
    rows = {row.weight: row for row in grow_image_model(larger, parent).rows}
    assert rows["embedding/position_embedding"].result == "resampled"


def test_training_begins_as_the_parent():
    """With noise and nothing dropped: two gates that add up to 1 within rounding, of outputs up to 10.

    Without renormalize the sum of a token's gates is larger; its mean is the one that the note tells.
    """
    parent = model(BERT, seed=1)
    child = model(dict(BERT, moe_blocks="all"), capacity_factor=None, renormalize=True)
    assert grow_model(child, parent).notes == []
    assert largest_gap(child, parent, training=True) < 2e-5
    child = model(dict(BERT, moe_blocks="all"), capacity_factor=None)
    (note,) = grow_model(child, parent).notes
    x = tokens(500)
    routing = child.get_layer("encoder").moe_layers[0].route(x, training=True)
    lift = 2 * float(tf.reduce_mean(tf.reduce_sum(routing.gates, axis=-1)))  # E / K is 2
    # A gate's deviation is 0.05 in 2,500 tokens: 0.01 is five deviations of the mean.
    assert abs(lift - gate_lift(4, 2)) < 0.01
    assert f"their sum is {gate_lift(4, 2):.2f} times" in note
    assert largest_gap(child, parent, training=True) > 0.01


def test_gate_lift():
    """All experts at once: the gates are all probabilities, whose sum is 1. One of two: the mean of sigmoid(|a - b|)."""
    assert abs(gate_lift(4, 4) - 1) < 1e-12
    assert f"{gate_lift(4, 2):.2f}" == "1.16"  # in docs/weights.md
    differences = np.linspace(-6, 6, 100_001) * np.sqrt(2) / 2  # a - b has the deviation sqrt(2) / E
    density = np.exp(-(np.linspace(-6, 6, 100_001) ** 2) / 2)
    expected = 2 * np.average(1 / (1 + np.exp(-np.abs(differences))), weights=density)
    assert abs(gate_lift(2, 1) - expected) < 2e-3  # 100,000 samples of deviation 0.1, four deviations of the mean


def gradients(child, x, y):
    """Of the experts' kernel_in in the first MoE layer."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(child(x, training=True) - y)) + tf.add_n(child.losses)
    kernels = [expert.kernel_in for expert in child.get_layer("encoder").moe_layers[0].experts]
    return [gradient.numpy() for gradient in tape.gradient(loss, kernels)]


@pytest.mark.train
def test_experts_become_different():
    """Their gradients differ at once. After 40 steps none is another's copy, and all are used, outside training too."""
    tf.keras.utils.set_random_seed(0)
    parent = model(BERT, depth=1, seed=1)
    child = model(dict(BERT, moe_blocks="all"), depth=1, renormalize=True, capacity_factor=2.0)
    grow_model(child, parent)
    x, y = tokens(32), tokens(32, seed=1)
    first, *others = gradients(child, x, y)
    assert all(np.linalg.norm(other - first) > 0.1 * np.linalg.norm(first) for other in others)
    optimizer = tf.keras.optimizers.Adam(1e-2)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(child(x, training=True) - y)) + tf.add_n(child.losses)
        optimizer.apply_gradients(zip(tape.gradient(loss, child.trainable_weights), child.trainable_weights, strict=True))

    for _ in range(40):
        step()
    kernels = [expert.kernel_in.numpy() for expert in child.get_layer("encoder").moe_layers[0].experts]
    assert all(np.abs(kernels[e] - kernels[j]).max() > 1e-3 for e in range(4) for j in range(e))
    assert (assignments(child, x) > 0).all()


@pytest.mark.parametrize("jitter", [0.0, 0.1])
def test_why_noise_is_needed(jitter):
    """Without it the two experts that all tokens go to have equal gradients, and the others none but those of nothing."""
    child = model(dict(BERT, moe_blocks="all"), renormalize=True, capacity_factor=None, noise=False, jitter=jitter)
    grown = model(dict(BERT, moe_blocks="all"), renormalize=True, capacity_factor=None)
    grow_model(grown, model(BERT, seed=1))
    child.set_weights(grown.get_weights())
    first, second, *others = gradients(child, tokens(), tokens(seed=1))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first).max() > 0
    assert not any(other.any() for other in others)


REFUSED = [
    (VIT, dict(OWN), dict(depth=4), r"depth=4 is not allowed: it must be 3, as of the model that it grows out of"),
    (VIT, dict(OWN), dict(depth=2), r"depth=2 is not allowed: it must be 3"),
    (VIT, dict(OWN), dict(width=32), r"width=32 is not allowed: it must be 16"),
    (VIT, dict(OWN), dict(heads=4), r"heads=4 is not allowed: it must be 2"),
    (VIT, dict(OWN), dict(activation="relu"), r"activation='relu' is not allowed: it must be 'gelu'"),
    (VIT, dict(OWN), dict(norm_epsilon=1e-12), r"norm_epsilon=1e-12 is not allowed: it must be 1e-06"),
    (VIT, dict(OWN, norm_position="post"), {}, r"norm_position='post' is not allowed: it must be 'pre'"),
    (dict(OWN, moe_blocks=2), dict(OWN), {}, r"must be dense \(moe_blocks=0\), and it has experts in blocks 1..2"),
    (VIT, VIT, {}, r"moe_blocks=0 is not allowed: it must be 'all'"),
    (VIT, dict(OWN, norm_groups=1), {}, r"norm_groups=1 is not allowed: it must be None"),
    (VIT, dict(moe_blocks=1), {}, r"ffn_groups=1 is not allowed: it must be None, or such that blocks 0..1 share nothing"),
    (VIT, dict(OWN, moe_blocks=1), dict(ffn_dim=40), r"ffn_dim=40 is not allowed: it must be 24"),
    (VIT, dict(OWN), dict(expert_dim=16), r"expert_dim=16 is not allowed: it must be at least 24"),
    (VIT, dict(OWN), dict(num_experts=1, top_k=1), r"num_experts=1 is not allowed: it must be an integer of at least 2"),
    (VIT, dict(OWN), dict(noise=False), r"noise=False is not allowed: it must be True"),
    (VIT, dict(OWN), dict(noise=False, jitter=0.1), r"noise=False is not allowed: it must be True"),
    (VIT, dict(OWN), dict(top_k=1, renormalize=True), r"renormalize=True is not allowed: it must be False with top_k=1"),
    (VIT, SHARED, {**FITTED, "num_experts": 4}, r"num_experts=4 is not allowed: it must be an integer from 2 to 3"),
    (VIT, SHARED, {**FITTED, "capacity_factor": 1.2}, r"capacity_factor=1.2 is not allowed: .* E / K = 3"),
    (VIT, SHARED, {**FITTED, "eval_capacity_factor": 2.0}, r"eval_capacity_factor=2.0 is not allowed: .* E / K = 3"),
    (VIT, dict(SHARED, routing_groups=2), FITTED, r"routing_groups=2 is not allowed: it must be None"),
    (VIT, SHARED, FITTED, r"inputs=None is not allowed: it must have at least two batches"),
]


@pytest.mark.parametrize("parent, child, settings, message", REFUSED)
def test_refused(parent, child, settings, message):
    """By the setting's name, and nothing is changed."""
    settings = dict(settings)
    child = model({"norm_position": parent.get("norm_position", "pre"), **child}, depth=settings.pop("depth", 3), **settings)
    before = values(child)
    with pytest.raises(ValueError, match=message):
        grow_model(child, model(parent))
    for name, array in values(child).items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    "given, message",
    [
        (dict(experts=[0, 1]), "experts=.0, 1. is not allowed: it must be 3 blocks"),
        (dict(experts=[0, 1, 1]), "experts=.* is not allowed: it must be 3 different ones of blocks 0..2"),
        (dict(experts=[0, 1, 3]), "experts=.* is not allowed: it must be 3 different ones of blocks 0..2"),
        (dict(attention=[0, 1]), "attention=.0, 1. is not allowed: it must be a list of 1, a block for each"),
        (dict(attention=[3]), "attention=.3. is not allowed: it must be one of blocks 0..2 for attention 0"),
    ],
)
def test_refused_blocks(given, message):
    with pytest.raises(ValueError, match=message):
        grow_model(model(SHARED, **FITTED), model(VIT), inputs=[tokens()] * 2, **given)


def test_blocks_for_copies_are_refused():
    with pytest.raises(ValueError, match="experts=.0. is not allowed: it must be left out"):
        grow_model(model(OWN), model(VIT), experts=[0])


def test_evaluation_capacity_is_warned_of():
    child = model(OWN, renormalize=True, eval_capacity_factor=1.5)
    (note,) = grow_model(child, model(VIT)).notes
    assert note.startswith("eval_capacity_factor=1.5 drops tokens at first")
    assert grow_model(model(OWN, renormalize=True, eval_capacity_factor=2.0), model(VIT)).notes == []


def distinct(depth=3, **settings):
    """A post-norm parent whose blocks have inputs that a linear router can tell apart: their norms have different betas."""
    parent = model(BERT, depth=depth, seed=1, **settings)
    beta = np.zeros([depth, 16])
    beta[np.arange(depth), np.arange(depth)] = 8
    parent.get_layer("encoder").attention_norm.beta.assign(beta)
    return parent


def test_a_router_that_knows_the_blocks():
    """Three FFNs become three experts of a WideNet. With every token at its own the function is the parent's (2e-5 as above)."""
    parent = distinct()
    child = model(dict(SHARED, attention_groups=None, norm_position="post"), **FITTED)
    growth = grow_model(child, parent, inputs=[tokens(seed=seed) for seed in range(4)])
    assert growth.own_share == [1, 1, 1]
    assert max(growth.unexplained) < 1e-9
    assert largest_gap(child, parent) < 2e-5
    assert [note.split()[0] for note in growth.notes] == ["balance_weight=0.01", "top_k=1"]


def test_endless_inputs_are_read_as_far_as_needed(monkeypatch):
    monkeypatch.setattr("widenet.weight_transfer.block_router.FITTED_TOKENS", 100)
    read = []

    def endless():
        while True:
            read.append(None)
            yield tokens(seed=len(read))

    grow_model(model(dict(SHARED, attention_groups=None, norm_position="post"), **FITTED), distinct(), inputs=endless())
    assert len(read) == 6  # of 40 tokens: three batches are fitted to, and the second and the sixth are kept


def test_ridge_regression():
    """By another formula: least squares with sqrt(r) times the identity as further rows. First of a model, then of two."""
    parent, other = distinct(), model(BERT, seed=5)
    batches = [tokens(seed=seed) for seed in range(4)]
    fit = RouterFit(parent, [BlockRouting(0, {0: 0, 1: 1, 2: 2}, (2, 0, 1))], batches)
    assert fit.targets == {0: 1, 1: 2, 2: 0}
    assert [batch is batches[1] for batch in fit.held_out] == [True]
    inputs = {b: [] for b in range(3)}
    for added in (parent, other):
        if added is other:
            fit.add(other)
        for b in inputs:
            inputs[b] += [record(added, batches[i])[b][0].numpy().astype(np.float64) for i in (0, 2, 3)]
        h = np.concatenate([h for of_block in inputs.values() for h in of_block])
        y = np.repeat(np.eye(3)[[1, 2, 0]], len(h) // 3, axis=0)
        r = 1e-5 * np.square(h).sum() / 16
        h, y = np.concatenate([h, np.sqrt(r) * np.eye(16)]), np.concatenate([y, np.zeros([16, 3])])
        expected = 20 * np.linalg.lstsq(h, y, rcond=None)[0]
        np.testing.assert_allclose(fit.kernels()[0], expected, rtol=0, atol=1e-8 * np.abs(expected).max())


def test_fewer_experts_than_blocks():
    """A block without an expert of its own goes to the one whose FFN is the nearest for its inputs: here a copy of its own."""
    parent = distinct(depth=4)
    ffns = parent.get_layer("encoder").dense_layers
    for b, like in ((1, 3), (2, 0)):
        ffns[b].set_weights([weight * np.float32(1.01) for weight in ffns[like].get_weights()])
    child = model(dict(SHARED, attention_groups=1, norm_position="post"), depth=4, **{**FITTED, "num_experts": 2})
    growth = grow_model(child, parent, experts=[3, 0], attention=[2], inputs=[tokens(seed=seed) for seed in range(4)])
    found, theirs = values(child), values(parent)
    np.testing.assert_array_equal(found["encoder/moe_0/expert_0/kernel_in"], theirs["encoder/ffn_3/kernel_in"])
    np.testing.assert_array_equal(found["encoder/moe_0/expert_1/kernel_out"], theirs["encoder/ffn_0/kernel_out"])
    np.testing.assert_array_equal(found["encoder/attention_0/key/kernel"], theirs["encoder/attention_2/key/kernel"])
    for b, expert in ((1, 0), (2, 1)):
        routed = child.get_layer("encoder").moe_layers[0].route(record(parent, tokens(seed=9))[b][0][tf.newaxis])
        assert set(routed.experts.numpy().ravel()) == {expert}
    assert len(growth.own_share) == len(growth.unexplained) == 4
    rows = {row.weight: row for row in growth.rows}
    assert rows["encoder/attention_0 <- attention_2"].reason == "of 4 in the source"
    assert rows["encoder/ffn_1..2"].result == rows["encoder/attention_0..1, 3"].result == "dropped"
    assert rows["encoder/moe_0/router"][2:] == ("grown", "fitted to know a block from its input")


@pytest.mark.further_cases
@pytest.mark.parametrize(
    "depth, experts, expected", [(6, 4, [0, 2, 3, 5]), (6, 6, [0, 1, 2, 3, 4, 5]), (6, 2, [0, 5]), (4, 3, [0, 2, 3])]
)
def test_experts_are_spread_evenly(depth, experts, expected):
    parent = model(VIT, depth=depth, seed=1)
    child = model(dict(SHARED, attention_groups=None), depth=depth, **{**FITTED, "num_experts": experts})
    grow_model(child, parent, inputs=[tokens(1)] * 2)
    for e, b in enumerate(expected):
        theirs = values(parent)[f"encoder/ffn_{b}/kernel_in"]
        np.testing.assert_array_equal(values(child)[f"encoder/moe_0/expert_{e}/kernel_in"], theirs)


def test_measure():
    """Against NumPy on the outputs of the encoders themselves, with a child that is another model."""
    parent, child = model(BERT, seed=1), model(dict(BERT, moe_blocks="all"), seed=2)
    own_share, unexplained = measure(child, parent, {1: 3}, [tokens(seed=0), tokens(seed=1)])
    x = np.concatenate([tokens(seed=0), tokens(seed=1)])
    theirs, ours = (
        np.stack(m.get_layer("encoder")(x, details=True).block_outputs).astype(np.float64).reshape(3, -1, 16)
        for m in (parent, child)
    )
    expected = np.square(ours - theirs).sum(axis=(1, 2)) / np.square(theirs - theirs.mean(axis=1, keepdims=True)).sum(axis=(1, 2))
    np.testing.assert_allclose(unexplained, expected, rtol=1e-5)  # float32 outputs
    counts = assignments(child, x)
    assert own_share == [counts[1, 3] / (16 * 5)]
