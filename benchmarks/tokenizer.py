"""Speed of tokenizers, in MB of text per second: python -m benchmarks.tokenizer

One call at a time, as in one thread of an input pipeline: this project's WordPiece, which follows BERT's rules, and the
tokenizers of TensorFlow Text.
"""

import itertools
import tempfile

from benchmarks import command
from benchmarks.harness import Case

TEXTS_PER_CALL = 100


def tokenizer(kind, vocabulary, corpus, megabytes):
    """A case (benchmarks/worker.py): tokenizes the first texts of a corpus.

    Args:
      kind: a key of `_functions`.
      vocabulary: path of a vocab.txt.
      corpus: name for bert.corpus.open.open_corpus.
      megabytes: least amount of text.
    """
    import tensorflow as tf

    texts = first_texts(corpus, megabytes)
    batches = [tf.constant(texts[start : start + TEXTS_PER_CALL]) for start in range(0, len(texts), TEXTS_PER_CALL)]
    function = tf.function(_functions(vocabulary)[kind](), input_signature=[tf.TensorSpec([None], tf.string)])

    def step():
        for batch in batches:
            function(batch)

    return step, {"megabytes": sum(len(text.encode()) for text in texts) / 1e6}


def first_texts(corpus, megabytes):
    """The first documents of a corpus, list of str, with at least `megabytes` MB together."""
    from bert.corpus.open import open_corpus

    texts, size = [], 0
    for text in open_corpus(corpus).documents():
        texts.append(text)
        size += len(text.encode())
        if size >= megabytes * 1e6:
            break
    return texts


def _functions(vocabulary):
    """{kind: function that creates a tokenizer, a function of texts}."""
    import tensorflow as tf
    import tensorflow_text

    from bert.tokenizer import open_tokenizer, pack

    def packed():
        ours = open_tokenizer(vocabulary)
        return lambda texts: pack(ours, [ours.tokenize(texts)], 128)

    def fast():
        with open(vocabulary, encoding="utf-8") as file:
            tokens = file.read().splitlines()
        return tensorflow_text.FastBertTokenizer(tokens, lower_case_nfd_strip_accents=True, token_out_type=tf.int32).tokenize

    return {
        "tokenize": lambda: open_tokenizer(vocabulary).tokenize,
        "tokenize_with_offsets": lambda: open_tokenizer(vocabulary).tokenize_with_offsets,
        "pack": packed,
        "FastBertTokenizer": fast,
        "BertTokenizer": lambda: tensorflow_text.BertTokenizer(vocabulary, lower_case=True, token_out_type=tf.int32).tokenize,
    }


def cases(vocabulary, corpus, megabytes):
    """Three cases of this project, then those of TensorFlow Text."""
    notes = {
        "tokenize": "bert.tokenizer's WordPiece",
        "tokenize_with_offsets": "with the position of each token",
        "pack": "tokenized and packed to 128 tokens",
        "FastBertTokenizer": "of TensorFlow Text, with its own character table",
        "BertTokenizer": "of TensorFlow Text",
    }
    settings = dict(vocabulary=str(vocabulary), corpus=corpus, megabytes=megabytes)
    return [Case(kind, "benchmarks/tokenizer.py", "tokenizer", dict(settings, kind=kind), notes[kind]) for kind in notes]


def add_rates(rows):
    """Adds facts["MB a second"]."""
    for row in rows:
        row["facts"]["MB a second"] = row["facts"]["megabytes"] / row["median_seconds"]
    return {}


def main():
    from bert.corpus.open import open_corpus
    from bert.vocabulary import learn_vocabulary

    parser = command.parser(__doc__)
    parser.add_argument("--corpus", default="imdb", help="as bert.prepare takes it (default: imdb)")
    parser.add_argument("--megabytes", type=float, default=3.0, help="of text per step (default: 3)")
    parser.add_argument("--size", type=command.positive, default=30_000, help="tokens in the vocabulary (default: 30,000)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        texts = itertools.islice(open_corpus(given.corpus).documents(), 20_000)
        vocabulary = learn_vocabulary(texts, given.size, cache_dir=folder)
        rows = cases(vocabulary, given.corpus, given.megabytes)
        command.run("tokenizers", rows, given, ("MB a second",), add_rates)


if __name__ == "__main__":
    main()
