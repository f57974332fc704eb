"""Contexts longer than a model takes, as windows that overlap: where each begins, and in which one a token counts.

N: questions; W: windows of all of them, those of one question one after the other; l: positions of the model's inputs, which
are "[CLS] question [SEP] part of the context [SEP]" and padding. All is TensorFlow operations, for training and exports alike.
"""

from typing import NamedTuple

import tensorflow as tf

from bert.squad.settings import SPECIAL_TOKENS


class Windows(NamedTuple):
    """Which part of which context each window has: int32 [W].

    Attributes:
      question: number of the question, 0 to N - 1, ascending.
      first: the first token of its part of the context.
      length: how many tokens the part has.
      shift: the position of that first token in the model's inputs.
    """

    question: tf.Tensor
    first: tf.Tensor
    length: tf.Tensor
    shift: tf.Tensor


def make_windows(question_lengths, context_lengths, max_length, stride):
    """Windows that begin every `stride` tokens of the context, up to the first one that reaches its end.

    Args:
      question_lengths, context_lengths: int32 [N], in tokens.
      max_length: tokens of a window, with the question's and the special ones.
      stride: at most what a window has room for, or tokens would be left out.

    Returns:
      Windows; at least one a question.
    """
    room = max_length - SPECIAL_TOKENS - question_lengths
    beyond = tf.maximum(context_lengths - room, 0)
    windows = 1 + (beyond + stride - 1) // stride
    question = tf.repeat(tf.range(tf.size(windows)), windows)
    first = tf.ragged.range(windows).flat_values * stride
    length = tf.minimum(tf.gather(room, question), tf.gather(context_lengths, question) - first)
    return Windows(question, first, length, tf.gather(question_lengths, question) + SPECIAL_TOKENS - 1)


def context_tokens(windows, positions):
    """Which token of its context stands at each position of the inputs: int32 [W, positions], -1 where none does."""
    inside = tf.range(positions) - windows.shift[:, tf.newaxis]
    is_context = (inside >= 0) & (inside < windows.length[:, tf.newaxis])
    return tf.where(is_context, inside + windows.first[:, tf.newaxis], -1)


def windows_by_question(windows):
    """The numbers of each question's windows: int32 [N, most windows of a question], -1 where a question has fewer."""
    return tf.RaggedTensor.from_value_rowids(tf.range(tf.size(windows.question)), windows.question).to_tensor(-1)


def is_max_context(windows, tokens):
    """In which of its question's windows a token counts: where the smaller of its left and right contexts is the largest.

    Of windows equal in that it is the longest, and of those the first.

    Args:
      windows: Windows of whole questions.
      tokens: as `context_tokens` gives them.

    Returns:
      bool [W, l]; False where no token of the context stands.
    """
    rivals = tf.gather(windows_by_question(windows), windows.question)  # [W, most windows]
    first, length = (tf.gather(value, tf.maximum(rivals, 0))[..., tf.newaxis] for value in (windows.first, windows.length))
    left = tokens[:, tf.newaxis] - first
    smaller = tf.minimum(left, length - 1 - left)
    # The published rule adds a hundredth of the length to the smaller context; here in whole numbers.
    worth = tf.where((rivals[..., tf.newaxis] >= 0) & (smaller >= 0), 100 * smaller + length, -1)  # [W, most windows, l]
    best = tf.gather(rivals, tf.argmax(worth, axis=1), batch_dims=1)
    return (tokens >= 0) & (best == tf.range(tf.size(windows.question))[:, tf.newaxis])


def part_of_tokens(tokens, first, length):
    """RaggedTensor [B, (tokens)] of parts of one row of tokens, from `first` int64 [B] on, `length` int64 [B] each."""
    return tf.gather(tokens, tf.ragged.range(first, first + length))


def answer_positions(windows, answers):
    """Where the answers stand in the inputs, for training.

    Args:
      windows: Windows.
      answers: int32 [N, 2], first and last token of the context; (-1, -1) where there is no answer.

    Returns:
      int32 [W, 2], first and last position; (0, 0), the [CLS] token, where a window does not hold the whole answer.
    """
    answer = tf.gather(answers, windows.question)
    held = (answer[:, 0] >= windows.first) & (answer[:, 1] < windows.first + windows.length)  # and -1 is before any window
    return tf.where(held[:, tf.newaxis], answer + (windows.shift - windows.first)[:, tf.newaxis], 0)
