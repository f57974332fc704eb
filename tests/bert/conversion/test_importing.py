"""Models of Hugging Face's layout against NumPy: what is loaded, what is dropped, and what is refused."""

import numpy as np
import pytest

import bert
from bert.conversion.importing import convert
from official.conversion.source import open_source
from tests.bert.batches import random_batch
from tests.bert.conversion.foreign import ALBERT, BERT, TOKENS, gelu, linear, norm, outputs, random_tensors, shapes, write

WORDS = len(TOKENS)


def assert_same(model, config, tensors):
    """In float32, through up to five blocks of values of about 1, against float64."""
    batch = random_batch(lengths=(7, 5, 2), padded=3, words=WORDS)
    ours = model(batch)
    blocks, pooled = outputs(config, tensors, batch)
    real = batch["input_mask"] > 0
    for block, expected in zip(ours["encoder_outputs"], blocks, strict=True):
        np.testing.assert_allclose(block.numpy()[real], expected[real], rtol=0, atol=2e-5)
    np.testing.assert_allclose(ours["pooled_output"], pooled, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    "config",
    [
        BERT,
        dict(ALBERT, num_hidden_layers=3, num_hidden_groups=2, embedding_size=8),
        pytest.param(dict(ALBERT, hidden_act="gelu"), marks=pytest.mark.further),
        pytest.param(dict(BERT, hidden_act="relu", num_attention_heads=4), marks=pytest.mark.further),
        pytest.param(dict(ALBERT, num_hidden_groups=3, num_hidden_layers=5), marks=pytest.mark.further),
    ],
    ids=["bert", "albert-2-groups-equal-widths", "albert", "bert-relu", "albert-3-groups"],
)
def test_equal_to_numpy(config, tmp_path):
    tensors = random_tensors(shapes(config))
    model = bert.load_model(write(tmp_path, config, tensors))
    assert_same(model, config, tensors)
    family = config["model_type"]
    assert model.name == f"{family}_l{config['num_hidden_layers']}_h8"


def test_settings_come_from_the_config(tmp_path):
    source = open_source(write(tmp_path, BERT, random_tensors(shapes(BERT))))
    settings = convert(source, bert.model_settings).settings
    expected = dict(vocab_size=WORDS, width=8, depth=2, heads=2, ffn_dim=12, max_length=16, type_vocab_size=2, embedding_dim=8)
    expected |= dict(norm_epsilon=1e-5, activation="gelu", dropout=0.1, attention_dropout=0.0, task="encoder", moe_blocks=0)
    assert {name: settings[name] for name in expected} == expected


def test_older_names_prefixes_and_copies(tmp_path):
    """gamma and beta, "bert." before the encoder's names, a buffer of positions, and the matrix of the masked words twice."""
    tensors = random_tensors(shapes(BERT) | mlm_shapes(BERT))
    old = {}
    for name, value in tensors.items():
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        old[name if name.startswith("cls.") else f"bert.{name}"] = value
    old["bert.embeddings.position_ids"] = np.arange(16)[np.newaxis]
    old["cls.predictions.decoder.weight"] = tensors["embeddings.word_embeddings.weight"]
    old["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"]
    source = open_source(write(tmp_path, BERT, old))
    converted = convert(source, bert.model_settings)
    dropped = {row.weight: row.reason for row in converted.rows if row.result == "dropped"}
    assert dropped == {
        "bert.embeddings.position_ids": "numbers that follow from the shape",
        "cls.predictions.decoder.weight": "equal to the word embedding",
        "cls.predictions.decoder.bias": "equal to the other bias",
    }
    assert len(converted.rows) == len(old)
    assert converted.settings["task"] == "pretraining"
    encoder = convert(open_source(tmp_path), bert.model_settings, {"task": "encoder"})
    assert_equal(encoder, convert(open_source(write(tmp_path / "plain", BERT, without(tensors, "cls."))), bert.model_settings))


def assert_equal(converted, expected):
    assert converted.settings == expected.settings
    assert converted.weights.keys() == expected.weights.keys()
    for name, value in expected.weights.items():
        np.testing.assert_array_equal(converted.weights[name], value)


def mlm_shapes(config):
    width = config["hidden_size"]
    found = linear("cls.predictions.transform.dense", width, width) | norm("cls.predictions.transform.LayerNorm", width)
    return found | {"cls.predictions.bias": (config["vocab_size"],)} | linear("cls.seq_relationship", width, 2)


def test_every_head(tmp_path):
    """Logits by hand from the encoder's outputs, which the test above holds."""
    batch = random_batch(lengths=(7, 5, 2), padded=1, predictions=2, words=WORDS)
    encoder = random_tensors(shapes(BERT))
    for head in (linear("classifier", 8, 3), linear("qa_outputs", 8, 2), mlm_shapes(BERT)):
        tensors = encoder | random_tensors(head, seed=1)
        named = {name if name in head else f"bert.{name}": value for name, value in tensors.items()}
        model = bert.load_model(write(tmp_path, BERT, named))
        blocks, pooled = outputs(BERT, tensors, batch)

        def apply(x, name, tensors=tensors):
            return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

        if "classifier.weight" in head:
            np.testing.assert_allclose(model(batch), apply(pooled, "classifier"), rtol=0, atol=2e-5)
        elif "qa_outputs.weight" in head:
            real = batch["input_mask"] > 0
            np.testing.assert_allclose(model(batch).numpy()[real], apply(blocks[-1], "qa_outputs")[real], rtol=0, atol=2e-5)
        else:
            ours = model(batch)
            np.testing.assert_allclose(ours["next_sentence"], apply(pooled, "cls.seq_relationship"), rtol=0, atol=2e-5)
            x = gelu(apply(blocks[-1], "cls.predictions.transform.dense"))
            x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + BERT["layer_norm_eps"])
            gamma, beta = (tensors[f"cls.predictions.transform.LayerNorm.{part}"] for part in ("weight", "bias"))
            logits = (x * gamma + beta) @ tensors["embeddings.word_embeddings.weight"].T + tensors["cls.predictions.bias"]
            expected = np.take_along_axis(logits, batch["masked_lm_positions"][..., np.newaxis], axis=1)
            np.testing.assert_allclose(ours["mlm_logits"], expected, rtol=0, atol=5e-5)


def changed(tensors, **others):
    return {**tensors, **others}


def without(tensors, start):
    return {name: value for name, value in tensors.items() if not name.startswith(start)}


PLAIN = random_tensors(shapes(BERT))
LAST = "encoder.layer.1.output.LayerNorm.bias"
CLASSIFIER = random_tensors(linear("classifier", 8, 3))
REFUSED = {
    "relative positions": (dict(BERT, position_embedding_type="relative_key"), PLAIN, "position_embedding_type='relative_key'"),
    "roberta": (
        dict(BERT, model_type="roberta"),
        PLAIN,
        "model_type='roberta'.*: its positions begin",
    ),
    "roberta without config": (
        None,
        {**PLAIN, "embeddings.token_type_embeddings.weight": np.zeros((1, 8), np.float32)},
        "no config.json and one type of segments, as RoBERTa has",
    ),
    "images": (
        dict(BERT, model_type="vit"),
        {"vit.a": np.zeros(2, np.float32)},
        "model_type='vit'.*for the command vision.convert",
    ),
    "another type": (dict(BERT, model_type="gpt2"), PLAIN, "model_type='gpt2', which must be bert or albert"),
    "decoder": (dict(BERT, is_decoder=True), PLAIN, "is_decoder=True"),
    "activation": (dict(BERT, hidden_act="quick_gelu"), PLAIN, "hidden_act='quick_gelu', which must be one of gelu"),
    "no activation": (dict(BERT, hidden_act=["gelu"]), PLAIN, r"hidden_act=\['gelu'\], which must be one of gelu"),
    "no type": (dict(BERT, model_type=5), PLAIN, "model_type=5, which must be bert or albert"),
    "epsilon": (dict(BERT, layer_norm_eps="x"), PLAIN, "config.json: layer_norm_eps='x' is not allowed"),
    "deviation": (dict(BERT, initializer_range="x"), PLAIN, "config.json: initializer_range='x' is not allowed"),
    "dropout": (dict(BERT, hidden_dropout_prob=1), PLAIN, "config.json: hidden_dropout_prob=1 is not allowed"),
    "no number": (dict(BERT, num_hidden_layers="4"), PLAIN, "num_hidden_layers='4' must be a whole number"),
    "inner groups": (dict(ALBERT, inner_group_num=2), random_tensors(shapes(ALBERT)), "inner_group_num=2"),
    "width": (
        dict(BERT, hidden_size=16),
        PLAIN,
        r"word_embeddings.* the shape \[30, 8\].*vocab_size=30, hidden_size=16",
    ),
    "hidden width": (dict(BERT, intermediate_size=13), PLAIN, r"has the shape \[12, 8\].*intermediate_size=13.*needs \[13, 8\]"),
    "words": (dict(BERT, vocab_size=31), PLAIN, r"vocab_size=31.* needs \[31, 8\]"),
    "blocks": (dict(BERT, num_hidden_layers=3), PLAIN, "num_hidden_layers=3, and there are tensors encoder.layer.N of 2"),
    "heads": (dict(BERT, num_attention_heads=3), PLAIN, "num_attention_heads=3 must divide hidden_size=8"),
    "missing": (BERT, without(PLAIN, LAST), f"no tensor '{LAST}'"),
    "more": (BERT, changed(PLAIN, extra=np.zeros(3, np.float32)), "no place for: 'extra'"),
    "infinite": (BERT, changed(PLAIN, **{LAST: np.full(8, np.inf, np.float32)}), "NaN or infinite"),
    "own positions": (BERT, changed(PLAIN, **{"embeddings.position_ids": np.arange(1, 17)}), "not a count from 0 on"),
    "tokens": (
        dict(BERT, architectures=["BertForTokenClassification"]),
        changed(PLAIN, **CLASSIFIER),
        "a classifier of every token",
    ),
    "deep classifier": (
        BERT,
        changed(PLAIN, **random_tensors(linear("pre_classifier", 8, 8)), **CLASSIFIER),
        "its classifier has 'pre_classifier.*one layer on BERT's pooler",
    ),
    "labels": (dict(BERT, id2label={"0": "a", "1": "b"}), changed(PLAIN, **CLASSIFIER), r"id2label of 2 classes.*\[3, 8\]"),
    "several labels": (
        dict(BERT, problem_type="multi_label_classification"),
        changed(PLAIN, **CLASSIFIER),
        "problem_type='multi_label_classification'",
    ),
    "head": (BERT, changed(PLAIN, **random_tensors(linear("qa_outputs", 8, 3))), r"'qa_outputs.weight' has the shape \[3, 8\]"),
    "no config": (None, PLAIN, "no config.json, and its tensors do not tell heads, norm_epsilon, activation"),
    "nothing": (BERT, random_tensors(linear("dense", 2, 3)), "it has none"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case, tmp_path):
    config, tensors, message = REFUSED[case]
    with pytest.raises(ValueError, match=message) as caught:
        bert.load_model(write(tmp_path, config, tensors))
    assert str(caught.value).startswith(f"source='{tmp_path}' is not allowed: ")


def test_untied_words_are_refused(tmp_path):
    head = random_tensors(mlm_shapes(BERT) | {"cls.predictions.decoder.weight": (WORDS, 8)})
    with pytest.raises(ValueError, match="decoder.weight' is not equal to the word embedding"):
        bert.load_model(write(tmp_path, BERT, {**PLAIN, **head}))


def test_rows_beyond_the_vocabulary(tmp_path):
    """Word embeddings whose number of rows is rounded up: the first ones are kept, and the table says so."""
    source = open_source(write(tmp_path, BERT, PLAIN))
    converted = convert(source, bert.model_settings, words=WORDS - 3)
    assert converted.settings["vocab_size"] == WORDS - 3
    words = PLAIN["embeddings.word_embeddings.weight"]
    np.testing.assert_array_equal(converted.weights["embedding/word_embedding"], words[:-3])
    (reason,) = [row.reason for row in converted.rows if row.reason]
    assert reason == "the first 27 of 30 rows; the vocabulary has no tokens for the others"
    assert convert(open_source(tmp_path), bert.model_settings).settings["vocab_size"] == WORDS
    with pytest.raises(ValueError, match="the vocabulary has 31 tokens, and the word embedding 30 rows"):
        convert(open_source(tmp_path), bert.model_settings, words=WORDS + 1)


def test_a_file_without_config_takes_what_it_does_not_tell(tmp_path):
    """Dropout rates are those of the zoo then."""
    file = write(tmp_path, None, PLAIN) / "model.safetensors"
    given = dict(heads=2, norm_epsilon=1e-5, activation="gelu", width=99)
    config = dict(BERT, attention_probs_dropout_prob=0.1)
    expected = convert(open_source(write(tmp_path / "whole", config, PLAIN)), bert.model_settings)
    assert_equal(convert(open_source(file), bert.model_settings, given), expected)
    with pytest.raises(ValueError, match="norm_epsilon=nan is not allowed: it must be a finite number above 0"):
        convert(open_source(file), bert.model_settings, {**given, "norm_epsilon": float("nan")})
    with pytest.raises(ValueError, match="is not allowed: heads=3 must divide width=8"):
        convert(open_source(file), bert.model_settings, {**given, "heads": 3})


def test_another_head_or_size_of_a_foreign_model(tmp_path, capsys):
    """A head that the source lacks is fresh, and blocks are taken as from any other model."""
    folder = write(tmp_path, BERT, PLAIN)
    model = bert.load_model(folder, task="classification", classes=5, depth=1)
    assert model.output_shape == (None, 5)
    assert "classifier" in capsys.readouterr().out
    np.testing.assert_array_equal(model.get_layer("pooler").kernel, PLAIN["pooler.dense.weight"].T)
    started = bert.create_model(
        "bert_tiny", pretrained=folder, depth=2, width=8, heads=2, ffn_dim=12, embedding_dim=8, vocab_size=WORDS
    )
    np.testing.assert_array_equal(
        started.get_layer("encoder").attentions[0].query.kernel, PLAIN["encoder.layer.0.attention.self.query.weight"].T
    )


def test_part_of_a_larger_model(tmp_path):
    tensors = random_tensors(shapes(ALBERT))
    larger = {f"encoder.bert.{name}": value for name, value in tensors.items()}
    larger |= {"encoder.text.weight": np.zeros((2, 2), np.float32), "classifier.weight": np.zeros((3, 8), np.float32)}
    source = open_source(write(tmp_path, ALBERT, larger))
    converted = convert(source, bert.model_settings)
    assert converted.settings["task"] == "encoder"
    outside = {row.weight for row in converted.rows if row.reason == "outside encoder.bert"}
    assert outside == {"encoder.text.weight", "classifier.weight"}
    (note,) = source.notes
    assert note.startswith("tensors outside encoder.bert are left out: ") and "'classifier.weight'" in note
    assert_equal(converted, convert(open_source(write(tmp_path / "alone", ALBERT, tensors)), bert.model_settings))
