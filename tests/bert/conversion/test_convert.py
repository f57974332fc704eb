"""The command: what it writes is a model as any other, and the way back to Hugging Face's layout is exact."""

import json
import runpy

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file

import bert
from bert.convert import convert_model, main
from official import evaluate, predict, train
from tests.bert.batches import random_batch
from tests.bert.conversion.foreign import BERT as DEEPER
from tests.bert.conversion.foreign import TOKENS, linear, outputs, random_tensors, shapes, write
from tests.bert.conversion.test_importing import mlm_shapes

BERT = dict(DEEPER, num_hidden_layers=1)  # each block takes a while to trace
CLASSES = {"0": "bad", "1": "fair", "2": "good"}
TEXTS = ["abc d", "P o, [mask]"]
# By hand: lower case, one word at white space and punctuation, longest pieces first; "," and "[" are not in the vocabulary.
TOKENIZED = [
    ["[CLS]", "a", "##b", "##c", "d", "[SEP]", "[PAD]", "[PAD]", "[PAD]"],
    ["[CLS]", "p", "o", "[UNK]", "[UNK]", "[UNK]", "[UNK]", "[SEP]", "[PAD]"],
]


def batch_of_texts():
    ids = np.array([[TOKENS.index(token) for token in tokens] for tokens in TOKENIZED], np.int32)
    return {"input_word_ids": ids, "input_mask": (ids > 0).astype(np.int32), "input_type_ids": 0 * ids}


def classifier():
    named = {f"bert.{name}": shape for name, shape in shapes(BERT).items()}
    return random_tensors(named | linear("classifier", BERT["hidden_size"], 3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A BERT of Hugging Face with three classes."""
    config = {**BERT, "id2label": CLASSES, "architectures": ["BertForSequenceClassification"]}
    return write(tmp_path_factory.mktemp("hf"), config, classifier(), tokenizer_config={"do_lower_case": True})


@pytest.fixture(scope="module")
def converted(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("converted") / "model"
    convert_model(folder, path)
    return path


def refusal(*arguments):
    """The message of a command that does not succeed."""
    with pytest.raises(SystemExit) as error:
        main(arguments)
    return error.value.code


def test_a_classifier_is_a_model_as_any_other(folder, converted, tmp_path):
    """From raw strings to probabilities, against NumPy and tokens by hand; load_model gives the same bits."""
    tensors = classifier()
    inner = {name.removeprefix("bert."): value for name, value in tensors.items()}
    _, pooled = outputs(BERT, inner, batch_of_texts())
    logits = pooled @ tensors["classifier.weight"].T.astype(np.float64) + tensors["classifier.bias"]
    (tmp_path / "texts.tsv").write_text("text\n" + "".join(f"{text}\n" for text in TEXTS))
    predict.main([f"--model={converted}", f"--input={tmp_path}/texts.tsv", f"--output={tmp_path}/out.jsonl"])
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    np.testing.assert_allclose([answer["logits"] for answer in answers], logits, rtol=0, atol=2e-5)
    assert [answer["label"] for answer in answers] == [CLASSES[str(i)] for i in logits.argmax(1)]
    batch = random_batch(words=len(TOKENS))
    np.testing.assert_array_equal(bert.load_model(converted)(batch), bert.load_model(folder)(batch))
    config = json.loads((converted / "assets.extra" / "config.json").read_text())
    assert config["name"] == "bert_l1_h8"
    assert config["data"]["vocabulary"] == "assets.extra/vocab.txt"
    assert (config["data"]["classes"], config["data"]["lower_case"]) == (["bad", "fair", "good"], True)


def test_back_is_exact(folder, converted, tmp_path):
    main([f"--from={converted}", f"--output={tmp_path}/back", "--to=huggingface"])
    ours, theirs = (load_file(path / "model.safetensors") for path in (tmp_path / "back", folder))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value)
    ours, theirs = (json.loads((path / "config.json").read_text()) for path in (tmp_path / "back", folder))
    assert {name: ours[name] for name in theirs} == theirs
    assert (tmp_path / "back" / "vocab.txt").read_bytes() == (folder / "vocab.txt").read_bytes()
    assert "it must be a new path or an empty folder" in refusal(f"--from={converted}", f"--output={folder}", "--to=huggingface")
    assert "--heads is not allowed with --to" in refusal(f"--from={converted}", "--output=x", "--to=huggingface", "--heads=2")


@pytest.mark.further
def test_evaluation_and_training_of_it(converted, tmp_path):
    """With a data set given on the command line; a run that starts from it has its size, vocabulary and casing."""
    rows = [("abc", "bad"), ("d e", "fair"), ("p o", "good"), ("a b", "good")] * 4
    (tmp_path / "texts.tsv").write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows))
    data = {"name": "file", "train_file": f"{tmp_path}/texts.tsv"}
    scores, _ = evaluate.evaluate(converted, "train[:50%]", tmp_path / "scores", data=data)
    assert 0 <= scores["metrics"]["accuracy"] <= 1
    with pytest.raises(ValueError, match="data.name='' is not allowed"):
        evaluate.evaluate(converted, "test", tmp_path / "none")
    config = runpy.run_path("bert/configs/text_file.py")["get_config"](init=str(converted))
    config.update_from_flattened_dict({"data.train_file": data["train_file"], "train.steps": 1, "train.epochs": 0.0})
    assert config.data.lower_case is True and config.model.width == 8
    summary = train.run(config, tmp_path / "run")
    assert summary["config"]["data"]["vocabulary"] == str(converted / "assets.extra" / "vocab.txt")


@pytest.mark.further
@pytest.mark.parametrize("head", ["embedding", "span", "pretraining"])
def test_other_tasks(head, tmp_path, capsys):
    named = {f"bert.{name}": shape for name, shape in shapes(BERT).items()}
    named = {"embedding": shapes(BERT), "span": named | linear("qa_outputs", 8, 2), "pretraining": named | mlm_shapes(BERT)}[head]
    source = write(tmp_path / "hf", BERT, random_tensors(named), sentence_bert_config={"max_seq_length": 8})
    main([f"--from={source}", f"--output={tmp_path}/out", "--name=mine"])
    assert ("The model has no pooler: the weights stay beside it" in capsys.readouterr().out) == (head == "embedding")
    batch = random_batch(words=len(TOKENS), predictions=2)
    ours, direct = bert.load_model(tmp_path / "out"), bert.load_model(source, task=head)
    assert ours.name == "mine"
    for one, other in zip(tf.nest.flatten(ours(batch)), tf.nest.flatten(direct(batch)), strict=True):
        np.testing.assert_array_equal(one, other)
    served = tf.saved_model.load(str(tmp_path / "out")).signatures["serving_default"]
    if head == "embedding":
        # The longest text has 8 tokens. The pooler is kept for a classifier that starts from it.
        long = served(text=tf.constant(["a b c d e f g h i j", "a b c d e f"]))["embeddings"]
        np.testing.assert_allclose(long[0], long[1], rtol=0, atol=1e-6)
        pooler = bert.load_model(tmp_path / "out", task="classification").get_layer("pooler").kernel
        np.testing.assert_array_equal(pooler, load_file(source / "model.safetensors")["pooler.dense.weight"].T)
    elif head == "span":
        assert "answers" in served.structured_outputs
    else:
        assert served(text=tf.constant(["a [MASK]"]))["words"].shape[0] == 1
    main([f"--from={tmp_path}/out", f"--output={tmp_path}/back", "--to=huggingface"])
    back, before = (load_file(path / "model.safetensors") for path in (tmp_path / "back", source))
    if head == "span":
        before = {name: value for name, value in before.items() if "pooler" not in name}
    assert back.keys() == before.keys()
    assert all(np.array_equal(back[name], before[name]) for name in back)


PLAIN = random_tensors(shapes(BERT))


@pytest.mark.parametrize(
    "changes, arguments, message",
    [
        (dict(vocabulary=None), [], "has no vocabulary, without which texts cannot be read"),
        (dict(vocabulary=[*TOKENS, "q"]), [], "the vocabulary has 31 tokens, and the word embedding 30 rows"),
        ({}, ["--task=span"], "--task=span is not allowed"),
        ({}, ["--task=other"], "task='other' is not allowed: it must be one of classification"),
        ({}, ["--name="], "name='' is not allowed"),
        ({}, ["--heads=4"], "--heads=4 is not allowed"),
        ({}, ["--vocabulary=missing.txt"], "vocabulary='missing.txt' is not allowed"),
        ({}, ["--config.data.nothing=1"], "the recipe's data settings are"),
        (dict(tokenizer_config={"do_lower_case": True, "strip_accents": False}), [], "a tokenizer with strip_accents=false"),
    ],
)
def test_refusals_leave_nothing(changes, arguments, message, tmp_path):
    folder = write(tmp_path / "hf", BERT, PLAIN, **changes)
    assert message in refusal(f"--from={folder}", f"--output={tmp_path}/out", *arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hf"]


def test_an_output_that_exists_is_refused(folder, tmp_path):
    (tmp_path / "file").touch()
    assert "it must be a new path or an empty folder" in refusal(f"--from={folder}", f"--output={tmp_path}")
