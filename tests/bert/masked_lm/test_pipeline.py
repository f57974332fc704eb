"""Batches for pretraining: what is in them, and that they are the same from whatever step a run resumes."""

import hashlib

import numpy as np
import pytest
import tensorflow as tf
from ml_collections import ConfigDict

from bert.corpus.records import parse
from bert.corpus.shards import Shards
from bert.masked_lm.data import PretrainingData
from bert.masked_lm.pipeline import PretrainingPipeline, arrange
from bert.masked_lm.settings import check_data_settings, data_settings
from bert.prepare import prepare
from bert.tokenizer import open_tokenizer
from bert.tokenizers.packing import pack
from tests.bert.corpus_files import documents, write_texts, write_vocabulary
from tests.bert.tokenizer_references import write_sentence_piece

LENGTH = 40
BATCH = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pretraining")
    vocabulary = write_vocabulary(root / "vocab.txt")
    shards = Shards(str(root / "data"), vocabulary.read_bytes(), "vocab.txt", max_length=LENGTH, number=3, validation=0.2)
    prepare(shards, [str(write_texts(root / "texts", documents(25)))])
    return str(root / "data")


@pytest.fixture(scope="module")
def data(folder):
    return PretrainingData(folder)


@pytest.fixture(scope="module")
def tokenizer(data):
    return open_tokenizer(data.vocabulary)


def settings(**overrides):
    found = ConfigDict(data_settings(max_length=LENGTH, **overrides))
    check_data_settings(found)
    return found


@pytest.fixture(scope="module")
def make(data, tokenizer):
    """Function of a split and of data settings to a PretrainingPipeline."""
    return lambda split="train", **overrides: PretrainingPipeline(data.source(split, 7), tokenizer, settings(**overrides))


def digests(dataset, steps):
    """SHA-256 of each of the first batches, inputs and labels."""
    parts = (tf.nest.flatten(batch) for batch in dataset.take(steps).as_numpy_iterator())
    return [hashlib.sha256(b"".join(part.tobytes() for part in batch)).hexdigest() for batch in parts]


def all_of(dataset, steps=None):
    """Inputs and labels of the first batches in one, as NumPy arrays."""
    batches = list((dataset if steps is None else dataset.take(steps)).as_numpy_iterator())
    return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *batches)


def restored(inputs, labels):
    """The examples before masking: list of lists of ids, without padding."""
    ids = inputs["input_word_ids"].copy()
    rows, places = np.nonzero(labels["mlm_logits"] >= 0)
    ids[rows, inputs["masked_lm_positions"][rows, places]] = labels["mlm_logits"][rows, places]
    return [row[: mask.sum()].tolist() for row, mask in zip(ids, inputs["input_mask"], strict=True)]


def test_arrange(tokenizer):
    """As `pack` does it, with either segment first, of segments of all lengths up to the longest."""
    random = np.random.default_rng(0)
    pairs = [[random.integers(5, 30, n).tolist() for n in (a, b)] for a, b in ((1, 1), (1, LENGTH - 4), (30, 7), (9, 12), (5, 1))]
    tokens = tf.ragged.constant([a + b for a, b in pairs], tf.int32)
    first = tf.constant([len(a) for a, _ in pairs])
    for flip in (False, True):
        found = arrange(tokens, first, tf.fill([len(pairs)], flip), tokenizer.ids, LENGTH)
        segments = [tf.ragged.constant([pair[i] for pair in pairs], tf.int32) for i in ((1, 0) if flip else (0, 1))]
        expected = pack(tokenizer, segments, LENGTH)
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name])
            assert found[name].dtype == tf.int32


def test_sentence_piece(tmp_path):
    """The same of a SentencePiece model: whole words are masked, which begin with a piece that has the sign of a space."""
    path = write_sentence_piece(tmp_path / "pieces.model")
    shards = Shards(str(tmp_path / "data"), path.read_bytes(), path.name, max_length=LENGTH, number=1, validation=0.3)
    prepare(shards, [str(write_texts(tmp_path / "texts", documents(8)))])
    data = PretrainingData(tmp_path / "data")
    assert data.vocabulary.endswith("pieces.model")
    tokenizer = open_tokenizer(data.vocabulary)
    inputs, labels = all_of(PretrainingPipeline(data.source("train", 7), tokenizer, settings()).train_batches(BATCH, 0, 0), 4)
    assert (labels["mlm_logits"] >= 0).sum() > BATCH
    for row, places, words in zip(restored(inputs, labels), inputs["masked_lm_positions"], labels["mlm_logits"], strict=True):
        masked = set(places[words >= 0].tolist())
        for place in range(1, len(row)):
            if tokenizer.continues[row[place]] and not tokenizer.special[[row[place], row[place - 1]]].any():
                assert (place in masked) == (place - 1 in masked)


class TestEvaluation:
    def test_every_record_once(self, make, data, tokenizer):
        """In order, as it was written; labels back in their places give the record."""
        inputs, labels = all_of(make("validation").evaluation_batches(BATCH))
        records = [record for _, record in data.source("validation", 1).in_order()]
        tokens, first, swapped = parse(tf.stack(records))
        expected = pack(
            tokenizer,
            [
                tf.ragged.constant([row[:n] for row, n in zip(tokens.to_list(), first, strict=True)], tf.int32),
                tf.ragged.constant([row[n:] for row, n in zip(tokens.to_list(), first, strict=True)], tf.int32),
            ],
            LENGTH,
        )
        np.testing.assert_array_equal(inputs["input_mask"], expected["input_mask"])
        np.testing.assert_array_equal(inputs["input_type_ids"], expected["input_type_ids"])
        np.testing.assert_array_equal(labels["next_sentence"], swapped)
        ids = expected["input_word_ids"].numpy()
        assert restored(inputs, labels) == [
            row[:n].tolist() for row, n in zip(ids, inputs["input_mask"].sum(axis=1), strict=True)
        ]

    def test_the_same_in_every_run(self, make):
        """Whatever the global seed, and however the words are masked in training."""
        expected = digests(make("validation").evaluation_batches(BATCH), 99)
        tf.random.set_seed(5)
        assert digests(make("validation", masking="static").evaluation_batches(BATCH), 99) == expected

    def test_number_of_batches(self, make, data):
        """Known, which Keras asks for; a limit takes the first examples."""
        dataset = make("validation").evaluation_batches(BATCH)
        assert int(dataset.cardinality()) == len(list(dataset))
        assert data.source("validation", 1, limit=3).examples == 3
        assert data.source("train", 1, limit=10**9).examples == data.source("train", 1).examples

    def test_other_split(self, data):
        with pytest.raises(ValueError, match="^'test' is not a split of pretraining data: it must be one of train, validation"):
            data.source("test", 1)


class TestTraining:
    @pytest.mark.further_cases
    @pytest.mark.parametrize("masking", ["dynamic", "static"])
    def test_may_start_at_any_step(self, make, masking):
        """Bit for bit, also from inside a later epoch, under another global seed."""
        pipeline = make(masking=masking)
        whole = digests(pipeline.train_batches(BATCH, 3, 0), 24)
        assert len(set(whole)) == 24
        for start in (1, 20):
            tf.random.set_seed(start)
            assert digests(pipeline.train_batches(BATCH, 3, start), 24 - start) == whole[start:]

    def test_seeds(self, make):
        assert digests(make().train_batches(BATCH, 1, 0), 2) != digests(make().train_batches(BATCH, 2, 0), 2)

    @pytest.mark.parametrize("masking", ["dynamic", "static"])
    def test_epochs(self, make, data, masking):
        """Each has every record once; words and orders are drawn anew where masking is dynamic, and else are the same.

        Of static masking the order is the written one.
        """
        number = data.source("train", 1).examples
        inputs, labels = all_of(make(masking=masking).train_batches(1, 0, 0), 2 * number)
        # The document's tokens, whichever segment is first; what the model sees; the label.
        whole = [tuple(sorted(row)) for row in restored(inputs, labels)]
        rows = list(zip(whole, inputs["input_word_ids"].tolist(), labels["next_sentence"].tolist(), strict=True))
        first, second = sorted(rows[:number]), sorted(rows[number:])
        assert [row[0] for row in first] == [row[0] for row in second]
        assert len({row[0] for row in first}) == number
        same_words, same_order = (np.mean([a[i] == b[i] for a, b in zip(first, second, strict=True)]) for i in (1, 2))
        if masking == "static":
            assert same_words == same_order == 1
        else:
            assert same_words < 0.1
            for share in (same_order, np.mean([row[2] for row in rows])):
                assert abs(share - 0.5) < 4 * 0.5 / number**0.5

    def test_label_says_which_order(self, make, data):
        """An example with label 1 has the later segment first: so whatever is flipped, the document's order is the same."""
        tokens, first, swapped = parse(tf.stack([record for _, record in data.source("train", 1).in_order()]))
        expected = set()
        for row, n, is_swapped in zip(tokens.to_list(), first.numpy(), swapped.numpy(), strict=True):
            parts = (row[n:], row[:n]) if is_swapped else (row[:n], row[n:])
            expected.add(tuple(map(tuple, parts)))
        inputs, labels = all_of(make().train_batches(BATCH, 0, 0), 30)
        types = inputs["input_type_ids"]
        for row, second, label in zip(restored(inputs, labels), types, labels["next_sentence"], strict=True):
            shown = row[1 : len(row) - second.sum() - 1], row[len(row) - second.sum() : -1]
            assert tuple(map(tuple, shown[::-1] if label else shown)) in expected

    def test_static_shapes(self, make):
        """As a TPU wants them; several workers each take their part of every batch."""
        dataset = make(predictions=5).train_batches(BATCH, 0, 0)
        assert all(spec.shape.is_fully_defined() and spec.dtype == tf.int32 for spec in tf.nest.flatten(dataset.element_spec))
        assert dataset.element_spec[0]["masked_lm_positions"].shape == [BATCH, 5]
        assert dataset.element_spec[1]["mlm_logits"].shape == [BATCH, 5]
        policy = dataset.options().experimental_distribute.auto_shard_policy
        assert policy == tf.data.experimental.AutoShardPolicy.DATA

    def test_longer_than_prepared(self, data, tokenizer):
        """More padding and nothing else."""
        longer = settings()
        longer.max_length = LENGTH + 10
        dataset = PretrainingPipeline(data.source("validation", 1), tokenizer, longer).evaluation_batches(BATCH)
        inputs, _ = all_of(dataset)
        assert inputs["input_word_ids"].shape[1] == LENGTH + 10
        assert not inputs["input_mask"][:, LENGTH:].any()
