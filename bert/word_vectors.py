"""Learns word vectors that initialize the embeddings of a pretraining run.

    python -m bert.word_vectors --data_dir=DIR --width=64 --output=vectors.npz
    python -m official.train --config=bert/configs/pretraining_small.py --config.data.word_vectors=vectors.npz ...

DIR is a folder that bert.prepare has written. The vectors are learned on its training split by gensim's word2vec (continuous bag
of words with negative sampling, arXiv:1301.3781 and arXiv:1310.4546), which takes about a minute. They help short runs. The same
data and settings give the same vectors; an output that already has them is not learned again.
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
from official.cli.arguments import add_data_dir, positive
from official.files.atomic import atomic_write
from official.files.checked_json import parse_json
from official.files.layout import printable

FORMAT = 1  # version of the file and of the vectors for given data
STANDARD_DEVIATION = 0.1  # of all values: large compared with the noise of the first training steps
WORD2VEC = dict(window=10, negative=10, sample=1e-4, alpha=0.05, min_count=1)
READ_BATCH = 1000  # records that are parsed in one call


class Texts:
    """Iterates over the examples of pretraining data, any number of times; each is a list of token ids as str.

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
    """Learns the vectors of all tokens.

    Args:
      data: a PretrainingData.
      width: of a vector.
      epochs: passes over the texts.
      seed: int.

    Returns:
      float32 [vocabulary, width] of mean 0 and standard deviation STANDARD_DEVIATION. Tokens that do not occur, such as special
      tokens, get random vectors.
    """
    from gensim.models import Word2Vec  # slow to import, and only this command needs it

    # One thread, because with several the result depends on timing.
    learned = Word2Vec(Texts(data), vector_size=width, epochs=epochs, seed=seed, workers=1, sg=0, **WORD2VEC).wv
    seen = np.array([int(name) for name in learned.index_to_key])
    vectors = np.random.default_rng(seed).standard_normal((len(data.token_counts), width))
    centered = learned.vectors - learned.vectors.mean(axis=0)
    vectors[seen] = centered / centered.std()
    return (STANDARD_DEVIATION * vectors).astype(np.float32)


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m bert.word_vectors", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_data_dir(parser, "folder that bert.prepare has written", aliases=("--data",), required=True)
    parser.add_argument("--output", required=True, type=pathlib.Path, help="the .npz file to write")
    parser.add_argument("--width", type=positive, default=64, help="model.embedding_dim of the recipe (default: %(default)s)")
    parser.add_argument("--epochs", type=positive, default=6, help="passes over the texts (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    args = parser.parse_args(argv)
    try:
        data = PretrainingData(args.data_dir)
        options = dict(width=args.width, epochs=args.epochs, seed=args.seed)
        settings = {"format": FORMAT, "word2vec": WORD2VEC, **options, "data": data.made_of}
        known = read_vectors(args.output, "--output")[1] if args.output.exists() else None
        if known is not None and parse_json(known, f"'settings' in {args.output}") == settings:
            print(f"{args.output} has the vectors of these data already")
            return
        started = time.perf_counter()
        vectors = learn_vectors(data, **options)
        content = io.BytesIO()
        np.savez(content, vectors=vectors, settings=json.dumps(settings))
        args.output.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(args.output, content.getvalue())
    except ModuleNotFoundError as error:
        sys.exit(f"error: the package {error.name} is not installed: pip install '.[text]' in the checkout")
    except (ValueError, OSError) as error:
        sys.exit(printable(f"error: {error}"))
    seconds = time.perf_counter() - started
    print(f"{args.output}: vectors of {len(vectors):,} tokens, learned in {seconds:.0f} seconds")


if __name__ == "__main__":
    main()
