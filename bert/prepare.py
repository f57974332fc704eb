"""Makes pretraining data from texts.

    python -m bert.prepare --corpus=wikipedia_sample --corpus=imdb --vocabulary=vocab.txt --output=DIR

A corpus is wikipedia_sample or imdb (inside packages of the extra text), a Wikipedia dump (.xml.bz2), text files, a folder
of them, or tfds:NAME; see docs/text.md. Apache Beam does the work with any of its runners, whose options may follow, such as
--direct_num_workers=8. --runner=local works in this process without Beam, for a corpus that fits into memory. The files do not
depend on the runner. The same command resumes a run that was stopped.
"""

import argparse
import collections
import itertools
import pathlib
import sys
import time

from official.cli import quiet

with quiet.startup():
    import tensorflow as tf

from bert.corpus import beam
from bert.corpus.open import add_corpus_arguments, open_corpus
from bert.corpus.shards import Shards, finish_info, read_info, write_info
from official.cli.status_line import StatusLine
from official.config import changes
from official.files.layout import printable

DEFAULT_RUNNER, LOCAL = "DirectRunner", "local"


def prepare(shards, names, runner=LOCAL, options=(), blank_lines=False, tfds_dir="", tfds_feature=""):
    """Writes the files of pretraining data that do not exist yet.

    Args:
      shards: a bert.corpus.shards.Shards.
      names: of the corpora.
      runner: "local", or the name of a Beam runner.
      options: list of str, for Beam.
      blank_lines, tfds_dir, tfds_feature: as in bert.corpus.open.open_corpus.

    Returns:
      The content of dataset_info.json (bert.corpus.shards.read_info).

    Raises:
      ValueError: a setting that is not allowed, a folder with other data, or a corpus that is damaged or empty.
    """
    check_settings(shards)
    shards.open_tokenizer()  # now, so that an invalid vocabulary is refused before any work
    if runner != LOCAL:
        beam.check_installed()
    elif options:
        raise ValueError(f"{options[0]} is not an option of bert.prepare, and --runner=local has no options")
    corpora = [open_corpus(name, blank_lines, tfds_dir, tfds_feature) for name in names]
    inputs = dict(corpora=[corpus.facts() for corpus in corpora], blank_lines=blank_lines, tfds_feature=tfds_feature)
    check_folder(shards, inputs)
    write_info(shards, inputs)
    shards.write_text(shards.vocabulary_name, shards.vocabulary)
    total, missing = len(shards.all_keys()), shards.missing()
    if len(missing) < total:
        print(f"{total - len(missing)} of {total} files exist already.", flush=True)
    line = StatusLine(log_every=60)
    try:
        if missing and runner == LOCAL:
            run_here(corpora, shards, missing, line)
        elif missing:
            beam.run(corpora, shards, missing, runner, options, lambda: show_files(shards, line))
    finally:
        line.clear()
    missing = shards.missing()
    if len(missing) == total:
        raise ValueError(f"corpus={', '.join(names)} is not allowed: it must have a document")
    for key in missing:  # files without documents
        shards.write(key, [])
    info = finish_info(shards, inputs)
    check_splits(info)
    shards.remove_partial()
    return info


def run_here(corpora, shards, missing, line):
    """Writes the missing files in this process, with all text in memory, except those that get no document."""
    wanted, texts, size = set(missing), collections.defaultdict(list), 0
    for number, text in enumerate(itertools.chain.from_iterable(corpus.documents() for corpus in corpora), 1):
        key = shards.key_of(text)
        if key in wanted:
            texts[key].append(text)
        size += len(text)
        if line.is_due():
            line.show(f"reading: {number:,} documents, {size / 1e6:.1f} million characters")
    for key in sorted(texts):
        shards.write(key, texts.pop(key))
        show_files(shards, line)


def show_files(shards, line):
    """Shows the number of finished files."""
    if line.is_due():
        total = len(shards.all_keys())
        line.show(f"{total - len(shards.missing())} of {total} files are made")


def check_settings(shards):
    """Refuses settings out of range.

    Raises:
      ValueError: names the setting, its value and what is allowed.
    """
    allowed = {
        "max_length": (shards.max_length >= 16, "at least 16"),
        "number": (shards.number >= 1, "at least 1"),
        "validation": (0 < shards.validation < 1, "above 0 and below 1"),
        "short_share": (0 <= shards.short_share <= 1, "from 0 to 1"),
    }
    for setting, (is_allowed, what) in allowed.items():
        if not is_allowed:
            raise ValueError(f"{FLAGS.get(setting, setting)}={getattr(shards, setting)!r} is not allowed: it must be {what}")


FLAGS = {"number": "shards", "short_share": "short"}  # settings of Shards with another name on the command line


def check_folder(shards, inputs):
    """Refuses a folder with files of other settings or corpora.

    Raises:
      ValueError: names the differences.
    """
    before = read_info(shards.folder)
    if before is None:
        if len(shards.missing()) < len(shards.all_keys()):
            raise ValueError(f"{shards.folder} has files of unknown settings, without dataset_info.json; choose another --output")
        return
    now = {"settings": shards.settings(), "inputs": inputs}
    different = changes({key: before.get(key, {}) for key in now}, now)
    if different:
        listed = "; ".join(f"{key.partition('.')[2]}: {old!r} -> {new!r}" for key, (old, new) in different.items())
        raise ValueError(
            f"{shards.folder} has pretraining data of other settings ({listed}); choose another --output or delete it"
        )


def check_splits(info):
    """Refuses data without examples for training or for evaluation.

    Raises:
      ValueError: names the split.
    """
    for split, counts in info["splits"].items():
        if not counts["examples"]:
            documents = sum(split["documents"] for split in info["splits"].values())
            raise ValueError(f"the {split} split has no examples of the {documents:,} documents; choose another --validation")


def report(info, folder, seconds):
    """Prints statistics of the data."""
    splits = info["splits"]
    for split, counts in splits.items():
        filled = counts["tokens"] / max(1, counts["examples"]) / info["settings"]["max_length"]
        print(
            f"{split}: {counts['documents']:,} documents of {counts['text_bytes'] / 1e6:.1f} MB; {counts['examples']:,} examples "
            f"with {counts['tokens']:,} tokens, {filled:.0%} of max_length"
        )
    duplicates = sum(counts["duplicates"] for counts in splits.values())
    size = sum(counts["text_bytes"] for counts in splits.values()) / 1e6
    print(f"{duplicates:,} duplicate documents were dropped.")
    print(f"{seconds:.1f} seconds, {size / seconds:.2f} MB of text per second. The data are in {folder}")


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m bert.prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage="%(prog)s --corpus=CORPUS --vocabulary=VOCABULARY --output=OUTPUT [options] [options of the runner]",
    )
    add_corpus_arguments(parser)
    parser.add_argument("--vocabulary", required=True, help="a BERT vocab.txt, or a SentencePiece .model")
    parser.add_argument("--output", required=True, help="folder for the files")
    parser.add_argument("--cased", action="store_true", help="the vocabulary has upper case and accents")
    parser.add_argument("--max_length", type=int, default=512, help="tokens of an example (default: %(default)s)")
    parser.add_argument("--shards", type=int, default=16, help="files of the training split (default: %(default)s)")
    parser.add_argument("--validation", type=float, default=0.05, help="share of documents held out (default: %(default)s)")
    parser.add_argument("--short", type=float, default=0.1, help="share of examples that may be shorter (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    parser.add_argument("--blank_lines", action="store_true", help="blank lines of text files separate documents")
    parser.add_argument("--runner", default=DEFAULT_RUNNER, help="local, or a runner of Beam (default: %(default)s)")
    args, options = parser.parse_known_args(argv)
    begun = time.perf_counter()
    try:
        vocabulary = pathlib.Path(args.vocabulary)
        shards = Shards(
            folder=args.output,
            vocabulary=vocabulary.read_bytes(),
            vocabulary_name=vocabulary.name,
            lower_case=not args.cased,
            max_length=args.max_length,
            number=args.shards,
            validation=args.validation,
            short_share=args.short,
            seed=args.seed,
        )
        info = prepare(shards, args.corpus, args.runner, options, args.blank_lines, args.data_dir or "", args.tfds_feature)
    except (ValueError, OSError, tf.errors.OpError) as error:
        sys.exit(printable(f"error: {error}"))
    report(info, args.output, time.perf_counter() - begun)


if __name__ == "__main__":
    main()
