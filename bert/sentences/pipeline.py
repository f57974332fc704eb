"""Batches of tokenized sentences in which each example has one or two rows."""

import numpy as np
import tensorflow as tf

from bert.texts.pipeline import TextPipeline, grouping
from official.data.batches import evaluation_batches, train_batches
from official.data.sources import IndexedSource, host_constant


class SentencePipeline:
    """Makes batches of Sentences; each text is tokenized once.

    Args:
      sentences: a bert.sentences.datasets.Sentences.
      tokenizer, max_length, cache_mib: as of bert.texts.pipeline.TextPipeline.
      views: rows of an example that is a single text; a pair has 2.

    Attributes:
      rows: int64 [N, rows of an example], the places of their texts.
      texts: the TextPipeline of the different texts.
      tokens_per_example: mean number of tokens of an example's rows; None if tokens are not kept.
      lengths: int [N], the tokens of each example's longest row; None if tokens are not kept.
    """

    def __init__(self, sentences, tokenizer, max_length, cache_mib, views):
        self.rows = sentences.rows if sentences.rows.shape[1] == 2 else np.repeat(sentences.rows, views, axis=1)
        self.texts = TextPipeline(sentences.texts, tokenizer, max_length, cache_mib)
        lengths = self.texts.lengths
        self.tokens_per_example = self.lengths = order = None
        if lengths is not None:
            lengths = lengths[self.rows]
            self.tokens_per_example = float(np.mean(np.sum(lengths, axis=1)))
            self.lengths = np.max(lengths, axis=1)
            order = np.argsort(-self.lengths, kind="stable")  # as TextPipeline has them in evaluation

        def name_of(place):
            return sentences.texts.name_of(self.rows[place, 0])

        self._source = IndexedSource(len(self.rows), lambda place: (), name_of, order)
        self._rows = host_constant(self.rows)

    def train_batches(self, batch_size, seed, start_step, padding="static"):
        """Endless training batches.

        Args:
          batch_size, seed, start_step, padding: as of bert.texts.pipeline.TextPipeline.train_batches.

        Returns:
          tf.data.Dataset of (dict of int32 [R, length], int64 [R], the places of the rows' texts), R being the batch size times
          the rows of an example, which are next to each other: with two of them [a_0, b_0, a_1, b_1, ...].
        """

        def finish(epoch, places):
            return self._batch(places, padding == "static")

        lengths = grouping(padding, self.lengths)
        return train_batches(self._source, seed, start_step, batch_size, finish, rows=self.rows.shape[1], lengths=lengths)

    def evaluation_batches(self, batch_size, static=False):
        """Every example once, in batches as of `train_batches` or, if not `static`, as long as their longest text."""
        return evaluation_batches(self._source, batch_size, lambda places: self._batch(places, static))

    def _batch(self, places, static):
        texts = tf.reshape(tf.gather(self._rows, places), [-1])
        return self.texts.inputs(texts, static), texts
