"""Evaluation of masked words and segment order, with the baseline of word frequencies."""

import csv

import numpy as np
import tensorflow as tf

from bert.masked_lm.loss import word_losses
from official.task import Evaluation

WORDS_FILE = "masked_words.csv"
FILES = {WORDS_FILE: "each masked word: how often it was masked and predicted correctly, and its mean loss"}


class PretrainingEvaluation(Evaluation):
    """An official.task.Evaluation of masked words and the order of segments.

    Metrics:
      masked_accuracy, masked_loss: of all masked words; the loss is the mean cross-entropy in nats.
      most_frequent_accuracy: of always predicting the most frequent token, on the same words.
      unigram_entropy: mean cross-entropy in nats of predicting the frequencies of the training split, with each count plus one,
        on the same words.
      order_accuracy, order_loss: of the order of segments.

    Args:
      tokenizer: a bert.tokenizer.Tokenizer.
      token_counts: list of int, the count of each token in the training split.
    """

    files = FILES

    def __init__(self, tokenizer, token_counts):
        self._tokenizer = tokenizer
        frequencies = np.where(tokenizer.special, 0, np.asarray(token_counts, np.float64) + 1)
        self._frequencies = frequencies / frequencies.sum()
        self._words = [np.zeros(tokenizer.size) for _ in range(3)]  # of each token: masked, predicted correctly, sum of losses
        self._order_hits, self._order_loss = 0, 0.0
        self.examples = 0

    def reduce(self, inputs, labels, outputs):
        """Predictions and losses of each word and example, instead of logits over the whole vocabulary."""
        words, order = labels["mlm_logits"], labels["next_sentence"]
        _, losses = word_losses(words, outputs["mlm_logits"])
        logits = tf.cast(outputs["next_sentence"], tf.float32)
        return {
            "guesses": tf.argmax(outputs["mlm_logits"], axis=-1, output_type=words.dtype),
            "losses": losses,
            "order_guesses": tf.argmax(logits, axis=-1, output_type=order.dtype),
            "order_losses": tf.nn.sparse_softmax_cross_entropy_with_logits(order, logits),
        }

    def add(self, inputs, labels, outputs, assignments):
        words, order = labels["mlm_logits"], labels["next_sentence"]
        is_real = words >= 0
        found = words[is_real]
        values = np.ones(found.size), outputs["guesses"][is_real] == found, outputs["losses"][is_real].astype(np.float64)
        for total, value in zip(self._words, values, strict=True):
            total += np.bincount(found, value, minlength=len(total))
        self._order_hits += int(np.sum(outputs["order_guesses"] == order))
        self._order_loss += float(np.sum(outputs["order_losses"], dtype=np.float64))
        self.examples += len(order)

    def write(self, folder):
        often, guessed, losses = self._words
        with (folder / WORDS_FILE).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["word", "masked", "guessed", "loss"])
            order = np.argsort(-often, kind="stable")[: np.count_nonzero(often)]
            for i, token in zip(order, self._tokenizer.to_tokens(order), strict=True):
                writer.writerow([token, int(often[i]), int(guessed[i]), losses[i] / often[i]])
        total = max(1.0, often.sum())
        seen = often > 0
        return {
            "masked_accuracy": guessed.sum() / total,
            "most_frequent_accuracy": often[np.argmax(self._frequencies)] / total,
            "masked_loss": losses.sum() / total,
            "unigram_entropy": -np.sum(often[seen] * np.log(self._frequencies[seen])) / total,
            "order_accuracy": self._order_hits / self.examples,
            "order_loss": self._order_loss / self.examples,
        }
