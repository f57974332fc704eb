"""Text models against an implementation of others: Hugging Face's ALBERT and BERT, given the same random weights."""

import numpy as np
import pytest
import tensorflow as tf

import bert
from tests.bert.batches import random_batch, randomize
from widenet.weight_transfer import weights_by_name

SIZES = dict(vocab_size=50, embedding_dim=6, width=8, heads=2, ffn_dim=12, depth=4, max_length=16)


def config_of(kind, activation="gelu", **settings):
    """Their config of our sizes."""
    return kind(
        vocab_size=SIZES["vocab_size"],
        hidden_size=SIZES["width"],
        num_hidden_layers=SIZES["depth"],
        num_attention_heads=SIZES["heads"],
        intermediate_size=SIZES["ffn_dim"],
        max_position_embeddings=SIZES["max_length"],
        hidden_act=activation,
        type_vocab_size=2,
        layer_norm_eps=1e-12,
        **settings,
    )


def dense(name, layer):
    return {f"{name}/kernel": layer.kernel, f"{name}/bias": layer.bias}


def feed_forward(name, first, second):
    return {
        f"{name}/kernel_in": first.kernel,
        f"{name}/bias_in": first.bias,
        f"{name}/kernel_out": second.kernel,
        f"{name}/bias_out": second.bias,
    }


def norms(name, layers):
    return {f"{name}/{part}": tf.stack([getattr(layer, part) for layer in layers]) for part in ("gamma", "beta")}


def embedding(layer):
    return {
        "embedding/word_embedding": layer.weight,
        "embedding/position_embedding": layer.position_embeddings,
        "embedding/type_embedding": layer.token_type_embeddings,
        **norms("embedding/norm", [layer.LayerNorm]),
    }


def of_albert(theirs):
    """{our name: their value} of a TFAlbertForPreTraining."""
    albert, head = theirs.albert, theirs.predictions
    groups = [group.albert_layers[0] for group in albert.encoder.albert_layer_groups]
    weights = {
        **embedding(albert.embeddings),
        **dense("embedding/projection", albert.encoder.embedding_hidden_mapping_in),
        **norms("encoder/attention_norm", [group.attention.LayerNorm for group in groups]),
        **norms("encoder/ffn_norm", [group.full_layer_layer_norm for group in groups]),
        **dense("pooler", albert.pooler),
        **dense("mlm_logits/dense", head.dense),
        **norms("mlm_logits/norm", [head.LayerNorm]),
        "mlm_logits/bias": head.decoder_bias,
        **dense("next_sentence", theirs.sop_classifier.classifier),
    }
    for i, group in enumerate(groups):
        attention = group.attention
        for name, layer in zip(
            ("query", "key", "value", "output"), (attention.query, attention.key, attention.value, attention.dense), strict=True
        ):
            weights |= dense(f"encoder/attention_{i}/{name}", layer)
        weights |= feed_forward(f"encoder/ffn_{i}", group.ffn, group.ffn_output)
    return weights


def of_bert(theirs):
    """{our name: their value} of a TFBertModel, one instance a block."""
    main = theirs.bert
    layers = main.encoder.layer
    weights = {
        **embedding(main.embeddings),
        **norms("encoder/attention_norm", [layer.attention.dense_output.LayerNorm for layer in layers]),
        **norms("encoder/ffn_norm", [layer.bert_output.LayerNorm for layer in layers]),
        **dense("pooler", main.pooler.dense),
    }
    for i, layer in enumerate(layers):
        attention = layer.attention.self_attention
        for name, part in zip(
            ("query", "key", "value", "output"),
            (attention.query, attention.key, attention.value, layer.attention.dense_output.dense),
            strict=True,
        ):
            weights |= dense(f"encoder/attention_{i}/{name}", part)
        weights |= feed_forward(f"encoder/ffn_{i}", layer.intermediate.dense, layer.bert_output.dense)
    return weights


def assign(model, values):
    """Every weight of ours from theirs, none left over on either side."""
    weights = weights_by_name(model)
    assert weights.keys() == values.keys()
    for name, weight in weights.items():
        weight.assign(values[name])


def call(theirs, batch):
    return theirs(
        input_ids=batch["input_word_ids"],
        attention_mask=batch["input_mask"],
        token_type_ids=batch["input_type_ids"],
        output_hidden_states=True,
    )


def assert_near(ours, theirs):
    """Values of up to a few units, through four blocks in float32, whose operations come in another order."""
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    "groups, activation",
    [(1, "gelu_new"), *(pytest.param(groups, "gelu", marks=pytest.mark.further) for groups in (1, 2)), (4, "gelu")],
)
def test_albert(groups, activation):
    """ALBERT with all heads of its pretraining, shared over all blocks, in runs of two, and not at all (the paper's BERT)."""
    transformers = pytest.importorskip("transformers")
    config = config_of(
        transformers.AlbertConfig, activation, embedding_size=SIZES["embedding_dim"], num_hidden_groups=groups, num_labels=2
    )
    theirs = transformers.TFAlbertForPreTraining(config)
    batch = random_batch(predictions=3)
    call(theirs, batch)  # which makes its weights
    randomize(theirs)
    settings = dict(attention_groups=groups, ffn_groups=groups, norm_groups=groups)
    activation = {"gelu": "gelu", "gelu_new": "gelu_tanh"}[activation]
    ours = bert.create_model("albert_tiny", "pretraining", **SIZES, **settings, activation=activation)
    assign(ours, of_albert(theirs))
    found, expected = ours(batch), call(theirs, batch)
    real = batch["input_mask"] > 0
    for block, states in enumerate(expected.hidden_states[1:]):
        assert_near(found["encoder_outputs"][block][real], states[real])
    assert_near(found["sequence_output"][real], expected.hidden_states[-1][real])
    of_positions = tf.gather(expected.prediction_logits, batch["masked_lm_positions"], batch_dims=1)
    assert np.max(np.abs(of_positions)) > 0.1
    assert_near(found["mlm_logits"], of_positions)
    assert_near(found["next_sentence"], expected.sop_logits)
    pooled = theirs.albert(batch["input_word_ids"], batch["input_mask"], batch["input_type_ids"]).pooler_output
    assert_near(found["pooled_output"], pooled)


def test_bert():
    """BERT, whose embeddings have the width of the encoder and no projection."""
    transformers = pytest.importorskip("transformers")
    theirs = transformers.TFBertModel(config_of(transformers.BertConfig))
    batch = random_batch()
    call(theirs, batch)
    randomize(theirs)
    ours = bert.create_model("bert_tiny", **{**SIZES, "embedding_dim": SIZES["width"]})
    assign(ours, of_bert(theirs))
    found, expected = ours(batch), call(theirs, batch)
    real = batch["input_mask"] > 0
    for block, states in enumerate(expected.hidden_states[1:]):
        assert_near(found["encoder_outputs"][block][real], states[real])
    assert_near(found["sequence_output"][real], expected.last_hidden_state[real])
    assert_near(found["pooled_output"], expected.pooler_output)
