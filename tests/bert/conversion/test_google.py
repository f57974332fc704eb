"""Checkpoints of Google's TensorFlow code, whose names are written down here, against the same in Hugging Face's layout."""

import json

import numpy as np
import pytest
import tensorflow as tf

import bert
from bert.conversion.importing import convert
from official.conversion.source import open_source
from tests.bert.conversion.foreign import ALBERT as SHARED
from tests.bert.conversion.foreign import BERT, random_tensors, shapes, write
from tests.bert.conversion.test_exporting import albert_heads
from tests.bert.conversion.test_importing import mlm_shapes

ALBERT = dict(SHARED, num_hidden_groups=2)


def dense(google, theirs):
    return {f"{google}/kernel": f"{theirs}.weight", f"{google}/bias": f"{theirs}.bias"}


def scaled(google, theirs):
    return {f"{google}/gamma": f"{theirs}.weight", f"{google}/beta": f"{theirs}.bias"}


def outside_blocks(pooler, transform, bias, order):
    """{name in Google's code: Hugging Face's}."""
    kinds = ("word", "position", "token_type")
    return {
        **{f"bert/embeddings/{kind}_embeddings": f"embeddings.{kind}_embeddings.weight" for kind in kinds},
        **scaled("bert/embeddings/LayerNorm", "embeddings.LayerNorm"),
        **dense("bert/pooler/dense", pooler),
        **dense("cls/predictions/transform/dense", f"{transform}.dense"),
        **scaled("cls/predictions/transform/LayerNorm", f"{transform}.LayerNorm"),
        "cls/predictions/output_bias": bias,
        "cls/seq_relationship/output_weights": f"{order}.weight",
        "cls/seq_relationship/output_bias": f"{order}.bias",
    }


def of_bert():
    names = outside_blocks("pooler.dense", "cls.predictions.transform", "cls.predictions.bias", "cls.seq_relationship")
    for i in range(BERT["num_hidden_layers"]):
        google, theirs = f"bert/encoder/layer_{i}", f"encoder.layer.{i}"
        for part in ("query", "key", "value"):
            names |= dense(f"{google}/attention/self/{part}", f"{theirs}.attention.self.{part}")
        names |= dense(f"{google}/attention/output/dense", f"{theirs}.attention.output.dense")
        names |= scaled(f"{google}/attention/output/LayerNorm", f"{theirs}.attention.output.LayerNorm")
        names |= dense(f"{google}/intermediate/dense", f"{theirs}.intermediate.dense")
        names |= dense(f"{google}/output/dense", f"{theirs}.output.dense")
        names |= scaled(f"{google}/output/LayerNorm", f"{theirs}.output.LayerNorm")
    return names


def of_albert():
    names = outside_blocks("pooler", "predictions", "predictions.bias", "sop_classifier.classifier")
    names |= dense("bert/encoder/embedding_hidden_mapping_in", "encoder.embedding_hidden_mapping_in")
    for i in range(ALBERT["num_hidden_groups"]):
        google, theirs = f"bert/encoder/transformer/group_{i}/inner_group_0", f"encoder.albert_layer_groups.{i}.albert_layers.0"
        for part in ("query", "key", "value"):
            names |= dense(f"{google}/attention_1/self/{part}", f"{theirs}.attention.{part}")
        names |= dense(f"{google}/attention_1/output/dense", f"{theirs}.attention.dense")
        names |= scaled(f"{google}/LayerNorm", f"{theirs}.attention.LayerNorm")
        names |= dense(f"{google}/ffn_1/intermediate/dense", f"{theirs}.ffn")
        names |= dense(f"{google}/ffn_1/intermediate/output/dense", f"{theirs}.ffn_output")
        names |= scaled(f"{google}/LayerNorm_1", f"{theirs}.full_layer_layer_norm")
    return names


@pytest.mark.parametrize("config, names", [(BERT, of_bert()), (ALBERT, of_albert())], ids=["bert", "albert"])
def test_google_checkpoint(config, names, tmp_path):
    heads = mlm_shapes(BERT) if config is BERT else albert_heads(ALBERT)
    tensors = random_tensors(shapes(config) | heads)
    assert set(names.values()) == set(tensors)
    variables = {google: tensors[name].T if google.endswith("/kernel") else tensors[name] for google, name in names.items()}
    variables["bert/pooler/dense/kernel/adam_m"] = np.zeros((8, 8), np.float32)
    variables["global_step"] = np.array(7)
    (tmp_path / "google").mkdir()
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "google" / "bert_model.ckpt"),
        tensor_names=list(variables),
        shape_and_slices=[""] * len(variables),
        tensors=list(variables.values()),
    )
    # Google's config has neither a type nor an epsilon, which is 1e-12.
    google_config = {key: value for key, value in config.items() if key not in ("model_type", "architectures", "layer_norm_eps")}
    (tmp_path / "google" / "bert_config.json").write_text(json.dumps(google_config))
    converted = convert(open_source(tmp_path / "google"), bert.model_settings)
    config = {**config, "layer_norm_eps": 1e-12}
    expected = convert(open_source(write(tmp_path / "hf", config, tensors)), bert.model_settings)
    assert converted.settings == expected.settings
    assert converted.weights.keys() == expected.weights.keys()
    for name, value in expected.weights.items():
        np.testing.assert_array_equal(converted.weights[name], value)
    dropped = {row.weight for row in converted.rows if row.result == "dropped"}
    assert dropped == {"bert/pooler/dense/kernel/adam_m", "global_step"}
