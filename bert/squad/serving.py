"""The exported endpoint: raw questions and contexts to answers, in TensorFlow operations."""

import tensorflow as tf

from bert.squad.answers import best_spans
from bert.squad.windows import make_windows, part_of_tokens
from bert.tokenizers.packing import beginning, pack

MAX_CONTEXT_BYTES = 2**16  # about 16,000 tokens; a longer context is cut, because each window costs time and memory


def answer_endpoint(model, tokenizer, data):
    """Makes a function that answers questions from contexts, with as many windows as a context needs.

    Args:
      model: of the task "span".
      tokenizer: a bert.tokenizer.Tokenizer.
      data: the recipe's `data` settings.

    Returns:
      (function, list of tf.TensorSpec), an endpoint of an official.task.Task. The function takes question and context, string
      [N], of which it reads the first MAX_CONTEXT_BYTES bytes, and returns a dict of
        answers: string [N, n_best], parts of the context, best first; equal texts may come from different places. "" is unused.
        starts, ends: int64 [N, n_best], the bytes [start, end) of each answer in the context.
        scores: float32 [N, n_best], the sum of the logits of the first and the last token; -inf if unused.
        null_odds: float32 [N], the logits of "no answer" minus those of the first answer.

      Any batch may hold empty texts. A context without a token, such as an empty or blank one, has no answer: all `answers` are
      "", all `scores` -inf, and `null_odds` is +inf.
    """

    def call(question, context):
        asked = tokenizer.tokenize(beginning(question, data.max_query_length))[:, : data.max_query_length]
        context = tf.strings.substr(context, 0, MAX_CONTEXT_BYTES)
        tokens, starts, ends = tokenizer.tokenize_with_offsets(context)
        lengths = [tf.cast(ragged.row_lengths(), tf.int32) for ragged in (asked, tokens)]
        windows = make_windows(*lengths, data.max_length, data.doc_stride)
        questions = tf.gather(asked, windows.question)
        parts = part_of_tokens(
            tokens.flat_values,
            tf.gather(tokens.row_starts(), windows.question) + tf.cast(windows.first, tf.int64),
            tf.cast(windows.length, tf.int64),
        )
        logits = model(pack(tokenizer, [questions, parts], data.max_length, pad=False), training=False)
        spans = best_spans(logits, windows, data.max_answer_length, data.n_best)
        is_answer = tf.math.is_finite(spans.scores)

        def place(offsets, token):
            """The byte of the context where each answer starts or ends; 0 if unused."""
            # One column more, so that there is one to gather from where no context has tokens.
            offsets = tf.pad(offsets.to_tensor(shape=[None, None]), [[0, 0], [0, 1]])
            found = tf.gather(offsets, tf.where(is_answer, token, 0), batch_dims=1)
            return tf.where(is_answer, found, 0)

        first, last = place(starts, spans.tokens[..., 0]), place(ends, spans.tokens[..., 1])
        texts = tf.strings.substr(tf.repeat(context[:, tf.newaxis], data.n_best, axis=1), first, last - first)
        return {
            "answers": tf.strings.strip(texts),
            "starts": first,
            "ends": last,
            "scores": spans.scores,
            "null_odds": tf.reduce_sum(spans.null, axis=-1) - spans.scores[:, 0],
        }

    return call, [tf.TensorSpec([None], tf.string, name=name) for name in ("question", "context")]
