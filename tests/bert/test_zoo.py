"""The table of text models: exact parameter counts, names, settings and refusals."""

import re

import pytest
import tensorflow as tf
from ml_collections import ConfigDict

import bert
from tests.bert.batches import TINY
from tests.widenet.settings import other_moe_settings
from widenet.layer import check_initializer
from widenet.routing import MOE_SETTINGS

NAMES = [
    "bert_tiny",
    "bert_small",
    "bert_base",
    "albert_tiny",
    "albert_small",
    "albert_base",
    "widenet_tiny_e4",
    "widenet_tiny_e8",
    "widenet_tiny_e16",
    "widenet_small_e4",
    "widenet_small_e8",
    "widenet_small_e16",
    "widenet_base_e4",
    "widenet_base_e8",
    "widenet_base_e16",
]

# A value other than the default for every setting a user may change, all of them possible together at the tiny size.
OVERRIDES = dict(
    classes=5,
    vocab_size=60,
    max_length=20,
    type_vocab_size=3,
    embedding_dim=10,
    embedding_projection=True,
    pool="mean",
    depth=3,
    width=24,
    heads=3,
    ffn_dim=40,
    expert_dim=20,
    **other_moe_settings(),
    kernel_initializer="he_normal",
    kernel_regularizer="l1",
    activation="relu",
    dropout=0.2,
    attention_dropout=0.3,
    drop_path=0.3,
    norm_epsilon=1e-5,
    attention_groups=2,
    ffn_groups=2,
    norm_groups=2,
    routing_groups=2,
    moe_blocks=(0, 2),
    norm_position="pre",
)


def count(name, task="encoder", **overrides):
    """Parameters of a model. Inside a tf.Graph no initial value is computed: the shapes alone take a fraction of the time."""
    with tf.Graph().as_default():
        return bert.create_model(name, task, **overrides).count_params()


def full(*values):
    """Values of a test that takes seconds, of which `make test` runs one of a kind."""
    return pytest.param(*values, marks=pytest.mark.size)


@pytest.mark.further_cases
@pytest.mark.parametrize(
    "name, overrides, expected",
    [
        ("albert_base", {}, 11_683_584),
        ("bert_base", {}, 89_650_176),
        ("widenet_base_e4", {}, 25_887_744),
        full("widenet_base_e8", {}, 44_780_544),
        full("widenet_base_e16", {}, 82_566_144),
        full("bert_base", dict(attention_groups=1, ffn_groups=1, norm_groups=1), 11_683_584),
        full("albert_base", dict(moe_blocks="all", norm_groups=None, num_experts=16), 82_566_144),
        full("widenet_base_e4", dict(moe_blocks=0, norm_groups=1), 11_683_584),
        full("widenet_base_e4", dict(routing_groups=3), 25_887_744),
    ],
)
def test_paper_counts(name, overrides, expected):
    """The paper's text models to the parameter (it prints 12M, 89M, 26M, 45M and 83M), and how one becomes another."""
    assert count(name, **overrides) == expected


def reference_count(name, task="encoder", words=30000, classes=2):
    """Any model of the zoo from the sizes alone; heads split the width and add nothing."""
    family, size, *experts = name.split("_")
    embedding, width, hidden, depth = {
        "tiny": (64, 128, 512, 4),
        "small": (128, 256, 1024, 6),
        "base": (128, 768, 3072, 12),
    }[size]

    def dense(inputs, outputs):
        return inputs * outputs + outputs

    attention, feed_forward, norms = 4 * dense(width, width), dense(width, hidden) + dense(hidden, width), 4 * width
    total = (words + 512 + 2 + 2) * embedding + dense(embedding, width)
    if family == "bert":
        total += depth * (attention + feed_forward + norms)
    elif family == "albert":
        total += attention + feed_forward + norms
    else:
        number = int(experts[0][1:])
        total += attention + number * (feed_forward + width) + depth * norms
    if task == "span":
        return total + dense(width, 2)
    total += dense(width, width)
    if task == "classification":
        total += dense(width, classes)
    if task == "pretraining":
        total += dense(width, embedding) + 2 * embedding + words + dense(width, 2)
    return total


@pytest.mark.further_cases
@pytest.mark.parametrize("name", [full(name) if "base" in name or "_e16" in name or "_e8" in name else name for name in NAMES])
def test_counts(name):
    """Every model by a formula of its own."""
    assert count(name) == reference_count(name)


@pytest.mark.further_cases
@pytest.mark.parametrize("task, settings", [("pretraining", {}), ("span", {}), ("classification", dict(classes=7))])
def test_counts_of_tasks(task, settings):
    """Heads alone: the matrix from the masked-word head to the words is the embedding's, and is counted once."""
    assert count("widenet_tiny_e4", task, **settings) == reference_count("widenet_tiny_e4", task, **settings)


def test_reference_count_agrees_with_the_paper():
    """The formula above is worth something only if it also gives the paper's counts."""
    assert reference_count("albert_base") == 11_683_584
    assert reference_count("bert_base") == 89_650_176
    assert [round(reference_count(f"widenet_base_e{n}") / 1e6, 1) for n in (4, 8, 16)] == [25.9, 44.8, 82.6]


def test_list_models():
    """The names are public; a new one must be added here on purpose. A user who empties the list does not change the zoo."""
    bert.list_models().clear()
    assert bert.list_models() == NAMES


def test_list_models_by_pattern():
    assert bert.list_models("albert*") == ["albert_tiny", "albert_small", "albert_base"]
    assert bert.list_models("gpt*") == []


def test_names():
    """Of the Keras model, and of the zoo as a keyword."""
    assert bert.create_model("bert_tiny", "span", name="mine", **TINY).name == "mine"
    assert bert.create_model(name="bert_tiny", task="span", **TINY).name == "bert_tiny"


@pytest.mark.parametrize(
    "elsewhere, here",
    [
        ("num_labels", "classes"),
        ("hidden_size", "width"),
        ("num_hidden_layers", "depth"),
        ("num_attention_heads", "heads"),
        ("intermediate_size", "ffn_dim"),
        ("hidden_act", "activation"),
        ("hidden_dropout_prob", "dropout"),
        ("max_position_embeddings", "max_length"),
        ("vocabulary_size", "vocab_size"),
        ("embedding_size", "embedding_dim"),
    ],
)
def test_names_of_other_libraries(elsewhere, here):
    with pytest.raises(ValueError, match=f"^{elsewhere}=1 is not a setting of bert_tiny: it is called {here} here; known: "):
        bert.create_model("bert_tiny", **{elsewhere: 1})


def test_settings_are_exactly_the_documented_ones():
    """A setting that no document names, or a documented one that is missing, is a mistake."""
    for name in NAMES:
        assert set(bert.model_settings(name)) == set(OVERRIDES)


@pytest.mark.parametrize("setting", OVERRIDES)
def test_every_override_reaches_the_settings(setting):
    """Each override alone changes its own setting and no other."""
    changed = bert.model_settings("widenet_base_e4", **{setting: OVERRIDES[setting]})
    default = bert.model_settings("widenet_base_e4")
    assert {key for key in default if changed[key] != default[key]} == {setting}
    assert changed[setting] == OVERRIDES[setting]


def test_every_override_reaches_the_model():
    """All of them at once: what is built has these values and not the defaults."""
    model = bert.create_model("widenet_tiny_e4", "classification", **OVERRIDES)
    encoder, embedding = model.get_layer("encoder"), model.get_layer("embedding")
    for setting in ("depth width heads ffn_dim expert_dim activation dropout attention_dropout drop_path norm_epsilon").split():
        assert getattr(encoder, setting) == OVERRIDES[setting], setting
    for setting in "attention_groups ffn_groups norm_groups routing_groups moe_blocks norm_position".split():
        assert getattr(encoder.deployment, setting) == OVERRIDES[setting], setting
    for setting in "vocab_size max_length type_vocab_size embedding_dim width dropout norm_epsilon".split():
        assert getattr(embedding, setting) == OVERRIDES[setting], setting
    assert model.get_layer("pooled_dropout").rate == 0.2
    assert model.output_shape == (None, 5)
    assert [block.is_moe for block in encoder.blocks] == [True, False, True]
    for setting in MOE_SETTINGS:
        assert getattr(encoder, setting) == OVERRIDES[setting], setting
        assert getattr(encoder.moe_layers[0], setting) == OVERRIDES[setting], setting
        assert getattr(encoder.moe_layers[0].router, setting, OVERRIDES[setting]) == OVERRIDES[setting], setting


def test_settings_of_the_masked_word_head():
    model = bert.create_model("widenet_tiny_e4", "pretraining", **OVERRIDES)
    head = model.get_layer("mlm_logits")
    assert (head.embedding_dim, head.activation, head.norm_epsilon) == (10, "relu", 1e-5)
    assert head.bias.shape == (60,)


@pytest.mark.parametrize(
    "wrong, near",
    [("albert_bas", "albert_base"), ("widenet_base", "widenet_base_e8"), ("widenet_base_16", "widenet_base_e16")],
)
def test_unknown_model(wrong, near):
    """A wrong name is answered with the nearest and with all of them."""
    for function in (bert.create_model, bert.model_settings):
        with pytest.raises(ValueError, match=re.escape(repr(wrong))) as error:
            function(wrong)
        assert f"did you mean {near}?" in str(error.value)
        assert all(name in str(error.value) for name in NAMES)


@pytest.mark.parametrize("wrong, near", [("vocabsize", "vocab_size"), ("clases", "classes"), ("norm_group", "norm_groups")])
def test_unknown_setting(wrong, near):
    """A typo must not be swallowed: it is answered with its value, the nearest setting and all of them."""
    for function in (bert.create_model, bert.model_settings):
        with pytest.raises(ValueError, match=f"{wrong}=7") as error:
            function("widenet_base_e4", **{wrong: 7})
        assert f"did you mean {near}?" in str(error.value)
        assert all(setting in str(error.value) for setting in OVERRIDES)


@pytest.mark.parametrize(
    "setting, value, allowed",
    [
        ("task", "classify", "'encoder', 'pretraining', 'classification', 'span'"),
        ("classes", 0, "at least 1"),
        ("vocab_size", None, "an integer"),
        ("vocab_size", 0, "at least 1"),
        ("max_length", 0, "at least 1"),
        ("type_vocab_size", -1, "at least 1"),
        ("embedding_dim", 0, "at least 1"),
        ("width", 0, "at least 1"),
        ("heads", 3, "divisor of width=8"),
        ("top_k", 5, "from 1 to 4"),
        ("activation", "swishy", "'gelu'"),
        ("dropout", 1.0, "from 0 up to"),
        ("norm_epsilon", 0, "above 0"),
        ("norm_groups", 3, "from 1 to 2"),
        ("moe_blocks", 3, "from 0 to 2"),
        ("norm_position", "middle", "'pre', 'post'"),
    ],
)
def test_refused_values(setting, value, allowed):
    """Every wrong value is refused before anything is built, by setting, value and what is allowed."""
    with pytest.raises(ValueError, match=re.escape(f"{setting}={value!r} is not allowed")) as error:
        bert.create_model("widenet_tiny_e4", **{**TINY, setting: value})
    assert allowed in str(error.value).partition("must be")[2]


@pytest.mark.further_cases
@pytest.mark.parametrize("task", ["pretraining", "classification", "span"])
def test_kernel_initializer_is_of_every_kernel_and_embedding(task):
    """And of nothing else."""
    model = bert.create_model("widenet_tiny_e4", task, **{**TINY, "moe_blocks": 1}, kernel_initializer="ones")
    for weight in model.weights:
        name = weight.name.rsplit("/", 1)[-1].removesuffix(":0")
        set_to_ones = name.startswith(("kernel", "gamma")) or name.endswith("_embedding")
        assert bool(tf.reduce_all(weight == 1)) == set_to_ones, weight.name


def test_kernels_start_as_berts_do():
    """A normal distribution of standard deviation 0.02, cut off at two of them: its own deviation is 0.88 of that."""
    model = bert.create_model("bert_tiny", "classification", vocab_size=30, depth=1)
    kernel = model.get_layer("encoder").dense_layers[0].kernel_in.numpy()
    assert abs(kernel).max() <= 0.04
    assert kernel.std() == pytest.approx(0.88 * 0.02, rel=0.02)


def test_an_initializer_that_was_read_from_a_recipe():
    """A recipe's config holds the dict of an initializer as a ConfigDict."""
    config = ConfigDict(bert.model_settings("bert_tiny"))
    assert isinstance(config.kernel_initializer, ConfigDict)
    assert check_initializer("kernel_initializer", config.kernel_initializer).stddev == 0.02
