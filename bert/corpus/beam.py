"""Prepares pretraining data with Apache Beam, for corpora of any size on any Beam runner."""

import contextlib
import importlib.util
import logging
import re
import threading

from bert.corpus.base import CorpusError

POLL = 1.0  # seconds between two progress reports


def check_installed():
    """Raises ValueError if Beam is not installed."""
    if importlib.util.find_spec("apache_beam") is None:
        raise ValueError(
            "runner: Apache Beam is not installed (pip install '.[beam]' in the checkout); "
            "--runner=local needs no Beam, for a corpus that fits into memory"
        )


def run(corpora, shards, missing, runner, options, look):
    """Writes the missing files, except those that get no document.

    Args:
      corpora: list of bert.corpus.base.Corpus.
      shards: a bert.corpus.shards.Shards.
      missing: list of keys of shards.
      runner: name of a Beam runner.
      options: list of str, options of Beam and of the runner.
      look: function without arguments that reports progress, called every POLL seconds.

    Raises:
      CorpusError: a corpus file that cannot be read.
      ValueError: an unknown runner.
    """
    beam, pipeline = _new_pipeline(runner, options)
    wanted = frozenset(missing)
    branches = []
    for number, corpus in enumerate(corpora):
        pieces = pipeline | f"files {number}" >> beam.Create(list(corpus.pieces)) | f"spread files {number}" >> beam.Reshuffle()
        raw = pieces | f"read {number}" >> beam.FlatMap(corpus.read) | f"spread documents {number}" >> beam.Reshuffle()
        branches.append(raw | f"text {number}" >> beam.FlatMap(corpus.texts))
    texts = branches | "all texts" >> beam.Flatten()
    keyed = texts | "choose file" >> beam.Map(_keyed, shards) | "still to make" >> beam.Filter(lambda pair: pair[0] in wanted)
    _ = keyed | "by file" >> beam.GroupByKey() | "write" >> beam.MapTuple(shards.write)
    with _looking(look):
        try:
            pipeline.run().wait_until_finish()
        except Exception as error:
            # An error of another process arrives as text.
            messages = re.findall(rf"{CorpusError.__name__}: (.*)", f"{type(error).__name__}: {error}")
            if not messages:
                raise
            raise CorpusError(messages[-1].partition(" [while running")[0]) from error


def _new_pipeline(runner, options):
    """The module apache_beam, and a pipeline without steps."""
    with _quiet_import():
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions

    if "DirectRunner" in runner:
        # It logs every step, and the traceback of an error that is raised anyway.
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
        options = ["--default_sdk_harness_log_level=CRITICAL", *options]
    try:
        return beam, beam.Pipeline(runner=runner, options=PipelineOptions(list(options)))
    except ValueError as error:
        raise ValueError(f"runner={runner!r} is not allowed: it must be local or a runner of Beam. {error}") from error


@contextlib.contextmanager
def _quiet_import():
    """Hides the warning that Google Cloud packages are not installed."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _keyed(text, shards):
    return shards.key_of(text), text


class _looking:
    """Calls a function every POLL seconds in a thread."""

    def __init__(self, look):
        self._look = look
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self._over.wait(POLL):
            self._look()

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()
