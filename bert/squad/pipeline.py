"""Questions as windows of tokens in memory, and batches of them.

N: questions; W: windows of all of them.
"""

import math
import time

import numpy as np
import tensorflow as tf

from bert.squad.questions import UnusableQuestion, locate_answers
from bert.squad.settings import SPECIAL_TOKENS
from bert.squad.windows import answer_positions, make_windows, part_of_tokens
from bert.tokenizers.packing import pack
from official.cli.status_line import StatusLine
from official.data.batches import evaluation_batches, train_batches
from official.data.sources import IndexedSource

TOKENIZE_BATCH = 512  # texts that are tokenized in one call
MULTIPLE = 8  # static lengths are rounded up to a multiple of this


class QuestionPipeline:
    """The usable questions of a split, tokenized once; a context of several questions is stored once.

    Args:
      questions: list of bert.squad.questions.Question.
      tokenizer: a bert.tokenizer.Tokenizer.
      data: settings `max_length`, `max_query_length`, `doc_stride` and `no_answer`.
      bad_examples: an official.data.bad_examples.BadExamples.
      name: of the split, for messages.

    Attributes:
      questions: list of the N usable questions.
      windows: bert.squad.windows.Windows of NumPy arrays.
      answers: for each question its gold answers as (first, last) token of the context.
      labels: int32 [W, 2], positions of the first gold answer's start and end; (0, 0) if the window does not hold it.
      tokens_per_window: mean number of tokens, with [CLS] and [SEP].
      static_length: tokens of every window in batches of static shape.

    Raises:
      ValueError: an unusable question, if `bad_examples` refuses, or no usable one.
    """

    def __init__(self, questions, tokenizer, data, bad_examples, name):
        began, line = time.perf_counter(), StatusLine()
        located = _located(questions, data.no_answer, bad_examples)
        if not located:
            raise ValueError(f"none of the {len(questions)} questions of {name} is usable")
        texts = list(dict.fromkeys(question.context for question, _ in located))
        contexts = _Contexts(texts, _tokenized(texts, tokenizer, line, f"{name}: contexts"))
        usable = contexts.with_tokens(located, bad_examples)
        if not usable:
            raise ValueError(f"none of the {len(questions)} questions of {name} is usable")
        self.questions, self.answers, numbers = (list(column) for column in zip(*usable, strict=True))
        asked = _tokenized([question.question for question in self.questions], tokenizer, line, f"{name}: questions")[0]
        asked = asked[:, : data.max_query_length]
        lengths = asked.row_lengths().numpy().astype(np.int32), np.diff(contexts.splits)[numbers].astype(np.int32)
        windows = make_windows(*lengths, data.max_length, data.doc_stride)
        self.labels = answer_positions(windows, [spans[0] if spans else (-1, -1) for spans in self.answers]).numpy()
        self.windows = type(windows)(*(value.numpy() for value in windows))
        tokens = lengths[0][self.windows.question] + self.windows.length + SPECIAL_TOKENS
        self._window_tokens = tokens
        self.tokens_per_window = float(tokens.mean())
        self.static_length = min(math.ceil(tokens.max() / MULTIPLE) * MULTIPLE, data.max_length)
        self._tokenizer, self._contexts, self._numbers = tokenizer, contexts, numbers
        order = _longest_first(tokens, self.windows.question)
        self._source = IndexedSource(len(self.labels), lambda place: (), self._name_of, order)
        with tf.device("CPU:0"):  # where input pipelines run
            question = self.windows.question
            self._tokens = asked.flat_values, tf.constant(contexts.tokens)
            # Position in these tokens, and length, of each window's question and part of the context.
            first_of_part = contexts.splits[numbers][question] + self.windows.first
            self._firsts = tf.gather(asked.row_starts(), question), tf.constant(first_of_part, tf.int64)
            self._lengths = tf.constant(lengths[0][question], tf.int64), tf.constant(self.windows.length, tf.int64)
            self._labels = tf.constant(self.labels)
        took = time.perf_counter() - began
        line.leave(f"{name}: {len(self.questions):,} questions in {len(self.labels):,} windows, made in {took:.1f} s")

    def train_batches(self, batch_size, seed, start_step, padding="static"):
        """Endless training batches.

        Args:
          batch_size, seed, start_step: as of official.data.batches.train_batches.
          padding: one of bert.tokenizers.packing.PADDINGS.

        Returns:
          tf.data.Dataset of (dict of int32 [batch, length], labels int32 [batch, 2]).
        """

        def finish(epoch, places):
            return self.inputs(places, padding == "static"), tf.gather(self._labels, places)

        lengths = self._window_tokens if padding == "grouped" else None
        return train_batches(self._source, seed, start_step, batch_size, finish, lengths=lengths)

    def evaluation_batches(self, batch_size, static=False, places=False):
        """Every window once; the windows of a question together, the longest first, so that batches have little padding.

        Args:
          static: whether all batches have one length; else each is as long as its longest window.
          places: whether labels are a dict of `place`, int64 [batch], the indices of the windows, and of `label`.

        Returns:
          tf.data.Dataset as of `train_batches`, with a known number of batches; the last one may be smaller.
        """

        def finish(at):
            labels = tf.gather(self._labels, at)
            return self.inputs(at, static), {"place": at, "label": labels} if places else labels

        return evaluation_batches(self._source, batch_size, finish)

    def inputs(self, places, static=True):
        """The model's inputs, a dict of int32 [B, length], for the windows with these indices, int64 [B].

        Args:
          static: whether to pad to `static_length`, or else to the longest of these windows.
        """
        question, part = (
            part_of_tokens(tokens, tf.gather(firsts, places), tf.gather(lengths, places))
            for tokens, firsts, lengths in zip(self._tokens, self._firsts, self._lengths, strict=True)
        )
        return pack(self._tokenizer, [question, part], self.static_length, pad=static)

    def text(self, number, first, last):
        """The text of a question's context from one token to another, stripped."""
        return self._contexts.text(self._numbers[number], first, last)

    def _name_of(self, place):
        return self.questions[self.windows.question[place]].name


def _longest_first(tokens, question):
    """The indices of the windows, int64 [W], sorted by the longest window of their question."""
    longest = np.maximum.reduceat(tokens, np.searchsorted(question, np.arange(question[-1] + 1)))
    return np.argsort(-longest[question], kind="stable")


def _located(questions, no_answer, bad_examples):
    """[(question, its answers in bytes)] of the questions whose answers are found."""
    found = []
    for question in questions:
        try:
            found.append((question, locate_answers(question, no_answer)))
        except UnusableQuestion as problem:
            bad_examples.add(question.name, str(problem))
    return found


def _tokenized(texts, tokenizer, line, what):
    """(ids, starts, ends) of tokenizer.tokenize_with_offsets."""
    parts = []
    for first in range(0, len(texts), TOKENIZE_BATCH):
        if line.is_due():
            line.show(f"{what} {first:,} of {len(texts):,}")
        parts.append(tokenizer.tokenize_with_offsets(tf.constant(texts[first : first + TOKENIZE_BATCH])))
    return [tf.concat(column, axis=0) for column in zip(*parts, strict=True)]


class _Contexts:
    """Tokenized contexts without duplicates; context i has the tokens splits[i] to splits[i + 1] - 1.

    Args:
      texts: list of str.
      tokenized: (ids, starts, ends), RaggedTensors [len(texts), (tokens)].
    """

    def __init__(self, texts, tokenized):
        self.tokens, self._starts, self._ends = (ragged.flat_values.numpy() for ragged in tokenized)
        self.splits = tokenized[0].row_splits.numpy()
        self._number_of = {text: i for i, text in enumerate(texts)}
        self._bytes = [text.encode() for text in texts]

    def with_tokens(self, located, bad_examples):
        """[(question, its answers in tokens, index of its context)] of the questions whose context and answers have tokens."""
        found = []
        for question, spans in located:
            number = self._number_of[question.context]
            try:
                if self.splits[number] == self.splits[number + 1]:
                    raise UnusableQuestion("its context has no tokens")
                found.append((question, [self._tokens_of(number, *span) for span in spans], number))
            except UnusableQuestion as problem:
                bad_examples.add(question.name, str(problem))
        return found

    def _tokens_of(self, number, start, end):
        """First and last token that overlap bytes [start, end)."""
        tokens = slice(*self.splits[number : number + 2])
        first = int(np.searchsorted(self._ends[tokens], start, side="right"))
        last = int(np.searchsorted(self._starts[tokens], end, side="left")) - 1
        if first > last:
            raise UnusableQuestion(f"its answer {self._bytes[number][start:end].decode()!r} has no tokens")
        return first, last

    def text(self, number, first, last):
        at = self.splits[number]
        return self._bytes[number][self._starts[at + first] : self._ends[at + last]].decode(errors="replace").strip()
