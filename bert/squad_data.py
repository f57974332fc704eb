"""Questions as windows of tokens in memory, from which any batch can be made."""

import numpy as np
import tensorflow as tf

from bert.squad_files import UnusableQuestion, locate_answers
from bert.squad_windows import answer_positions, lay_windows
from bert.tokenizer import pack
from official.stages import Stage

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
        texts = list(dict.fromkeys(question.context for question, _ in located))
        with Stage(f"{name}: texts tokenized", len(texts) + len(located)) as stage:
            contexts = _Contexts(texts, tokenizer, stage)
            usable = contexts.with_tokens(located, bad_examples)
            if not usable:
                raise ValueError(f"none of the {len(questions)} questions of {name} can be used")
            self.questions, self.answers, numbers = (list(column) for column in zip(*usable, strict=True))
            asked = _tokenized([question.question for question in self.questions], tokenizer, stage)[0]
        asked = asked[:, : data.max_query_length]
        self.question_lengths = asked.row_lengths().numpy().astype(np.int32)
        self.context_lengths = np.diff(contexts.splits)[numbers].astype(np.int32)
        self.windows = lay_windows(self.question_lengths, self.context_lengths, data.max_length, data.doc_stride)
        self.labels = answer_positions(self.windows, [spans[0] if spans else (-1, -1) for spans in self.answers]).numpy()
        self._contexts, self._numbers = contexts, numbers
        with tf.device("CPU:0"):  # where input pipelines run
            self._question_tokens = tf.identity(asked.flat_values)
            self._context_tokens = tf.constant(contexts.tokens)
            question = self.windows.question.numpy()
            # Of each window: where its question and its part of the context begin among the tokens of all, and how long they are.
            self._parts = tf.constant(
                np.stack(
                    [
                        asked.row_starts().numpy()[question],
                        self.question_lengths[question],
                        contexts.splits[numbers][question] + self.windows.first.numpy(),
                        self.windows.length.numpy(),
                    ],
                    axis=1,
                ),
                tf.int64,
            )
            self._labels = tf.constant(self.labels)

    def batch(self, numbers):
        """The windows of these numbers, int64 [B], as (dict of the model's inputs, int32 [B, max_length] each; labels int32 [B, 2])."""
        question, question_length, part, length = tf.unstack(tf.gather(self._parts, numbers), axis=1)
        segments = [
            tf.gather(tokens, tf.ragged.range(first, first + count))
            for tokens, first, count in (
                (self._question_tokens, question, question_length),
                (self._context_tokens, part, length),
            )
        ]
        return pack(self._tokenizer, segments, self._max_length), tf.gather(self._labels, numbers)

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


def _tokenized(texts, tokenizer, stage):
    """(ids, starts, ends) as tokenizer.tokenize_with_offsets gives them."""
    parts = []
    for first in range(0, len(texts), AT_ONCE):
        some = texts[first : first + AT_ONCE]
        parts.append(tokenizer.tokenize_with_offsets(tf.constant(some)))
        stage.add(len(some))
    return [tf.concat(column, axis=0) for column in zip(*parts, strict=True)]


class _Contexts:
    """Different contexts, tokenized: those of number i are the tokens from splits[i] up to splits[i + 1]."""

    def __init__(self, texts, tokenizer, stage):
        ids, starts, ends = _tokenized(texts, tokenizer, stage)
        self.tokens, self._starts, self._ends = (ragged.flat_values.numpy() for ragged in (ids, starts, ends))
        self.splits = ids.row_splits.numpy()
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
