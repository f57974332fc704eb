"""Learns a WordPiece vocabulary: python -m bert.vocabulary --corpus='texts/*.txt' --size=8000 --output=vocab.txt

A corpus is what bert.prepare takes: a file, folder or glob of texts, a Wikipedia dump (.xml.bz2), wikipedia_sample, imdb, or
tfds:NAME. The same texts give the same vocabulary, in any order and however divided into documents; only where they have
millions of different words the order decides which rare ones are forgotten.
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

from bert.corpus.open import open_corpus
from bert.tokenizer import open_tokenizer
from bert.tokenizers.normalizer import normalizer, words_of
from bert.tokenizers.wordpiece import SPECIAL
from bert.tokenizers.wordpiece_trainer import learn_pieces
from official.cli.status_line import StatusLine
from official.files.atomic import atomic_write

FORMAT = 1  # of what is learned from the same words
BATCH_BYTES = 1 << 20  # bytes, of texts to normalize in one call
MAX_WORDS = 2_000_000  # different ones; of more, rare ones are forgotten now and then


def learn_vocabulary(texts, size, lower_case=True, cache_dir="vocabularies"):
    """The path of the vocabulary of some texts, which is learned unless it is there already.

    Args:
      texts: iterable of str or of bytes in UTF-8, or a tf.data.Dataset of strings.
      size: how many tokens, the special ones included; there are fewer only where the texts do not have more.
      lower_case: as of bert.tokenizer.open_tokenizer.
      cache_dir: folder of vocabularies, each named by a hash of what it depends on.

    Raises:
      ValueError: texts without a word, or a size that is too small for their characters.
    """
    counts, *_ = count_words(texts, lower_case)
    dependencies = [FORMAT, size, sorted(counts.items())]  # lower_case is in the words
    digest = hashlib.sha256(json.dumps(dependencies).encode()).hexdigest()[:16]
    path = pathlib.Path(cache_dir) / f"vocab-{size}-{digest}.txt"
    if not path.exists():
        write_vocabulary(path, learn_pieces(counts, size, SPECIAL))
    return path


def count_words(texts, lower_case=True, progress=lambda read, size: None):
    """How often each word is in some texts, as BERT divides texts into words.

    Args:
      texts, lower_case: as of `learn_vocabulary`.
      progress: called now and then with how many texts have been read, and their bytes.

    Returns:
      A collections.Counter of str, how many texts there were, and their bytes together.
    """
    counts, chunks = collections.Counter(), collections.Counter()
    normalize = normalizer("bert", lower_case).normalize

    def add_words():
        # Many chunks are the same: what white space divides is divided further once for all of them.
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
    """Yields lists of bytes, all texts one by one, of BATCH_BYTES bytes or a little more."""
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
    """Writes a vocab.txt, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, "".join(f"{token}\n" for token in tokens).encode())


def unknown_and_length(path, counts, lower_case):
    """Of words as often as they occur: the share of unknown ones, and how many tokens one has on average."""
    tokenizer = open_tokenizer(path, lower_case)
    words, times = list(counts), np.array(list(counts.values()))
    ids = tokenizer.tokenize(tf.constant(words, tf.string))
    is_unknown = tf.reduce_any(ids == tokenizer.ids.unk, axis=1).numpy()
    return (times * is_unknown).sum() / times.sum(), (times * ids.row_lengths().numpy()).sum() / times.sum()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, usage="%(prog)s [options]"
    )
    parser.add_argument(
        "--corpus", "--input", action="append", required=True, help="name or path; several of these flags are several corpora"
    )
    parser.add_argument("--output", required=True, type=pathlib.Path, help="the vocab.txt to write")
    parser.add_argument("--size", type=int, default=8000, help="how many tokens (default: %(default)s)")
    parser.add_argument("--cased", action="store_true", help="tell capital letters from small ones, and keep accents")
    parser.add_argument("--tfds_dir", default="", help="where TensorFlow Datasets' sets are (default: its own folder)")
    parser.add_argument("--tfds_feature", default="", help="which feature is the text, where a set has several")
    given = parser.parse_args()
    line = StatusLine()

    def show(read, size):
        if line.is_due():
            line.show(f"reading: {read:,} documents, {size / 1e6:.1f} MB")

    begun = time.perf_counter()
    try:
        corpora = [open_corpus(name, tfds_dir=given.tfds_dir, tfds_feature=given.tfds_feature) for name in given.corpus]
        texts = itertools.chain.from_iterable(corpus.documents() for corpus in corpora)
        counts, read, size = count_words(texts, not given.cased, show)
        seconds = time.perf_counter() - begun
        line.leave(f"{read:,} documents, {size / 1e6:.1f} MB, in {seconds:.1f} seconds: {size / 1e6 / seconds:.1f} MB a second")
        begun = time.perf_counter()
        tokens = learn_pieces(counts, given.size, SPECIAL)
        write_vocabulary(given.output, tokens)
    except (ValueError, OSError, tf.errors.OpError) as error:
        sys.exit(f"error: {error}")
    print(f"{len(tokens):,} tokens learned from {len(counts):,} words in {time.perf_counter() - begun:.1f} seconds")
    unknown, length = unknown_and_length(given.output, counts, not given.cased)
    print(f"A word of these texts has {length:.2f} of them on average, and {unknown:.3%} of the words are unknown.")
    print(f"The vocabulary is in {given.output}")


if __name__ == "__main__":
    main()
