"""The way back: the tensors and the config that a model came from, what transformers makes of them, and what is refused."""

import json

import numpy as np
import pytest

import bert
from bert.conversion.exporting import hugging_face
from bert.conversion.importing import convert
from bert.convert import export_hugging_face
from official.conversion.source import open_source
from tests.bert.batches import TINY, random_batch, randomize
from tests.bert.conversion.foreign import ALBERT, BERT, linear, norm, random_tensors, shapes, write
from tests.bert.conversion.test_importing import mlm_shapes
from widenet.weight_transfer import weights_by_name


def albert_heads(config):
    narrow, width = config["embedding_size"], config["hidden_size"]
    found = linear("predictions.dense", width, narrow) | norm("predictions.LayerNorm", narrow)
    return found | {"predictions.bias": (config["vocab_size"],)} | linear("sop_classifier.classifier", width, 2)


@pytest.mark.parametrize(
    "config, head, ending",
    [
        (BERT, {}, "Model"),
        (BERT, mlm_shapes(BERT), "ForPreTraining"),
        (BERT, linear("classifier", 8, 3), "ForSequenceClassification"),
        (ALBERT, {}, "Model"),
        (dict(ALBERT, num_hidden_groups=2, embedding_size=8), albert_heads(dict(ALBERT, embedding_size=8)), "ForPreTraining"),
        (ALBERT, linear("classifier", 8, 1), "ForSequenceClassification"),
    ],
)
def test_round_trip_is_exact(config, head, ending, tmp_path):
    prefix = f"{config['model_type']}." if head else ""
    tensors = random_tensors({f"{prefix}{name}": shape for name, shape in shapes(config).items()} | head)
    converted = convert(open_source(write(tmp_path, config, tensors)), bert.model_settings)
    back, theirs = hugging_face(converted.settings, converted.weights)
    assert back.keys() == tensors.keys()
    for name, value in tensors.items():
        np.testing.assert_array_equal(back[name], value)
    expected = {**config, "architectures": [config["architectures"][0].removesuffix("Model") + ending]}
    assert {name: theirs[name] for name in expected} == expected


@pytest.mark.parametrize(
    "model, changes, message",
    [
        ("widenet_tiny_e4", {}, "it has experts (moe_blocks='all')"),
        ("bert_tiny", dict(norm_position="pre"), "norm_position='pre'"),
        ("albert_tiny", dict(norm_groups=None), "attention_groups=1, ffn_groups=1, norm_groups=None"),
        ("albert_tiny", dict(embedding_dim=128), "embedding_projection=None"),
        ("bert_tiny", dict(pool="mean"), "it has pool='mean', and the pooler of"),
    ],
)
def test_what_they_cannot_represent_is_refused(model, changes, message):
    settings = {**bert.model_settings(model, **changes), "task": "encoder"}
    with pytest.raises(ValueError) as error:
        hugging_face(settings, {})
    assert message in str(error.value)


@pytest.mark.further
@pytest.mark.parametrize("name, changes", [("bert_tiny", {}), ("bert_tiny", dict(embedding_dim=8)), ("albert_tiny", {})])
def test_a_model_of_the_zoo_in_transformers(name, changes, tmp_path):
    """BERTs of the zoo have ALBERT's embedding, so that they are ALBERTs of theirs with a group for each block."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = randomize(bert.create_model(name, **{**TINY, **changes}))
    model.save(tmp_path / "model.keras")
    _, config, notes = export_hugging_face(tmp_path / "model.keras", tmp_path / "hf")
    assert notes == ["it is saved without its vocabulary, so the folder has none"]
    assert json.loads((tmp_path / "hf" / "config.json").read_text()) == config
    theirs = transformers.AutoModel.from_pretrained(tmp_path / "hf").eval()
    assert type(theirs).__name__ == ("BertModel" if changes else "AlbertModel")
    batch = random_batch(padded=2)
    with torch.no_grad():
        expected = theirs(
            input_ids=torch.from_numpy(batch["input_word_ids"]).long(),
            attention_mask=torch.from_numpy(batch["input_mask"]),
            token_type_ids=torch.from_numpy(batch["input_type_ids"]).long(),
        )
    ours, real = model(batch), batch["input_mask"] > 0
    # In float32, through two blocks.
    np.testing.assert_allclose(ours["sequence_output"].numpy()[real], expected.last_hidden_state.numpy()[real], rtol=0, atol=1e-4)
    np.testing.assert_allclose(ours["pooled_output"], expected.pooler_output.numpy(), rtol=0, atol=1e-4)
    again = weights_by_name(bert.load_model(tmp_path / "hf"))
    for name, weight in weights_by_name(model).items():
        np.testing.assert_array_equal(weight, again[name])
