"""The encoder under different deployments: which weights exist, who uses them, and the two formulas for a block."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from tests.widenet import reference
from widenet import Deployment, Encoder
from widenet.expert_load import recording

DEPTH, WIDTH, HEADS, FFN, EXPERT, EXPERTS = 5, 8, 2, 12, 10, 3

# For L = 5: two groups are 0 0 0 1 1, three are 0 0 1 1 2.
DEPLOYMENTS = {
    "widenet": Deployment(),
    "vit": Deployment(None, None, None, None, 0),
    "vit_moe": Deployment(None, None, None, None, 2),
    "albert": Deployment(1, 1, 1, 1, 0, "post"),
    "widenet_text": Deployment(norm_position="post"),
    "runs": Deployment(attention_groups=2, ffn_groups=3, norm_groups=2, routing_groups=2),
    "mixed": Deployment(attention_groups=3, ffn_groups=2, norm_groups=3, routing_groups=3, moe_blocks=(1, 2, 4)),
    "mixed_post": Deployment(attention_groups=2, ffn_groups=1, routing_groups=2, moe_blocks=(0, 3), norm_position="post"),
}

# The instance that each block uses, written out: attention, norm, dense FFN, MoE, and the MoE whose router routes it.
INSTANCES = {
    "widenet": ("00000", "01234", "-----", "00000", "00000"),
    "vit": ("01234", "01234", "01234", "-----", "-----"),
    "vit_moe": ("01234", "01234", "012--", "---01", "---01"),
    "albert": ("00000", "00000", "00000", "-----", "-----"),
    "widenet_text": ("00000", "01234", "-----", "00000", "00000"),
    "runs": ("00011", "00011", "-----", "00112", "00011"),
    "mixed": ("00112", "00112", "0--1-", "-00-1", "-00-1"),
    "mixed_post": ("00011", "01234", "-00-0", "0--0-", "0--0-"),
}


def tokens(batch=2, length=6, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=(batch, length, WIDTH)).astype(dtype)


MASK = np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]], bool)


def new_encoder(deployment=DEPLOYMENTS["widenet"], depth=DEPTH, scale=0.5, **kwargs):
    settings = {"expert_dim": EXPERT, "num_experts": EXPERTS, "noise": False, **kwargs}
    encoder = Encoder(depth, WIDTH, HEADS, FFN, deployment=deployment, **settings)
    encoder.build((None, None, WIDTH))
    reference.randomize(encoder, scale=scale)
    return encoder


def number(instances):
    return len(set(instances) - {"-"})


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_which_weights_exist(name):
    encoder = new_encoder(DEPLOYMENTS[name])
    attention, norm, dense, moe = map(number, INSTANCES[name][:4])
    assert (len(encoder.attentions), len(encoder.dense_layers), len(encoder.moe_layers)) == (attention, dense, moe)
    assert encoder.attention_norm.depth == encoder.ffn_norm.depth == norm
    assert (encoder.final_norm is None) == (DEPLOYMENTS[name].norm_position == "post")
    of_ffn = 2 * WIDTH * FFN + FFN + WIDTH
    of_moe = WIDTH * EXPERTS + EXPERTS * (2 * WIDTH * EXPERT + EXPERT + WIDTH)
    norms = 2 * norm + (encoder.final_norm is not None)
    assert encoder.count_params() == attention * 4 * (WIDTH**2 + WIDTH) + dense * of_ffn + moe * of_moe + norms * 2 * WIDTH
    names = [weight.name for weight in encoder.weights]
    assert len(set(names)) == len(names)
    assert len(encoder.trainable_weights) == len(encoder.weights)


def test_weight_names_tell_kernels_biases_and_norms_apart():
    """Optimizers exclude weights by patterns of their names, and vectors are exactly what they exclude."""
    for weight in new_encoder(DEPLOYMENTS["mixed"]).weights:
        last = weight.name.split("/")[-1]
        assert ("norm" in weight.name) == last.startswith(("gamma", "beta"))
        assert last.startswith("bias") == (weight.shape.rank == 1), weight.name
        assert last.startswith(("bias", "kernel", "gamma", "beta"))


class Spy:
    """Runs an encoder and tells which blocks change what they compute when some of its weights change.

    It keeps the input and output of every block's norms, attention and FFN or MoE in a first run. In a later one it hands each of
    them its old input again, so that only those whose own weights have changed give something else.
    """

    def __init__(self, encoder):
        self.encoder = encoder
        self.weights = encoder.get_weights()
        self.replay = None
        kinds = {
            "attention": encoder.attentions,
            "ffn": [*encoder.dense_layers, *encoder.moe_layers],
            "attention norm": [encoder.attention_norm],
            "ffn norm": [encoder.ffn_norm],
        }
        for kind, layers in kinds.items():
            for layer in layers:
                layer.call = self.spied(kind, layer.call)
        self.replay, self.before = self.run()

    def spied(self, kind, call):
        def spying_call(x, *args, **kwargs):
            if self.replay is not None:
                x = self.replay[kind][len(self.inputs[kind])]
            output = call(x, *args, **kwargs)
            # A call that only routes belongs to the one that follows.
            if not kwargs.get("route_only"):
                self.inputs[kind].append(x)
                self.outputs[kind].append(output)
            return output

        return spying_call

    def run(self):
        """{kind: its input in each block}, {kind: its output in each block}."""
        self.inputs, self.outputs = collections.defaultdict(list), collections.defaultdict(list)
        self.encoder(tokens())
        return dict(self.inputs), dict(self.outputs)

    def moved_by(self, *variables, row=...):
        """{kind: the blocks in which it moves} when the variables, or one row of each, change; without kinds that do not."""
        for variable in variables:
            value = variable.numpy()
            value[row] += 0.1 * np.random.default_rng(1).normal(size=value[row].shape)
            variable.assign(value)
        _, after = self.run()
        self.encoder.set_weights(self.weights)
        moved = {}
        for kind, outputs in after.items():
            pairs = zip(outputs, self.before[kind], strict=True)
            moved[kind] = {block for block, (new, old) in enumerate(pairs) if np.any(new.numpy() != old.numpy())}
        return {kind: blocks for kind, blocks in moved.items() if blocks}


def users(instances, index):
    """The blocks that use instance `index`, from a row of INSTANCES."""
    return {block for block, instance in enumerate(instances) if instance == str(index)}


def with_further(names):
    """The mixed deployments have all that the others have, which are further cases."""
    return [name if name.startswith("mixed") else pytest.param(name, marks=pytest.mark.further) for name in names]


@pytest.mark.parametrize("name", with_further(["widenet", "vit_moe", "runs", "mixed", "mixed_post"]))
def test_which_blocks_use_which_weights(name):
    """Every instance of every component, and every row of every bank of norms, is changed alone.

    Exactly the blocks that share it compute something else, and in them nothing but that component.
    """
    encoder = new_encoder(DEPLOYMENTS[name])
    spy = Spy(encoder)
    assert {kind: len(outputs) for kind, outputs in spy.before.items()} == dict.fromkeys(spy.before, DEPTH)
    attention, norm, dense, moe, router = INSTANCES[name]
    for i, layer in enumerate(encoder.attentions):
        assert spy.moved_by(*layer.trainable_weights) == {"attention": users(attention, i)}
    for i, layer in enumerate(encoder.dense_layers):
        assert spy.moved_by(*layer.trainable_weights) == {"ffn": users(dense, i)}
    for i, layer in enumerate(encoder.moe_layers):
        experts = [weight for expert in layer.experts for weight in expert.trainable_weights]
        assert spy.moved_by(*experts) == {"ffn": users(moe, i)}
        by_router = users(router, i)
        assert spy.moved_by(layer.router.kernel) == ({"ffn": by_router} if by_router else {})
    for i in range(number(norm)):
        assert spy.moved_by(encoder.attention_norm.gamma, row=i) == {"attention norm": users(norm, i)}
        assert spy.moved_by(encoder.ffn_norm.beta, row=i) == {"ffn norm": users(norm, i)}


@pytest.mark.parametrize("masked", [True, pytest.param(False, marks=pytest.mark.further)])
@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_against_the_formulas_in_float64(name, masked):
    """Pre-norm x + f(norm(x)) with a final norm, post-norm norm(x + f(x)), in NumPy; training and evaluation.

    All weights are random, so that a wrong instance anywhere shows.
    """
    encoder = new_encoder(DEPLOYMENTS[name], capacity_factor=0.8, balance_weight=0.5, norm_epsilon=1e-3, dtype="float64")
    x, mask = tokens(dtype=np.float64), MASK if masked else None
    for training in (False, True):
        expected, calls = reference.encode(encoder, x, mask, training)
        np.testing.assert_allclose(encoder(x, mask=mask, training=training), expected, atol=1e-11)
        real = None if mask is None else mask.reshape(-1)
        balance = [0.5 * reference.balance_loss(c.routing.probabilities, c.routing.experts, real) for c in calls if c.new]
        np.testing.assert_allclose(encoder.losses, balance if training else [], atol=1e-11)


def test_float32_within_1e_5_of_float64():
    """At the size of weights that initializers give, where five blocks do not blow up rounding."""
    encoder = new_encoder(scale=0.2)
    expected, _ = reference.encode(encoder, tokens(dtype=np.float64), training=True)
    np.testing.assert_allclose(encoder(tokens(), training=True), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("routing_groups", "moe_blocks", "terms"),
    [(1, "all", 1), (2, "all", 2), (3, "all", 3), (None, "all", 5), (2, (0, 1), 1), (2, (0, 4), 2), (None, 2, 2), (3, 0, 0)],
)
def test_one_balance_term_a_routing(routing_groups, moe_blocks, terms):
    """G routing groups of L blocks make exactly G terms, of the groups that have an MoE block; none in evaluation."""
    deployment = Deployment(routing_groups=routing_groups, moe_blocks=moe_blocks)
    encoder = new_encoder(deployment)
    for training, expected in ((True, terms), (False, 0), (None, 0), (True, terms)):
        encoder(tokens(), training=training)
        assert len(encoder.losses) == expected


def test_balance_weight_of_zero_adds_nothing():
    encoder = new_encoder(balance_weight=0.0)
    encoder(tokens(), training=True)
    assert encoder.losses == []


@pytest.mark.parametrize("name", with_further(DEPLOYMENTS))
def test_details(name):
    """Every block's output, against encoders that end after that block, and the balance against the formula in float64."""
    encoder = new_encoder(DEPLOYMENTS[name], scale=0.2, balance_weight=0.5)
    post_norm = encoder.final_norm is None
    encoding = encoder(tokens(), mask=MASK, details=True)
    np.testing.assert_array_equal(encoding.output, encoder(tokens(), mask=MASK))
    assert len(encoding.block_outputs) == DEPTH
    last = encoding.block_outputs[-1]
    np.testing.assert_array_equal(encoding.output, last if post_norm else encoder.final_norm(last, 0))
    x, calls = reference.encode(encoder, tokens(dtype=np.float64), MASK)
    np.testing.assert_allclose(encoding.output, x, atol=1e-5)
    terms = [0.5 * reference.balance_loss(c.routing.probabilities, c.routing.experts, MASK.reshape(-1)) for c in calls if c.new]
    np.testing.assert_allclose(encoding.balance_loss, sum(terms), rtol=1e-5)
    # The encoder goes on from what it says that a block gave.
    blocks = encoder.blocks
    for first in range(1, DEPTH):
        if blocks[first].routing == blocks[first - 1].routing:
            continue  # the rest would need the routing of the blocks before
        encoder.blocks, drop_paths = blocks[first:], encoder._drop_paths
        encoder._drop_paths = drop_paths[first:]
        rest = encoder(encoding.block_outputs[first - 1], mask=MASK)
        encoder.blocks, encoder._drop_paths = blocks, drop_paths
        np.testing.assert_allclose(rest, encoding.output, atol=1e-5)


def test_balance_of_the_details_is_what_training_adds():
    """With noise, which both see alike; a gradient flows through either."""
    encoder = new_encoder(DEPLOYMENTS["mixed"], noise=True, balance_weight=0.5)
    kernel = encoder.moe_layers[0].router.kernel
    with tf.GradientTape(persistent=True) as tape:
        encoding = encoder(tokens(), mask=MASK, training=True, details=True)
        added = tf.add_n(encoder.losses)
    np.testing.assert_allclose(encoding.balance_loss, added, rtol=1e-6)
    expected = tape.gradient(added, kernel)
    assert np.max(np.abs(expected)) > 1e-3
    np.testing.assert_allclose(tape.gradient(encoding.balance_loss, kernel), expected, atol=1e-6)


def test_a_mask_of_integers():
    encoder = new_encoder(scale=0.2)
    for training in (False, True):
        expected = encoder(tokens(), mask=MASK, training=training)
        np.testing.assert_array_equal(encoder(tokens(), mask=MASK.astype(np.int32), training=training), expected)
    assert encoder.compute_mask(None, MASK.astype(np.int32)).dtype == tf.bool


def test_routing_groups_reuse_the_routing():
    """Two blocks of one routing group, by hand: the second block gets the routing of the first."""
    encoder = new_encoder(Deployment(routing_groups=1), depth=2)
    attention, moe = encoder.attentions[0], encoder.moe_layers[0]
    x = tf.constant(tokens())
    routing = None
    for block in range(2):
        x += attention(encoder.attention_norm(x, block))
        h = encoder.ffn_norm(x, block)
        routing = moe.route(h) if routing is None else routing
        x += moe(h, routing=routing)
    np.testing.assert_allclose(encoder(tokens()), encoder.final_norm(x, 0), atol=1e-5)
    of_its_own = new_encoder(Deployment(routing_groups=None), depth=2)
    assert np.max(np.abs(of_its_own(tokens()) - encoder(tokens()))) > 1e-3  # same weights, other routings


def test_blocks_of_a_routing_group_have_equal_loads():
    """The reused routing is the recorded one: two groups of five blocks are 0 0 0 1 1."""
    encoder = new_encoder(Deployment(routing_groups=2))
    with recording() as records:
        encoder(tokens())
    balances = [float(record.balance) for record in records]
    assert balances[0] == balances[1] == balances[2] != balances[3] == balances[4]


def test_dropouts_are_off_in_evaluation():
    encoder = new_encoder(dropout=0.5, attention_dropout=0.5, drop_path=0.5)
    plain = new_encoder()
    for training in (None, False):
        np.testing.assert_array_equal(encoder(tokens(), training=training), plain(tokens(), training=training))


@pytest.mark.parametrize("rate", ["dropout", "attention_dropout", "drop_path"])
@pytest.mark.parametrize("moe_blocks", ["all", pytest.param(0, marks=pytest.mark.further)])
def test_each_dropout_is_on_in_training(rate, moe_blocks):
    deployment = Deployment(moe_blocks=moe_blocks)
    encoder = new_encoder(deployment, capacity_factor=None, **{rate: 0.5})
    plain = new_encoder(deployment, capacity_factor=None)
    np.testing.assert_allclose(plain(tokens(), training=True), plain(tokens()), atol=1e-5)
    assert np.max(np.abs(encoder(tokens(), training=True) - plain(tokens()))) > 0.01


@pytest.mark.parametrize("norm_position", ["pre", "post"])
def test_drop_path_drops_whole_examples_and_scales_the_rest(norm_position):
    """Three blocks with rates 0, 0.3 and 0.6: each branch is absent or divided by 1 - rate, for all tokens of an example.

    All 2**4 outcomes of blocks 1 and 2 are computed by hand; every example must be one of them. 2 * 300 draws of each rate have
    a standard deviation of 0.02.
    """
    count = 300
    deployment = Deployment(moe_blocks=0, norm_position=norm_position)
    encoder = new_encoder(deployment, depth=3, drop_path=0.6)
    start = tf.constant(tokens(count, 3))
    attention, ffn, pre = encoder.attentions[0], encoder.dense_layers[0], norm_position == "pre"
    outcomes = {(): start}
    for block, rate in enumerate((0.0, 0.3, 0.6)):
        for branch, bank in ((attention, encoder.attention_norm), (ffn, encoder.ffn_norm)):
            reached = {}
            for drops, x in outcomes.items():
                residual = branch(bank(x, block)) if pre else branch(x)
                for dropped in (False, True) if rate else (False,):
                    y = x + (0 if dropped else 1) * residual / (1 - rate)
                    reached[(*drops, dropped)] = y if pre else bank(y, block)
            outcomes = reached
    drops = np.array(list(outcomes))
    assert drops.shape == (16, 6)
    outcomes = np.stack([encoder.final_norm(x, 0) if pre else x for x in outcomes.values()])

    output = encoder(start, training=True).numpy()
    distance = np.max(np.abs(outcomes - output), axis=(2, 3))  # [16, count]
    assert np.max(np.min(distance, axis=0)) < 1e-4
    assert np.all(np.sort(distance, axis=0)[1] > 1e-3)  # and only one outcome fits
    happened = drops[np.argmin(distance, axis=0)]  # [count, 6]
    np.testing.assert_allclose(np.mean(happened, axis=0), [0, 0, 0.3, 0.3, 0.6, 0.6], atol=0.12)


def test_noise_reaches_the_output_in_training_only():
    encoder = new_encoder(noise=True, capacity_factor=None)
    np.testing.assert_array_equal(encoder(tokens()), encoder(tokens()))
    assert np.max(np.abs(encoder(tokens(), training=True) - encoder(tokens(), training=True))) > 1e-3


def test_expert_dim_defaults_to_ffn_dim():
    encoder = Encoder(2, WIDTH, HEADS, 20, num_experts=2)
    encoder.build((None, None, WIDTH))
    assert encoder.moe_layers[0].experts[0].kernel_in.shape == (WIDTH, 20)


@pytest.mark.parametrize("name", ["widenet", "mixed_post"])
def test_an_example_does_not_depend_on_its_batch_mates(name):
    """In evaluation no token is dropped, so hostile mates, all of one token, change nothing beyond rounding."""
    encoder = new_encoder(DEPLOYMENTS[name], scale=0.2)
    x = tokens(1)
    mates = np.tile(tokens(1, 1, seed=7), (6, 6, 1))
    np.testing.assert_allclose(encoder(np.concatenate([mates, x]))[-1:], encoder(x), atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["widenet", "mixed_post"])
def test_padding_changes_nothing(name, training):
    """Also in training with a capacity: the same real tokens are kept whatever the amount of padding."""
    encoder = new_encoder(DEPLOYMENTS[name], scale=0.2, capacity_factor=0.7)
    x, mask = tokens(), MASK
    expected = encoder(x, mask=mask, training=training).numpy()
    losses = [float(loss) for loss in encoder.losses]
    for amount in (1, 10):
        more = np.pad(x, [(0, 0), (0, amount), (0, 0)], constant_values=5.0)
        more_mask = np.pad(mask, [(0, 0), (0, amount)])
        output = encoder(more, mask=more_mask, training=training).numpy()
        np.testing.assert_allclose(output[more_mask], expected[mask], atol=1e-5)
        np.testing.assert_allclose(encoder.losses, losses, rtol=1e-4)
    if not training:
        # An example alone, without its padding and its mate.
        np.testing.assert_allclose(encoder(x[:1, :4], training=False), expected[:1, :4], atol=1e-5)


def test_mask_that_keras_carries_with_the_tokens():
    encoder = new_encoder(scale=0.2)
    ids = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 1, 2]])
    x = tf.keras.layers.Embedding(7, WIDTH, mask_zero=True)(ids)
    y = encoder(x, training=True)
    np.testing.assert_allclose(y, encoder(x.numpy(), mask=ids > 0, training=True), atol=1e-5)
    np.testing.assert_array_equal(y._keras_mask, ids > 0)


@pytest.mark.parametrize("case", ["no example", "no token", "all masked"])
def test_nothing_real_gives_finite_outputs_and_gradients(case):
    encoder = new_encoder(DEPLOYMENTS["mixed"], noise=True)
    shape = {"no example": (0, 6, WIDTH), "no token": (2, 0, WIDTH), "all masked": (2, 6, WIDTH)}[case]
    mask = tf.zeros(shape[:2], tf.bool) if case == "all masked" else None
    x = tf.ones(shape)
    with tf.GradientTape() as tape:
        output = encoder(x, mask=mask, training=True)
        total = tf.reduce_sum(output**2) + tf.add_n(encoder.losses)
    assert output.shape == shape
    assert np.all(np.isfinite(output)) and np.isfinite(total)
    np.testing.assert_array_equal(encoder.losses, np.zeros(3))
    for gradient in tape.gradient(total, encoder.trainable_weights, unconnected_gradients="zero"):
        assert np.all(np.isfinite(tf.convert_to_tensor(gradient)))


def test_instances_start_different():
    """Separate attention, FFN and MoE instances draw their own kernels, each with Glorot's deviation (6 % for 2048 values)."""
    encoder = Encoder(2, 32, 4, 64, num_experts=2, deployment=Deployment(None, None, moe_blocks="all"))
    encoder.build((None, None, 32))
    kernels = [np.asarray(attention.query.kernel) for attention in encoder.attentions]
    for kernel in kernels:
        np.testing.assert_allclose(np.std(kernel), np.sqrt(2 / 64), rtol=0.08)
    assert abs(np.corrcoef(kernels[0].ravel(), kernels[1].ravel())[0, 1]) < 0.2
    experts = [np.asarray(expert.kernel_in) for moe in encoder.moe_layers for expert in moe.experts]
    for i in range(4):
        np.testing.assert_allclose(np.std(experts[i]), np.sqrt(2 / 96), rtol=0.06)
        for j in range(i):
            assert abs(np.corrcoef(experts[i].ravel(), experts[j].ravel())[0, 1]) < 0.12
    routers = [np.asarray(moe.router.kernel) for moe in encoder.moe_layers]
    assert np.max(np.abs(routers[0] - routers[1])) > 0.01


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "float64"])
def test_sublayers_have_the_encoders_precision(dtype):
    encoder = Encoder(2, WIDTH, HEADS, FFN, num_experts=2, deployment=Deployment(moe_blocks=1), dtype=dtype)
    encoder.build((None, None, WIDTH))
    policy = tf.keras.mixed_precision.Policy(dtype)
    layers = [*encoder.attentions, *encoder.dense_layers, *encoder.moe_layers, encoder.attention_norm, encoder.final_norm]
    assert {layer.compute_dtype for layer in layers} == {policy.compute_dtype}
    assert {weight.dtype.name for weight in encoder.weights} == {policy.variable_dtype}
