"""Packs the tokens of one or two texts into a model's inputs: [CLS] a [SEP] b [SEP], padded."""

import tensorflow as tf

# Training batches all of one length; each as long as its longest example; or that, of examples of about one length.
PADDINGS = ("static", "batch", "grouped")
BYTES_OF_A_TOKEN = 128  # far more than a token of any language has


def beginning(texts, max_length):
    """Cuts texts to BYTES_OF_A_TOKEN bytes for each of the first `max_length` tokens, the only ones that are used.

    Otherwise a served model would tokenize a text of any length to its end.

    Args:
      texts: string [N].
      max_length: int.
    """
    return tf.strings.substr(texts, 0, BYTES_OF_A_TOKEN * max_length)


def pack(tokenizer, segments, max_length, pad=True):
    """Makes the inputs of a model.

    Segments that are too long are cut as in BERT: until both fit, the longer one loses its last token, or the second one if they
    are equally long.

    Args:
      tokenizer: a bert.tokenizer.Tokenizer.
      segments: list of 1 or 2 RaggedTensors int32 [N, (tokens)], without special tokens.
      max_length: most tokens of an example, special ones included.
      pad: whether to pad to `max_length`, a static shape, or only to the longest of these N examples.

    Returns:
      Dict of int32 [N, length]: input_word_ids; input_mask, 0 for padding; input_type_ids, 1 for b and the [SEP] after it.

    Raises:
      ValueError: a max_length without room for a token of each segment, or another number of segments.
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
    """Cuts the segments to at most `room` tokens together."""
    if len(segments) == 1:
        return [_first(segments[0], room)]
    a, b = segments
    # A segment shorter than half the room keeps all, and the other gets the rest. Otherwise each gets half, a the larger one.
    room_of_a = tf.maximum(room - b.row_lengths(), (room + 1) // 2)
    room_of_b = tf.maximum(room - a.row_lengths(), room // 2)
    return [_first(a, room_of_a), _first(b, room_of_b)]


def _first(tokens, room):
    """The first `room` (int or int64 [N]) tokens of each row of RaggedTensor [N, (tokens)]."""
    lengths = tf.minimum(tokens.row_lengths(), room)
    place = tf.repeat(tokens.row_starts() - tf.cumsum(lengths, exclusive=True), lengths) + tf.range(tf.reduce_sum(lengths))
    return tf.RaggedTensor.from_row_lengths(tf.gather(tokens.flat_values, place), lengths, validate=False)
