"""Batches of texts: the same from any step, of static length, and of nothing but the texts' own tokens."""

import hashlib

import numpy as np
import pytest
import tensorflow as tf

from bert.texts.examples import Examples
from bert.texts.pipeline import TextPipeline
from bert.tokenizer import open_tokenizer
from official.data.batches import GROUPED, part_of_batches
from tests.bert.prepared_texts import write_vocabulary

WORDS = ("red", "green", "blue", "one", "two", "three")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return open_tokenizer(write_vocabulary(tmp_path_factory.mktemp("vocabulary") / "vocab.txt", WORDS))


def examples(count=21, pairs=False, scores=False, labelled=True, longest=9):
    """Texts of one to `longest` words whose number is their label."""
    random = np.random.default_rng(0)
    texts = [[" ".join(random.choice(WORDS, random.integers(1, longest + 1))) for _ in range(count)] for _ in range(1 + pairs)]
    labels = np.arange(count, dtype=np.float32 if scores else np.int64) if labelled else None
    return Examples(tuple(texts), labels, np.arange(count), "text {}".format)


def pipeline(tokenizer, found=None, max_length=16, cache_mib=8):
    return TextPipeline(found or examples(), tokenizer, max_length, cache_mib)


def words_of(inputs, row, tokenizer):
    """The tokens of one example of a batch, padding left out."""
    ids = np.asarray(inputs["input_word_ids"])[row][np.asarray(inputs["input_mask"])[row] == 1]
    return tokenizer.to_tokens(ids)


def digests(batches):
    return [
        [hashlib.sha256(part.numpy().tobytes()).hexdigest() for part in tf.nest.flatten(batch, expand_composites=True)]
        for batch in batches
    ]


@pytest.mark.parametrize("cache_mib", [0, pytest.param(8, marks=pytest.mark.further)])
@pytest.mark.parametrize("pairs", [False, True])
def test_batches_hold_the_texts(tokenizer, pairs, cache_mib):
    """In evaluation every example once: [CLS] text [SEP], and after it the other text and [SEP], types 0 and 1; padded."""
    found = examples(pairs=pairs)
    seen = {}
    for inputs, labels in pipeline(tokenizer, found, max_length=24, cache_mib=cache_mib).evaluation_batches(4, places=True):
        assert inputs["input_word_ids"].dtype == tf.int32
        lengths = inputs["input_mask"].numpy().sum(axis=1)
        assert inputs["input_word_ids"].shape[1] == lengths.max()  # no longer than the longest
        for row, place in enumerate(labels["place"].numpy()):
            types = inputs["input_type_ids"].numpy()[row, : lengths[row]]
            seen[place] = words_of(inputs, row, tokenizer), types.tolist()
            assert labels["label"][row] == place
    expected = {}
    for place, texts in enumerate(zip(*found.texts, strict=True)):
        parts = [[*text.split(), "[SEP]"] for text in texts]
        types = [0] * (1 + len(parts[0])) + [1] * (len(parts[1]) if pairs else 0)
        expected[place] = ["[CLS]", *(token for part in parts for token in part)], types
    assert seen == expected


def test_any_step_without_those_before_it(tokenizer):
    """Bit for bit, over three epochs; another seed, or another epoch, has another order."""
    whole = digests(pipeline(tokenizer).train_batches(4, seed=3, start_step=0).take(16))
    for start in (1, 5, 11):
        again = pipeline(tokenizer).train_batches(4, seed=3, start_step=start).take(16 - start)
        assert digests(again) == whole[start:]
    other = digests(pipeline(tokenizer).train_batches(4, seed=4, start_step=0).take(16))
    assert not {tuple(batch) for batch in whole} & {tuple(batch) for batch in other}


def test_every_epoch_has_every_example(tokenizer):
    """Also where batches cross from one epoch to the next: 7 batches of 6 are two epochs of 21."""
    labels = [labels.numpy() for _, labels in pipeline(tokenizer).train_batches(6, seed=0, start_step=0).take(7)]
    epochs = np.concatenate(labels).reshape(2, 21)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(21), (2, 1)))
    assert not np.array_equal(*epochs)


@pytest.mark.parametrize("cache_mib", [0, 8])
def test_training_batches_are_the_examples(tokenizer, cache_mib):
    """A label leads to its text, also where it is tokenized with its batch; both ways are the same."""
    found = examples()
    for inputs, labels in pipeline(tokenizer, found, cache_mib=cache_mib).train_batches(4, seed=0, start_step=0).take(6):
        for row, label in enumerate(labels.numpy()):
            assert words_of(inputs, row, tokenizer)[1:-1] == found.texts[0][label].split()


def test_static_shapes(tokenizer):
    """No longer than the longest example, rounded up to a multiple of 8, where that is known; else, or above it, max_length."""
    found = examples(longest=9)  # the longest has 9 words, so 11 tokens
    for max_length, cache_mib, expected in ((128, 8, 16), (12, 8, 12), (128, 0, 128)):
        lines = pipeline(tokenizer, found, max_length, cache_mib)
        inputs, labels = lines.train_batches(4, seed=0, start_step=0).element_spec
        assert {spec.shape.as_list() == [4, expected] for spec in inputs.values()} == {True}
        assert labels.shape == [4]
        inputs, _ = lines.evaluation_batches(4, static=True).element_spec
        assert {spec.shape.as_list() == [None, expected] for spec in inputs.values()} == {True}


def test_padding_to_the_batch(tokenizer):
    """Training batches as long as their longest example: other padding, the same tokens."""
    lines = pipeline(tokenizer)
    static = lines.train_batches(4, seed=0, start_step=0).take(5)
    short = lines.train_batches(4, seed=0, start_step=0, padding="batch").take(5)
    lengths = set()
    for (inputs, labels), (other, other_labels) in zip(static, short, strict=True):
        np.testing.assert_array_equal(labels, other_labels)
        length = other["input_word_ids"].shape[1]
        assert length == other["input_mask"].numpy().sum(axis=1).max()
        for name in inputs:
            np.testing.assert_array_equal(inputs[name][:, :length], other[name])
        assert not inputs["input_mask"][:, length:].numpy().any()
        lengths.add(length)
    assert len(lengths) > 1


@pytest.mark.parametrize("padding", ["static", "batch", "grouped"])
def test_parts_of_batches(tokenizer, padding):
    """Two workers with half of each batch: the texts of both are those of one, whatever the padding, also from step 5 on."""
    for start in (0, 5):
        joined = []
        for workers in (1, 2):
            halves = []
            for worker in range(workers):
                with part_of_batches(worker, workers):
                    batches = pipeline(tokenizer).train_batches(4, 3, start, padding=padding).take(12)
                halves.append([(inputs, labels.numpy().tolist()) for inputs, labels in batches])
            joined.append(
                [
                    (label, words_of(inputs, row, tokenizer))
                    for parts in zip(*halves, strict=True)
                    for inputs, labels in parts
                    for row, label in enumerate(labels)
                ]
            )
        assert joined[0] == joined[1]


class TestGrouped:
    """Batches of examples of about one length."""

    def batches(self, tokenizer, start=0, seed=3):
        found = examples(count=50, longest=40)
        return (
            pipeline(tokenizer, found, max_length=48).train_batches(4, seed, start, padding="grouped").take(2 * GROUPED - start)
        )

    def test_little_padding(self, tokenizer):
        """Each 32 batches have the examples that 32 other batches have, sorted by length; batches come in a drawn order."""
        plain = pipeline(tokenizer, examples(count=50, longest=40), max_length=48).train_batches(4, 3, 0, padding="batch")
        labels = [[y.numpy() for _, y in batches] for batches in (plain.take(2 * GROUPED), self.batches(tokenizer))]
        for part in (slice(GROUPED), slice(GROUPED, None)):
            expected, found = (np.sort(np.concatenate(of[part])) for of in labels)
            np.testing.assert_array_equal(found, expected)
        masks = [inputs["input_mask"].numpy() for inputs, _ in self.batches(tokenizer)]
        longest, shortest = (np.array([of(mask.sum(axis=1)) for mask in masks[:GROUPED]]) for of in (np.max, np.min))
        order = np.lexsort((shortest, longest))
        assert np.all(longest[order][:-1] <= shortest[order][1:])
        assert not np.array_equal(order, np.arange(GROUPED))
        assert np.mean([mask.mean() for mask in masks]) > 0.95

    def test_any_step_without_those_before_it(self, tokenizer):
        whole = digests(self.batches(tokenizer))
        for start in (1, GROUPED - 1, GROUPED, GROUPED + 5):
            assert digests(self.batches(tokenizer, start)) == whole[start:]
        assert digests(self.batches(tokenizer, seed=4)) != whole

    def test_needs_lengths(self, tokenizer):
        with pytest.raises(ValueError, match="data.padding='grouped' is not allowed: the texts take more than data.cache_mib"):
            pipeline(tokenizer, cache_mib=0).train_batches(4, 0, 0, padding="grouped")


def test_too_long_texts_are_cut(tokenizer):
    """As if nothing had been cut before it was kept in memory: the longer text loses its last tokens."""
    found = Examples((["one " * 50, "one"], ["two " * 40, "two " * 50]), np.array([0, 1]), np.arange(2), str)
    for cache_mib in (0, 8):
        ((inputs, labels),) = pipeline(tokenizer, found, max_length=12, cache_mib=cache_mib).evaluation_batches(2, places=True)
        rows = {int(place): words_of(inputs, row, tokenizer) for row, place in enumerate(labels["place"])}
        assert rows[0] == ["[CLS]", *["one"] * 5, "[SEP]", *["two"] * 4, "[SEP]"]
        assert rows[1] == ["[CLS]", "one", "[SEP]", *["two"] * 8, "[SEP]"]


def test_tokens_per_example(tokenizer):
    """With [CLS] and [SEP], after cutting; not known where nothing was tokenized."""
    found = examples()
    expected = np.mean([min(len(text.split()) + 2, 8) for text in found.texts[0]])
    assert pipeline(tokenizer, found, max_length=8).tokens_per_example == pytest.approx(expected)
    assert pipeline(tokenizer, found, cache_mib=0).tokens_per_example is None


def test_scores_and_no_labels(tokenizer):
    """Scores stand in a column, as the model's output does; without labels there is only the place."""
    inputs, labels = next(iter(pipeline(tokenizer, examples(scores=True)).train_batches(4, seed=0, start_step=0)))
    assert (labels.shape, labels.dtype) == ([4, 1], tf.float32)
    batches = pipeline(tokenizer, examples(labelled=False)).evaluation_batches(4, places=True)
    assert batches.cardinality() == 6
    assert {tuple(labels) for _, labels in batches} == {("place",)}
    assert sorted(np.concatenate([labels["place"] for _, labels in batches])) == list(range(21))


def test_evaluation_has_little_padding(tokenizer):
    """Examples of about one length come together: less padding than in the order that they have."""
    found = examples(count=64, longest=60)
    lengths = [len(text.split()) + 2 for text in found.texts[0]]
    padded = sum(inputs["input_mask"].shape.num_elements() for inputs, _ in pipeline(tokenizer, found, 128).evaluation_batches(8))
    as_they_are = sum(8 * max(lengths[start : start + 8]) for start in range(0, 64, 8))
    assert padded < 0.7 * as_they_are
    assert padded < 1.1 * sum(lengths)
