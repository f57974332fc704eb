"""Models that transformers saved, with PyTorch, against its own outputs: every block, the pooler and every head."""

import numpy as np
import pytest

import bert
from tests.bert.batches import random_batch

SIZES = dict(
    vocab_size=30,
    hidden_size=8,
    num_hidden_layers=4,
    num_attention_heads=2,
    intermediate_size=12,
    max_position_embeddings=16,
)
LARGER = dict(
    vocab_size=211,
    hidden_size=48,
    num_hidden_layers=3,
    num_attention_heads=6,
    intermediate_size=96,
    max_position_embeddings=40,
    layer_norm_eps=1e-6,
)
WIDE = dict(SIZES, embedding_size=8, num_hidden_groups=2)  # ALBERT's embeddings are projected also where the widths are equal
CASES = {
    "BertForPreTraining": SIZES,
    "AlbertForPreTraining": dict(SIZES, embedding_size=6),
    "BertModel": dict(LARGER, hidden_act="gelu_new", type_vocab_size=3),
    "BertForMaskedLM": dict(LARGER, hidden_act="relu"),
    "BertForSequenceClassification": dict(SIZES, num_labels=3),
    "BertForQuestionAnswering": SIZES,
    "AlbertModel": WIDE,
    "AlbertForMaskedLM": dict(LARGER, embedding_size=16),
    "AlbertForSequenceClassification": dict(SIZES, embedding_size=6, num_hidden_groups=4, num_labels=5),
    "AlbertForQuestionAnswering": dict(LARGER, embedding_size=16, num_hidden_groups=3),
}


def saved(folder, kind, settings):
    """A model of transformers with random weights, those that start as zeros and ones too; saved to a folder."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.AlbertConfig if kind.startswith("Albert") else transformers.BertConfig
    model = getattr(transformers, kind)(config(**settings)).eval()
    random = np.random.default_rng(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            start = 1.0 if "norm.weight" in name.lower() else 0.0
            weight.copy_(torch.from_numpy((start + random.normal(scale=0.2, size=weight.shape)).astype(np.float32)))
    model.save_pretrained(folder)
    return model


def answers(model, batch):
    """{name: array} of their outputs, with those of all blocks in a list."""
    import torch

    theirs = {
        "input_ids": batch["input_word_ids"],
        "attention_mask": batch["input_mask"],
        "token_type_ids": batch["input_type_ids"],
    }
    with torch.no_grad():
        found = model(**{name: torch.from_numpy(array).long() for name, array in theirs.items()}, output_hidden_states=True)
    return {
        name: [part.numpy() for part in value] if isinstance(value, tuple) else value.numpy() for name, value in found.items()
    }


def close(ours, theirs):
    """Within 1e-4, in float32 through up to 4 blocks with values of up to a few units."""
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=0, atol=1e-4)


@pytest.mark.further  # test_importing.py holds the same against NumPy
@pytest.mark.parametrize("kind", CASES)
def test_equal_to_transformers(kind, tmp_path):
    settings = CASES[kind]
    model = saved(tmp_path, kind, settings)
    encoder, whole = bert.load_model(tmp_path, task="encoder"), bert.load_model(tmp_path)
    for lengths, padded in (((7, 5, 2), 4), ((1, 3, 16), 0)):
        batch = random_batch(lengths, padded, predictions=1, words=settings["vocab_size"])
        theirs = answers(model, batch)
        real = batch["input_mask"] > 0
        ours = encoder(batch)
        for block, expected in zip(ours["encoder_outputs"], theirs["hidden_states"][1:], strict=True):
            close(block.numpy()[real], expected[real])
        if "pooler_output" in theirs:
            close(ours["pooled_output"], theirs["pooler_output"])
            continue
        ours = whole(batch)
        if "start_logits" in theirs:
            close(ours.numpy()[real], np.stack([theirs["start_logits"], theirs["end_logits"]], axis=-1)[real])
        elif "logits" in theirs and theirs["logits"].ndim == 2:
            close(ours, theirs["logits"])
        else:
            logits = theirs.get("prediction_logits", theirs.get("logits"))
            close(ours["mlm_logits"], np.take_along_axis(logits, batch["masked_lm_positions"][..., np.newaxis], axis=1))
            order = theirs.get("seq_relationship_logits", theirs.get("sop_logits"))
            if order is not None:
                close(ours["next_sentence"], order)
