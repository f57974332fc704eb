"""Batches of tokenized texts; the training batch of any step can be made without those before it."""

import math

import numpy as np
import tensorflow as tf

from bert.tokenizers.packing import beginning, pack
from official.data.batches import evaluation_batches, train_batches
from official.data.sources import IndexedSource, host_constant

TOKENIZE_BATCH = 8192  # texts that are tokenized in one call
MULTIPLE = 8  # static lengths are rounded up to a multiple of this


class TextPipeline:
    """Makes batches of examples in memory.

    If the texts take at most `cache_mib`, they are tokenized once, and static batches are only as long as the longest example.
    Otherwise each batch is tokenized when it is made.

    Args:
      examples: a bert.texts.examples.Examples; scores become labels [N, 1].
      tokenizer: a bert.tokenizer.Tokenizer.
      max_length: tokens to which an example is cut.
      cache_mib: largest size of all texts, in MiB, for which their tokens are kept.

    Attributes:
      lengths: int [N], the tokens of each example, with [CLS] and [SEP]; None if tokens are not kept.
      tokens_per_example: their mean, or None.
      static_length: tokens of every example in batches of static shape.
    """

    def __init__(self, examples, tokenizer, max_length, cache_mib):
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._labels = None
        if examples.labels is not None:
            labels = examples.labels
            self._labels = host_constant(labels[:, np.newaxis] if labels.dtype == np.float32 else labels)
        self.lengths = self.tokens_per_example = None
        self.static_length = max_length
        self._source = IndexedSource(len(examples.numbers), lambda place: (), examples.name_of)
        if sum(len(text) for texts in examples.texts for text in texts) > cache_mib * 2**20:
            texts = [host_constant(texts) for texts in examples.texts]
            self._segments = lambda places: [tokenizer.tokenize(beginning(tf.gather(part, places), max_length)) for part in texts]
            return
        tokens = [_tokenized(texts, tokenizer, max_length) for texts in examples.texts]
        self._segments = lambda places: [tf.gather(part, places) for part in tokens]
        lengths = sum(part.row_lengths().numpy() for part in tokens) + 1 + len(tokens)
        self.lengths = lengths = np.minimum(lengths, max_length)
        self.tokens_per_example = float(np.mean(lengths))
        self.static_length = min(math.ceil(lengths.max() / MULTIPLE) * MULTIPLE, max_length)
        # Evaluation takes the longest examples first, so that batches have little padding.
        order = np.argsort(-lengths, kind="stable")
        self._source = IndexedSource(len(examples.numbers), lambda place: (), examples.name_of, order)

    def train_batches(self, batch_size, seed, start_step, padding="static"):
        """Endless training batches.

        Args:
          batch_size, seed, start_step: as of official.data.batches.train_batches.
          padding: one of bert.tokenizers.packing.PADDINGS.

        Returns:
          tf.data.Dataset of (dict of int32 [batch, length], labels [batch] or [batch, 1]).

        Raises:
          ValueError: grouped batches where tokens are not kept.
        """
        static = padding == "static"

        def finish(epoch, places):
            return self.inputs(places, static), tf.gather(self._labels, places)

        lengths = grouping(padding, self.lengths)
        return train_batches(self._source, seed, start_step, batch_size, finish, lengths=lengths)

    def evaluation_batches(self, batch_size, static=False, places=False):
        """Every example once; the last batch may be smaller.

        Args:
          static: whether all batches have one length; else each is as long as its longest example.
          places: whether labels are a dict of `place`, int64 [batch], and of `label` if the examples have labels.

        Returns:
          tf.data.Dataset as of `train_batches`, with a known number of batches.
        """

        def finish(at):
            labels = None if self._labels is None else tf.gather(self._labels, at)
            if places:
                labels = {"place": at} if labels is None else {"place": at, "label": labels}
            return self.inputs(at, static), labels

        return evaluation_batches(self._source, batch_size, finish)

    def inputs(self, places, static):
        """A model's inputs for the examples at int64 [batch] places, a dict; `static` as of `evaluation_batches`."""
        length = self.static_length if static else self._max_length
        return pack(self._tokenizer, self._segments(places), length, pad=static)


def grouping(padding, lengths):
    """The lengths of official.data.batches.train_batches: None unless `padding` is "grouped".

    Raises:
      ValueError: lengths=None, since tokens are not kept.
    """
    if padding != "grouped":
        return None
    if lengths is None:
        raise ValueError("data.padding='grouped' is not allowed: the texts take more than data.cache_mib, so no length is known")
    return lengths


def _tokenized(texts, tokenizer, max_length):
    """The first `max_length` tokens of each text, all that are ever used: RaggedTensor int32 [N, (tokens)] in host memory."""
    values, lengths = [], []
    for start in range(0, len(texts), TOKENIZE_BATCH):
        tokens = tokenizer.tokenize(beginning(host_constant(texts[start : start + TOKENIZE_BATCH]), max_length))[:, :max_length]
        values.append(tokens.flat_values.numpy())
        lengths.append(tokens.row_lengths().numpy())
    with tf.device("CPU:0"):
        return tf.RaggedTensor.from_row_lengths(np.concatenate(values), np.concatenate(lengths))
