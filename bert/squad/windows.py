"""Overlapping windows over contexts that are too long for a model, and the max-context rule of SQuAD.

N: questions; W: windows of all of them, sorted by question; l: positions of the model's inputs, which are
"[CLS] question [SEP] part of the context [SEP]" and padding. Everything is TensorFlow operations, for training and exports.
"""

from typing import NamedTuple

import tensorflow as tf

from bert.squad.settings import SPECIAL_TOKENS


class Windows(NamedTuple):
    """The part of a context in each window: int32 [W].

    Attributes:
      question: index of the question, 0 to N - 1, ascending.
      first: the first token of the context that is in the window.
      length: number of tokens of the context in the window.
      shift: position of the first token in the model's inputs.
    """

    question: tf.Tensor
    first: tf.Tensor
    length: tf.Tensor
    shift: tf.Tensor


def make_windows(question_lengths, context_lengths, max_length, stride):
    """Makes windows that start every `stride` tokens of the context, up to the first one that reaches its end.

    Args:
      question_lengths, context_lengths: int32 [N], in tokens.
      max_length: tokens of a window, question and special tokens included.
      stride: at most the room of a window for the context, or tokens would be skipped.

    Returns:
      Windows, at least one per question.
    """
    room = max_length - SPECIAL_TOKENS - question_lengths
    beyond = tf.maximum(context_lengths - room, 0)
    windows = 1 + (beyond + stride - 1) // stride
    question = tf.repeat(tf.range(tf.size(windows)), windows)
    first = tf.ragged.range(windows).flat_values * stride
    length = tf.minimum(tf.gather(room, question), tf.gather(context_lengths, question) - first)
    return Windows(question, first, length, tf.gather(question_lengths, question) + SPECIAL_TOKENS - 1)


def context_tokens(windows, positions):
    """The token of the context at each position of the inputs: int32 [W, positions], -1 at other positions."""
    inside = tf.range(positions) - windows.shift[:, tf.newaxis]
    is_context = (inside >= 0) & (inside < windows.length[:, tf.newaxis])
    return tf.where(is_context, inside + windows.first[:, tf.newaxis], -1)


def windows_by_question(windows):
    """The indices of each question's windows: int32 [N, most windows of a question], padded with -1."""
    return tf.RaggedTensor.from_value_rowids(tf.range(tf.size(windows.question)), windows.question).to_tensor(-1)


def is_max_context(windows, tokens):
    """SQuAD's max-context rule: whether a window is the one of its question where a token has the most context.

    That is the window where the smaller one of the token's left and right contexts is largest; if several are equal, the longest
    of them, then the first.

    Args:
      windows: Windows of whole questions.
      tokens: int32 [W, l], of `context_tokens`.

    Returns:
      bool [W, l]; False at positions without a token of the context.
    """
    rivals = tf.gather(windows_by_question(windows), windows.question)  # [W, most windows]
    first, length = (tf.gather(value, tf.maximum(rivals, 0))[..., tf.newaxis] for value in (windows.first, windows.length))
    left = tokens[:, tf.newaxis] - first
    smaller = tf.minimum(left, length - 1 - left)
    # The published rule adds 0.01 * length to the smaller context; here times 100, in integers.
    worth = tf.where((rivals[..., tf.newaxis] >= 0) & (smaller >= 0), 100 * smaller + length, -1)  # [W, most windows, l]
    best = tf.gather(rivals, tf.argmax(worth, axis=1), batch_dims=1)
    return (tokens >= 0) & (best == tf.range(tf.size(windows.question))[:, tf.newaxis])


def part_of_tokens(tokens, first, length):
    """RaggedTensor [B, (tokens)] of slices of one row of tokens, with start `first` and size `length`, int64 [B]."""
    return tf.gather(tokens, tf.ragged.range(first, first + length))


def answer_positions(windows, answers):
    """The positions of the answers in the inputs, for training.

    Args:
      windows: Windows.
      answers: int32 [N, 2], first and last token of the context; (-1, -1) for no answer.

    Returns:
      int32 [W, 2], first and last position; (0, 0), the [CLS] token, if a window does not hold the whole answer.
    """
    answer = tf.gather(answers, windows.question)
    held = (answer[:, 0] >= windows.first) & (answer[:, 1] < windows.first + windows.length)  # False for -1
    return tf.where(held[:, tf.newaxis], answer + (windows.shift - windows.first)[:, tf.newaxis], 0)
