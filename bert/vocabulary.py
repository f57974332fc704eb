"""Learns a WordPiece vocabulary from texts.

    python -m bert.vocabulary --corpus='texts/*.txt' --size=8000 --output=vocab.txt

A corpus is a file, folder or glob of texts, a Wikipedia dump (.xml.bz2), wikipedia_sample, imdb, or tfds:NAME, as in
bert.prepare. The same texts give the same vocabulary, in any order and however they are split into documents. Only with
millions of different words does the order matter, because rare ones are dropped on the way.
"""

import argparse
import collections
import hashlib
import itertools
import json
import pathlib
import sys
import time

import numpy as np

from official.cli import quiet

with quiet.startup():
    import tensorflow as tf

from bert.corpus.open import add_corpus_arguments, open_corpus
from bert.tokenizer import open_tokenizer
from bert.tokenizers.normalizer import normalizer, words_of
from bert.tokenizers.wordpiece import SPECIAL
from bert.tokenizers.wordpiece_trainer import learn_pieces
from official.cli.status_line import StatusLine
from official.files.atomic import atomic_write
from official.files.layout import check_output, printable

FORMAT = 1  # version of the vocabulary for given words
BATCH_BYTES = 1 << 20  # size of the texts that are normalized in one call
MAX_WORDS = 2_000_000  # different words; beyond that, rare ones are dropped


def learn_vocabulary(texts, size, lower_case=True, cache_dir="vocabularies"):
    """Learns the vocabulary of some texts, or finds it in the cache, and returns its path.

    Args:
      texts: iterable of str or UTF-8 bytes, or a tf.data.Dataset of strings.
      size: number of tokens, special ones included; there are fewer only if the texts have too few words.
      lower_case: as in bert.tokenizer.open_tokenizer.
      cache_dir: folder of vocabularies, each named by a hash of its inputs.

    Raises:
      ValueError: texts without a word, or a size that is too small for their characters.
    """
    counts, *_ = count_words(texts, lower_case)
    dependencies = [FORMAT, size, sorted(counts.items())]  # the words show lower_case
    digest = hashlib.sha256(json.dumps(dependencies).encode()).hexdigest()[:16]
    path = pathlib.Path(cache_dir) / f"vocab-{size}-{digest}.txt"
    if not path.exists():
        write_vocabulary(path, learn_pieces(counts, size, SPECIAL))
    return path


def count_words(texts, lower_case=True, progress=lambda read, size: None):
    """Counts the words of some texts, split as BERT does.

    Args:
      texts, lower_case: as in `learn_vocabulary`.
      progress: called from time to time with the number of texts read so far and their size in bytes.

    Returns:
      A collections.Counter of str, the number of texts, and their size in bytes.
    """
    counts, chunks = collections.Counter(), collections.Counter()
    normalize = normalizer("bert", lower_case).normalize

    def add_words():
        # Chunks between spaces repeat often, so each different one is split into words only once.
        for chunk, count in chunks.items():
            for word in words_of(chunk.decode()):
                counts[word] += count
        chunks.clear()
        if len(counts) > MAX_WORDS:
            for word in sorted(counts, key=lambda word: (-counts[word], word))[MAX_WORDS // 2 :]:
                del counts[word]

    read = size = 0
    for batch in _batches(texts):
        for text in normalize(tf.constant(batch, tf.string)).numpy():
            chunks.update(text.split(b" "))
        if len(chunks) > MAX_WORDS:
            add_words()
        read, size = read + len(batch), size + sum(map(len, batch))
        progress(read, size)
    add_words()
    return counts, read, size


def _batches(texts):
    """Yields lists of texts, as bytes, of a little more than BATCH_BYTES each."""
    batch, size = [], 0
    elements = texts.as_numpy_iterator() if isinstance(texts, tf.data.Dataset) else texts
    for element in elements:
        for text in [element] if isinstance(element, (str, bytes)) else np.ravel(element).tolist():
            batch.append(text.encode(errors="ignore") if isinstance(text, str) else text)
            size += len(batch[-1])
            if size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def write_vocabulary(path, tokens):
    """Writes a vocab.txt atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, "".join(f"{token}\n" for token in tokens).encode())


def unknown_and_length(path, counts, lower_case):
    """The share of unknown words, and the mean number of tokens of a word, both weighted by the words' counts."""
    tokenizer = open_tokenizer(path, lower_case)
    words, times = list(counts), np.array(list(counts.values()))
    ids = tokenizer.tokenize(tf.constant(words, tf.string))
    is_unknown = tf.reduce_any(ids == tokenizer.ids.unk, axis=1).numpy()
    return (times * is_unknown).sum() / times.sum(), (times * ids.row_lengths().numpy()).sum() / times.sum()


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m bert.vocabulary",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage="%(prog)s --corpus=CORPUS --output=OUTPUT [options]",
    )
    add_corpus_arguments(parser, aliases=("--input",))
    parser.add_argument("--output", required=True, type=pathlib.Path, help="the vocab.txt to write")
    parser.add_argument("--size", type=int, default=8000, help="number of tokens (default: %(default)s)")
    parser.add_argument("--cased", action="store_true", help="keep upper case and accents")
    args = parser.parse_args(argv)
    line = StatusLine()

    def show(read, size):
        if line.is_due():
            line.show(f"reading: {read:,} documents, {size / 1e6:.1f} MB")

    begun = time.perf_counter()
    try:
        first = "".join(f"{token}\n" for token in SPECIAL).encode()
        is_own = args.output.is_file() and args.output.read_bytes().startswith(first)
        check_output(args.output, is_own, "an earlier vocabulary of this command")
        corpora = [open_corpus(name, tfds_dir=args.data_dir or "", tfds_feature=args.tfds_feature) for name in args.corpus]
        texts = itertools.chain.from_iterable(corpus.documents() for corpus in corpora)
        counts, read, size = count_words(texts, not args.cased, show)
        seconds = time.perf_counter() - begun
        line.leave(f"{read:,} documents, {size / 1e6:.1f} MB, in {seconds:.1f} seconds: {size / 1e6 / seconds:.1f} MB a second")
        begun = time.perf_counter()
        tokens = learn_pieces(counts, args.size, SPECIAL)
        write_vocabulary(args.output, tokens)
    except (ValueError, OSError, tf.errors.OpError) as error:
        sys.exit(printable(f"error: {error}"))
    print(f"{len(tokens):,} tokens learned from {len(counts):,} words in {time.perf_counter() - begun:.1f} seconds")
    unknown, length = unknown_and_length(args.output, counts, not args.cased)
    print(f"A word of these texts has {length:.2f} tokens on average, and {unknown:.3%} of the words are unknown.")
    print(f"The vocabulary is in {args.output}")


if __name__ == "__main__":
    main()
