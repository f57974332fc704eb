"""Tokenizers in data sets, in functions, and in SavedModels that another process loads without this project."""

import functools
import json
import subprocess
import sys

import pytest
import tensorflow as tf

from bert.tokenizer import open_tokenizer, pack
from tests.bert.tokenizer_references import SENTENCES, TEXTS, write_sentence_piece, write_vocabulary

ALL_TEXTS = [*SENTENCES, *TEXTS.values()]
LENGTH = 24


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizers")
    return {
        "wordpiece": open_tokenizer(write_vocabulary(folder / "vocab.txt")),
        "sentence_piece": open_tokenizer(write_sentence_piece(folder / "a.model")),
    }


@pytest.fixture(params=["wordpiece", "sentence_piece"])
def tokenizer(request, tokenizers):
    return tokenizers[request.param]


def inputs_of(tokenizer, text):
    """All that a tokenizer has, as a dict of tensors."""
    ids, starts, ends = tokenizer.tokenize_with_offsets(text)
    inputs = pack(tokenizer, [tokenizer.tokenize(text), ids], LENGTH)
    return {**inputs, "starts": starts.to_tensor(shape=[None, LENGTH]), "ends": ends.to_tensor(shape=[None, LENGTH])}


def lists(inputs):
    return {name: value.numpy().tolist() for name, value in inputs.items()}


@pytest.fixture
def expected(tokenizer):
    return lists(inputs_of(tokenizer, tf.constant(ALL_TEXTS)))


def test_function(tokenizer, expected):
    """Traced once for any number of texts."""
    function = tf.function(lambda texts: inputs_of(tokenizer, texts), input_signature=[tf.TensorSpec([None], tf.string)])
    assert lists(function(tf.constant(ALL_TEXTS))) == expected
    assert function(tf.constant([], tf.string))["input_word_ids"].shape == (0, LENGTH)
    assert function.experimental_get_tracing_count() == 1


@pytest.mark.further_cases
def test_data_set(tokenizer, expected):
    """In parallel, in batches; and after Keras has cleared its session."""
    data = tf.data.Dataset.from_tensor_slices(ALL_TEXTS).batch(5)
    data = data.map(lambda texts: inputs_of(tokenizer, texts), num_parallel_calls=2)
    for _ in range(2):
        batches = [{name: value.tolist() for name, value in batch.items()} for batch in data.as_numpy_iterator()]
        assert {name: [row for batch in batches for row in batch[name]] for name in expected} == expected
        tf.keras.backend.clear_session()


@pytest.mark.further_cases
@pytest.mark.parametrize("write, name", [(write_vocabulary, "vocab.txt"), (write_sentence_piece, "a.model")])
def test_made_inside_a_graph(tmp_path, write, name):
    """What it holds is not the graph's; nor what the first graph that uses it needs."""
    path = write(tmp_path / name)
    made = []

    @tf.function(autograph=False)
    def first():
        made.append(open_tokenizer(path))
        return made[0].tokenize(["film"]).flat_values

    @tf.function(autograph=False)
    def second():
        return made[0].tokenize(["film"]).flat_values

    assert first().numpy().tolist() == second().numpy().tolist() == made[0].tokenize(["film"]).to_list()[0]


def test_several_at_once(tmp_path):
    """Each keeps its own vocabulary."""
    sizes = (80, 120, 160)
    models = [open_tokenizer(write_sentence_piece(tmp_path / f"{size}.model", size, model_type="bpe")) for size in sizes]
    tokens = [model.to_tokens(model.tokenize([SENTENCES[0]]).to_list()[0]) for model in models]
    assert len(set(map(len, tokens))) == 3
    assert {"".join(some) for some in tokens} == {"▁" + SENTENCES[0].lower().replace(" ", "▁")}


LOADER = """
import json, sys
import tensorflow as tf, tensorflow_text
model = tf.saved_model.load(sys.argv[1])
with open(sys.argv[2]) as file:
    texts = tf.constant(json.load(file))
for function in (model.wordpiece, model.sentence_piece, model.signatures["serving_default"]):
    print(json.dumps({name: value.numpy().tolist() for name, value in function(texts).items()}))
print(json.dumps([name for name in sys.modules if name.split(".")[0] in ("bert", "official", "sentencepiece", "transformers")]))
"""


@pytest.mark.further
def test_saved_model(tokenizers, tmp_path):
    """By the means of official/export.py; the process that loads it has neither this project nor the vocabularies."""
    archive = tf.keras.export.ExportArchive()
    archive.used_by_endpoints = list(tokenizers.values())
    signature = [tf.TensorSpec([None], tf.string, name="text")]
    for name, tokenizer in tokenizers.items():
        archive.add_endpoint(name, functools.partial(inputs_of, tokenizer), signature)
    archive.write_out(str(tmp_path / "saved"))
    (tmp_path / "texts.json").write_text(json.dumps(ALL_TEXTS))
    (tmp_path / "elsewhere").mkdir()
    command = [sys.executable, "-I", "-c", LOADER, str(tmp_path / "saved"), str(tmp_path / "texts.json")]
    done = subprocess.run(command, cwd=tmp_path / "elsewhere", capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    *served, modules = map(json.loads, done.stdout.splitlines())
    expected = [lists(inputs_of(tokenizer, tf.constant(ALL_TEXTS))) for tokenizer in tokenizers.values()]
    assert served == [*expected, expected[0]]
    assert modules == []
