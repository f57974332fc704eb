"""What an exported model answers to raw text: from strings to strings, as TensorFlow operations."""

import tensorflow as tf

from bert.squad.answers import best_spans
from bert.squad.windows import make_windows, part_of_tokens
from bert.tokenizers.packing import beginning, pack

MAX_CONTEXT_BYTES = 2**16  # bytes that are read of a context, some 16,000 tokens: each of its windows costs time and memory


def answer_endpoint(model, tokenizer, data):
    """A function of questions and contexts to the best answers, with all windows that a long context needs, and its signature.

    Args:
      model: of the task "span".
      tokenizer: of bert.tokenizer.open_tokenizer.
      data: the recipe's `data` settings.

    Returns:
      (function, list of tf.TensorSpec), an endpoint of an official.task.Task: question, context string [N], of which the first
      MAX_CONTEXT_BYTES bytes are read, to a dict of
        answers: string [N, n_best], parts of the context, best first. Several may read the same, at different places. "" where
          there are no more.
        starts, ends: int64 [N, n_best], each from which up to which byte of the context.
        scores: float32 [N, n_best], the sum of the logits of its first and its last token; -inf where there are no more.
        null_odds: float32 [N], by how much "no answer" is ahead of the first answer.
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
            """Where in the bytes of the context each answer begins or ends; 0 where there is none."""
            found = tf.gather(offsets.to_tensor(shape=[None, None]), tf.where(is_answer, token, 0), batch_dims=1)
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
