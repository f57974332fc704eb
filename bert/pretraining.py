"""The pretraining task: masked words and the order of two segments, as in ALBERT (arXiv:1909.11942)."""

import numpy as np
import tensorflow as tf

from bert.corpus.records import SPECIAL_TOKENS
from bert.masked_lm.data import NoPretrainingData, PretrainingData, read_vectors
from bert.masked_lm.evaluation import PretrainingEvaluation
from bert.masked_lm.fill_mask import MaskFiller
from bert.masked_lm.loss import MaskedLMAccuracy, MaskedLMLoss
from bert.masked_lm.pipeline import PretrainingPipeline
from bert.masked_lm.settings import DATA, check_data_settings
from bert.task import TextTask
from official.task import Split


class Pretraining(TextTask):
    """A bert.task.TextTask; `data` has the settings of bert.masked_lm.settings.DATA.

    Raises:
      ValueError: at construction, for a setting that is not allowed or does not fit the data, or missing data.
    """

    unit = "sequences"
    kind = "pretraining on text"
    model_task = "pretraining"
    data_table = DATA

    def __init__(self, config):
        data = config.data
        was_made_elsewhere = (
            not data.dir and data.predictions is not None
        )  # a run fills that in, and cannot begin without data.dir
        check_data_settings(data)
        if was_made_elsewhere:
            self._data = NoPretrainingData()
            super().__init__(config)
            return
        self._data = PretrainingData(data.dir)
        data.vocabulary = data.vocabulary or self._data.vocabulary
        super().__init__(config)
        self._data.check_vocabulary(data.vocabulary)
        for setting, prepared, is_allowed in (
            ("lower_case", self._data.lower_case, data.lower_case == self._data.lower_case),
            ("max_length", self._data.max_length, data.max_length >= self._data.max_length),
        ):
            if not is_allowed:
                value = data[setting]
                raise ValueError(f"data.{setting}={value} is not allowed: the data in {data.dir} were prepared with {prepared}")
        self.tokens_per_example = self._data.tokens_per_example + SPECIAL_TOKENS

    def initial_model(self):
        model = self.create_model()
        if self.config.data.word_vectors:
            self._begin_with_vectors(model.get_layer("embedding").word_embedding)
        if self.config.data.frequency_bias:
            frequencies = np.asarray(self._data.token_counts, np.float64) + 1  # plus one, so that no logarithm is infinite
            model.get_layer("mlm_logits").bias.assign(np.log(frequencies / frequencies.sum()))
        return model

    def _begin_with_vectors(self, embedding):
        path = self.config.data.word_vectors
        vectors, _ = read_vectors(path)
        if vectors.shape != embedding.shape:
            shape, allowed = (" x ".join(map(str, shape)) for shape in (vectors.shape, embedding.shape))
            raise ValueError(f"data.word_vectors={path!r} is not allowed: it must have {allowed} values, not {shape}")
        embedding.assign(vectors)

    def output_masks(self, inputs):
        return {"mlm_logits": inputs["masked_lm_positions"] > 0}

    def loss(self):
        """The two losses; training minimizes their sum."""
        return {"mlm_logits": MaskedLMLoss(), "next_sentence": tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)}

    def metrics(self):
        accuracy = tf.keras.metrics.SparseCategoricalAccuracy(name="accuracy")
        return {"mlm_logits": [MaskedLMAccuracy()], "next_sentence": [accuracy]}

    def describe_data(self):
        limits = {"train": 0, "validation": self.config.data.validation_examples}
        return {split: Split(self._data.source(split, 1, limit).examples) for split, limit in limits.items()}

    def train_dataset(self, start_step):
        train = self.config.train
        return self._pipeline("train").train_batches(train.batch_size, train.seed, start_step)

    def validation_dataset(self):
        batches = self._pipeline("validation", self.config.data.validation_examples)
        return batches.evaluation_batches(self.config.train.batch_size)

    def evaluation_dataset(self, split):
        """All examples of a split, "train" or "validation", once; every run masks the same words.

        Raises:
          ValueError: another split.
        """
        return self._pipeline(split).evaluation_batches(self.config.train.batch_size)

    def evaluation(self, split):
        return PretrainingEvaluation(self.tokenizer, self._data.token_counts)

    def endpoints(self, model):
        """ "serve": texts with [MASK]s to the most likely words. "tokens": token ids to logits and encodings."""
        filler = MaskFiller(self.tokenizer, self.config.data.max_length)

        def fill(text):
            return filler.fill(model, text)

        def logits(inputs):
            outputs = model(inputs, training=False)
            return {name: outputs[name] for name in OUTPUTS}

        (_, signature) = super().endpoints(model)["tokens"]
        return {"serve": (fill, [tf.TensorSpec([None], tf.string, name="text")]), "tokens": (logits, signature)}

    def _pipeline(self, split, limit=0):
        data = self.config.data
        return PretrainingPipeline(self._data.source(split, data.shuffle_buffer, limit), self.tokenizer, data)


OUTPUTS = ("mlm_logits", "next_sentence", "pooled_output", "sequence_output")
