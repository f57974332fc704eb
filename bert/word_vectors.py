"""Learns word vectors to begin pretraining with: python -m bert.word_vectors --data=DIR --width=64 --output=vectors.npz

DIR is what bert.prepare has written. From its training split word2vec (gensim's; continuous bag of words with negative
sampling, arXiv:1301.3781 and arXiv:1310.4546) learns in a minute which words occur beside which, and a recipe of pretraining
whose `data.word_vectors` names the file begins with that in place of random embeddings. A short run by masked words alone would
not come so far. The same data and settings give the same vectors, and what was learned once is not learned again.
"""

import argparse
import io
import json
import pathlib
import sys
import time

import numpy as np

from official.cli import quiet

with quiet.startup():
    import tensorflow  # noqa: F401  (imported by the modules below, and its start-up messages are held back here)

from bert.corpus.records import parse
from bert.masked_lm.data import PretrainingData, read_vectors
from official.cli.arguments import positive
from official.files.atomic import atomic_write

FORMAT = 1  # of the file and of what is learned from the same data
STANDARD_DEVIATION = 0.1  # of all numbers: large beside what noisy first steps of training add to them
WORD2VEC = dict(window=10, negative=10, sample=1e-4, alpha=0.05, min_count=1)
READ_BATCH = 1000


class Texts:
    """The texts of pretraining data, again for every iteration: a list of tokens as str for each example.

    Args:
      data: a PretrainingData.
    """

    def __init__(self, data):
        self._source = data.source("train", 1)
        self._names = [str(number) for number in range(len(data.token_counts))]

    def __iter__(self):
        records = self._source.in_order().map(lambda index, record: record).batch(READ_BATCH)
        for batch in records.map(lambda record: parse(record)[0]).prefetch(1):
            for row in batch.to_list():
                yield [self._names[number] for number in row]


def learn_vectors(data, width, epochs, seed):
    """The vectors of all words.

    Args:
      data: a PretrainingData.
      width: of a vector.
      epochs: how often the texts are read.
      seed: int.

    Returns:
      float32 [vocabulary, width], of mean 0 and standard deviation STANDARD_DEVIATION; of words that are never there, the special
      tokens among them, random ones.
    """
    from gensim.models import Word2Vec  # takes seconds, and only this command needs it

    # One thread: with several the result would depend on which is faster.
    learned = Word2Vec(Texts(data), vector_size=width, epochs=epochs, seed=seed, workers=1, sg=0, **WORD2VEC).wv
    seen = np.array([int(name) for name in learned.index_to_key])
    vectors = np.random.default_rng(seed).standard_normal((len(data.token_counts), width))
    centered = learned.vectors - learned.vectors.mean(axis=0)
    vectors[seen] = centered / centered.std()
    return (STANDARD_DEVIATION * vectors).astype(np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder that bert.prepare has written")
    parser.add_argument("--output", required=True, type=pathlib.Path, help="the .npz to write")
    parser.add_argument("--width", type=positive, default=64, help="model.embedding_dim of the recipe (default: %(default)s)")
    parser.add_argument("--epochs", type=positive, default=6, help="how often the texts are read (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    given = parser.parse_args()
    try:
        data = PretrainingData(given.data)
        options = dict(width=given.width, epochs=given.epochs, seed=given.seed)
        settings = {"format": FORMAT, "word2vec": WORD2VEC, **options, "data": data.made_of}
        if given.output.exists() and json.loads(read_vectors(given.output, "--output")[1]) == settings:
            print(f"{given.output}: the vectors of these data are there already")
            return
        started = time.perf_counter()
        vectors = learn_vectors(data, **options)
        content = io.BytesIO()
        np.savez(content, vectors=vectors, settings=json.dumps(settings))
        given.output.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(given.output, content.getvalue())
    except ModuleNotFoundError as error:
        sys.exit(f"error: the package {error.name} is not there: pip install -r requirements-text.lock")
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    seconds = time.perf_counter() - started
    print(f"{given.output}: vectors of {len(vectors):,} words, learned in {seconds:.0f} seconds")


if __name__ == "__main__":
    main()
