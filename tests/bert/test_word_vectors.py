"""Word vectors of pretraining data: what they know, that they are the same again, and how a run begins with them."""

import random
import subprocess
import sys

import numpy as np
import pytest

from bert.corpus.shards import Shards
from bert.masked_lm.data import PretrainingData
from bert.prepare import prepare
from bert.pretraining import Pretraining
from bert.recipes import pretraining_recipe
from bert.tokenizer import open_tokenizer
from bert.word_vectors import STANDARD_DEVIATION, Texts, learn_vectors, main
from tests.bert.corpus_files import write_texts, write_vocabulary
from tests.official.tiny import ROOT, environment

LENGTH = 24
TOPICS = (("river", "mountain", "bird"), ("teacher", "child", "house"))
SIZES = dict(depth=1, width=16, heads=2, num_experts=2, ffn_dim=16, expert_dim=16, embedding_dim=8, max_length=LENGTH)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Prepared data of documents, each of which has words of one topic and of all others alike."""
    root = tmp_path_factory.mktemp("vectors")
    vocabulary = write_vocabulary(root / "vocab.txt")
    draw = random.Random(0)
    texts = [
        " ".join(draw.choice(topic if draw.random() < 0.5 else ("the", "built", "saw")) for _ in range(15)) + f" {number} ."
        for number in range(300)
        for topic in [TOPICS[number % 2]]
    ]
    shards = Shards(str(root / "data"), vocabulary.read_bytes(), "vocab.txt", max_length=LENGTH, number=2, validation=0.1)
    prepare(shards, [str(write_texts(root / "texts", texts))])
    return root / "data"


@pytest.fixture(scope="module")
def vectors(folder):
    return learn_vectors(PretrainingData(str(folder)), width=8, epochs=100, seed=0)


def arguments(folder, output, *more):
    return [f"--data_dir={folder}", f"--output={output}", "--width=8", "--epochs=2", *more]


def test_texts_are_the_training_splits(folder):
    """All its tokens as often as they are counted there, and again the next time."""
    data = PretrainingData(str(folder))
    texts = Texts(data)
    for _ in range(2):
        tokens = [int(name) for text in texts for name in text]
        np.testing.assert_array_equal(np.bincount(tokens, minlength=len(data.token_counts)), data.token_counts)


@pytest.mark.train
def test_words_of_a_topic_are_near(vectors, folder):
    """A topic's words are more like each other than like those of the other topic."""
    tokenizer = open_tokenizer(folder / "vocab.txt")
    ids = {word: tokenizer.tokenize([word]).to_list()[0][0] for topic in TOPICS for word in topic}
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for topic, other in (TOPICS, TOPICS[::-1]):
        for word in topic:
            inside = min(unit[ids[word]] @ unit[ids[near]] for near in topic)
            outside = max(unit[ids[word]] @ unit[ids[far]] for far in other)
            assert inside > outside, word


@pytest.mark.train
def test_scale(vectors, folder):
    """Seen words and unseen ones have the same; a word that is never there is not another word's twin."""
    seen = np.array(PretrainingData(str(folder)).token_counts) > 0
    assert 0 < seen.sum() < len(seen)
    for part in (vectors[seen], vectors[~seen]):
        np.testing.assert_allclose(part.std(), STANDARD_DEVIATION, rtol=0.25)  # of at least 5 x 8 numbers
    assert len(np.unique(vectors, axis=0)) == len(vectors)
    assert vectors.dtype == np.float32


def test_command(folder, tmp_path, capsys):
    """The same vectors again in another process, by the flag's older name; not learned twice; learned anew for other settings."""
    first, second = (tmp_path / "new" / f"{name}.npz" for name in "ab")
    main(arguments(folder, first))
    assert "vectors of" in capsys.readouterr().out
    older = [f"--data={folder}", *arguments(folder, second)[1:]]
    command = [sys.executable, "-m", "bert.word_vectors", *older]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (done.stderr, len(done.stdout.splitlines())) == ("", 1)
    assert np.array_equal(np.load(first)["vectors"], np.load(second)["vectors"])
    main(arguments(folder, first))
    assert "has the vectors of these data already" in capsys.readouterr().out
    main(arguments(folder, first, "--seed=1"))
    assert "learned in" in capsys.readouterr().out
    assert not np.array_equal(np.load(first)["vectors"], np.load(second)["vectors"])


def test_a_run_begins_with_them(folder, tmp_path):
    """Only a run does: a model that is evaluated gets its weights from elsewhere, and needs no file."""
    main(arguments(folder, tmp_path / "vectors.npz"))
    data = dict(dir=str(folder), max_length=LENGTH, word_vectors=str(tmp_path / "vectors.npz"))
    task = Pretraining(pretraining_recipe("widenet_tiny_e4", SIZES, data, dict(steps=1)))
    expected = np.load(tmp_path / "vectors.npz")["vectors"]
    assert np.array_equal(task.initial_model().get_layer("embedding").word_embedding, expected)
    (tmp_path / "vectors.npz").unlink()
    assert not np.array_equal(task.create_model().get_layer("embedding").word_embedding, expected)


def test_refused(folder, tmp_path):
    """A folder without data, files of another origin, and vectors of another width, by name."""
    with pytest.raises(SystemExit, match=f"^error: data.dir='{tmp_path}' is not allowed"):
        main(arguments(tmp_path, tmp_path / "vectors.npz"))
    assert not list(tmp_path.iterdir())

    def begin(path, **sizes):
        data = dict(dir=str(folder), max_length=LENGTH, word_vectors=str(path))
        Pretraining(pretraining_recipe("widenet_tiny_e4", {**SIZES, **sizes}, data, dict(steps=1))).initial_model()

    (tmp_path / "empty.npz").touch()
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(SystemExit, match=f"^error: --output='{tmp_path}/torn.npz' is not allowed: it must be a file"):
        main(arguments(folder, tmp_path / "torn.npz"))
    np.save(tmp_path / "array.npy", np.zeros([3, 8], np.float32))
    np.savez(tmp_path / "words.npz", vectors=[["a"]], settings="{}")
    others = (tmp_path / "array.npy", tmp_path / "words.npz", folder / "vocab.txt")
    for settings, said in (
        ("", "is not JSON: it is empty"),
        ("[" * 100_000, "is not JSON: it is nested"),
        ("3", "is not allowed"),
    ):
        np.savez(tmp_path / "other.npz", vectors=np.zeros([3, 8], np.float32), settings=settings)
        with pytest.raises(SystemExit, match=f"^error: 'settings' in {tmp_path}/other.npz {said}"):
            main(arguments(folder, tmp_path / "other.npz"))
    for path in (*(tmp_path / f"{name}.npz" for name in ("missing", "empty", "torn")), *others):
        with pytest.raises(ValueError, match=f"data.word_vectors='{path}' is not allowed: it must be a file that"):
            begin(path)
    main(arguments(folder, tmp_path / "vectors.npz"))
    with pytest.raises(ValueError, match=r"it must have \d+ x 4 values, not \d+ x 8"):
        begin(tmp_path / "vectors.npz", embedding_dim=4)
