"""Questions as windows of tokens in memory, from which any batch can be made."""

import time

import numpy as np
import tensorflow as tf

from bert.squad_files import UnusableQuestion, locate_answers
from bert.squad_windows import SPECIAL_TOKENS, answer_positions, lay_windows, part_of_tokens
from bert.tokenizer import pack
from official.status_line import StatusLine

AT_ONCE = 512  # so many texts are tokenized together


class QuestionWindows:
    """All questions of a split that can be used, tokenized once; the context of several questions is there once.

    Args:
      questions: list of squad_files.Question.
      tokenizer: of bert.tokenizer.open_tokenizer.
      data: settings `max_length`, `max_query_length`, `doc_stride` and `no_answer`.
      bad_examples: an official.bad_examples.BadExamples.
      name: of the split, for messages.

    Attributes:
      questions: list of the N that can be used.
      question_lengths, context_lengths: int32 [N], in tokens.
      windows: squad_windows.Windows of all of them, W.
      answers: for each question its gold answers as (first, last) token of the context.
      labels: int32 [W, 2], positions of the first gold answer's start and end; (0, 0) where the window does not hold it.

    Raises:
      ValueError: a bad example, where `bad_examples` refuses; or no good one.
    """

    def __init__(self, questions, tokenizer, data, bad_examples, name):
        self._tokenizer = tokenizer
        self._max_length = data.max_length
        located = _located(questions, data.no_answer, bad_examples)
        if not located:
            raise ValueError(f"none of the {len(questions)} questions of {name} can be used")
        began, line = time.perf_counter(), StatusLine()
        texts = list(dict.fromkeys(question.context for question, _ in located))
        contexts = _Contexts(texts, _tokenized(texts, tokenizer, line, f"{name}: contexts"))
        usable = contexts.with_tokens(located, bad_examples)
        if not usable:
            raise ValueError(f"none of the {len(questions)} questions of {name} can be used")
        self.questions, self.answers, numbers = (list(column) for column in zip(*usable, strict=True))
        asked = _tokenized([question.question for question in self.questions], tokenizer, line, f"{name}: questions")[0]
        asked = asked[:, : data.max_query_length]
        self.question_lengths = asked.row_lengths().numpy().astype(np.int32)
        self.context_lengths = np.diff(contexts.splits)[numbers].astype(np.int32)
        self.windows = lay_windows(self.question_lengths, self.context_lengths, data.max_length, data.doc_stride)
        self.labels = answer_positions(self.windows, [spans[0] if spans else (-1, -1) for spans in self.answers]).numpy()
        self._contexts, self._numbers = contexts, numbers
        question = self.windows.question.numpy()
        with tf.device("CPU:0"):  # where input pipelines run
            self._question_tokens, self._context_tokens = asked.flat_values, tf.constant(contexts.tokens)
            # Where among the tokens of all each window's question and its part of the context begin.
            self._first_of_question = tf.gather(asked.row_starts(), question)
            self._first_of_part = tf.constant(contexts.splits[numbers][question] + self.windows.first.numpy())
            self._length_of_question = tf.constant(self.question_lengths[question], tf.int64)
            self._length_of_part = tf.cast(self.windows.length, tf.int64)
            self._labels = tf.constant(self.labels)
        took = time.perf_counter() - began
        line.leave(f"{name}: {len(self.questions):,} questions in {len(self.labels):,} windows, made in {took:.1f} s")

    @property
    def tokens_per_window(self):
        """The mean."""
        return float(tf.reduce_mean(tf.cast(self._length_of_question + self._length_of_part, tf.float32))) + SPECIAL_TOKENS

    def batch(self, numbers, pad=True):
        """Some windows.

        Args:
          numbers: int64 [B].
          pad: whether to max_length; else to the longest of these.

        Returns:
          Dict of the model's inputs, int32 [B, length], and the labels, int32 [B, 2].
        """
        question, part = (
            part_of_tokens(tokens, tf.gather(first, numbers), tf.gather(length, numbers))
            for tokens, first, length in (
                (self._question_tokens, self._first_of_question, self._length_of_question),
                (self._context_tokens, self._first_of_part, self._length_of_part),
            )
        )
        return pack(self._tokenizer, [question, part], self._max_length, pad), tf.gather(self._labels, numbers)

    def text(self, number, first, last):
        """What stands in a question's context from one token to another, without white space around it."""
        return self._contexts.text(self._numbers[number], first, last)


def _located(questions, no_answer, bad_examples):
    """[(question, its answers in bytes)] of those whose answers are where they are said to be."""
    found = []
    for question in questions:
        try:
            found.append((question, locate_answers(question, no_answer)))
        except UnusableQuestion as problem:
            bad_examples.add(question.name, str(problem))
    return found


def _tokenized(texts, tokenizer, line, what):
    """(ids, starts, ends) as tokenizer.tokenize_with_offsets gives them."""
    parts = []
    for first in range(0, len(texts), AT_ONCE):
        if line.is_due():
            line.show(f"{what} {first:,} of {len(texts):,}")
        parts.append(tokenizer.tokenize_with_offsets(tf.constant(texts[first : first + AT_ONCE])))
    return [tf.concat(column, axis=0) for column in zip(*parts, strict=True)]


class _Contexts:
    """Different contexts, tokenized: the tokens of number i are those from splits[i] up to splits[i + 1].

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
        """[(question, its answers in tokens, number of its context)] of those that have any tokens."""
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
        """First and last token of what lies from byte to byte; they may reach beyond it."""
        tokens = slice(*self.splits[number : number + 2])
        first = int(np.searchsorted(self._ends[tokens], start, side="right"))
        last = int(np.searchsorted(self._starts[tokens], end, side="left")) - 1
        if first > last:
            raise UnusableQuestion(f"its answer {self._bytes[number][start:end].decode()!r} has no tokens")
        return first, last

    def text(self, number, first, last):
        at = self.splits[number]
        return self._bytes[number][self._starts[at + first] : self._ends[at + last]].decode(errors="replace").strip()
