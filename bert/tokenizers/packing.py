"""Tokens of one or two texts as a model wants them: [CLS] a [SEP] b [SEP], padded."""

import tensorflow as tf

PADDINGS = ("static", "batch")  # all batches of one length, or each as long as its longest example
BYTES_OF_A_TOKEN = 128  # many times what a token of any language has


def beginning(texts, max_length):
    """The part of texts that is read where only so many tokens are used: the first 128 bytes for each of them.

    Without that, a text of any length, as a served model may be sent one, would be tokenized to its end.

    Args:
      texts: string [N].
      max_length: int.
    """
    return tf.strings.substr(texts, 0, BYTES_OF_A_TOKEN * max_length)


def pack(tokenizer, segments, max_length, pad=True):
    """The inputs of a model.

    What is too long is cut as BERT does it: the longer segment loses its last token, the second one where they are equally long,
    until both fit.

    Args:
      tokenizer: a bert.tokenizer.Tokenizer.
      segments: list of 1 or 2 RaggedTensors int32 [N, (tokens)], without special tokens.
      max_length: tokens of an example at most, special ones included.
      pad: whether every example gets `max_length` tokens, a static shape; or only as many as the longest of these N has.

    Returns:
      Dict of int32 [N, length]: input_word_ids; input_mask, 1 but for padding; input_type_ids, 1 for b and the [SEP] after it.

    Raises:
      ValueError: max_length leaves no room, or there are neither 1 nor 2 segments.
    """
    if len(segments) not in (1, 2):
        raise ValueError(f"{len(segments)} segments are not allowed: there must be 1 or 2")
    room = max_length - 1 - len(segments)
    if room < len(segments):
        raise ValueError(f"max_length={max_length} is not allowed: it must be at least {1 + 2 * len(segments)}")
    segments = _cut(segments, room)
    cls, sep = (tf.fill([segments[0].nrows(), 1], tf.constant(i, tf.int32)) for i in (tokenizer.ids.cls, tokenizer.ids.sep))
    ids = tf.concat([cls, *(part for segment in segments for part in (segment, sep))], axis=1)
    lengths = ids.row_lengths()[:, tf.newaxis]
    ids = ids.to_tensor(tokenizer.ids.pad, shape=[None, max_length if pad else None])
    place = tf.range(tf.shape(ids, tf.int64)[1])
    is_token = place < lengths
    is_second = is_token & (place >= segments[0].row_lengths()[:, tf.newaxis] + 2)
    mask, types = (tf.ensure_shape(tf.cast(is_one, tf.int32), ids.shape) for is_one in (is_token, is_second))
    return {"input_word_ids": ids, "input_mask": mask, "input_type_ids": types}


def _cut(segments, room):
    """The segments with at most `room` tokens together."""
    if len(segments) == 1:
        return [_first(segments[0], room)]
    a, b = segments
    # One that is shorter than its half keeps all, and the other gets the rest; else each gets its half, the first the larger.
    room_of_a = tf.maximum(room - b.row_lengths(), (room + 1) // 2)
    room_of_b = tf.maximum(room - a.row_lengths(), room // 2)
    return [_first(a, room_of_a), _first(b, room_of_b)]


def _first(tokens, room):
    """Of RaggedTensor [N, (tokens)] the first ones, up to `room`, int64 [N] or int."""
    lengths = tf.minimum(tokens.row_lengths(), room)
    place = tf.repeat(tokens.row_starts() - tf.cumsum(lengths, exclusive=True), lengths) + tf.range(tf.reduce_sum(lengths))
    return tf.RaggedTensor.from_row_lengths(tf.gather(tokens.flat_values, place), lengths, validate=False)
