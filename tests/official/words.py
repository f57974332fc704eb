"""A task that is as little like images as it can be: strings, a vocabulary file, dicts in and out, lengths that vary."""

import pathlib

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from official.config import literal_settings, train_settings
from official.data.bad_examples import BadExamples
from official.data.batches import evaluation_batches, train_batches
from official.data.sources import IndexedSource
from official.task import Evaluation, Task

WORDS = ("red", "green", "blue", "one", "two", "three", "four")
COLORS = WORDS[:3]
FILES = {"answers.csv": "each text and the color that was answered"}


def write_vocabulary(path):
    path.write_text("".join(f"{word}\n" for word in WORDS))
    return path


def words_config(vocabulary, *more, **train):
    """The recipe."""
    settings = dict(batch_size=4, steps=4, eval_every=2, lr=0.05, **train)
    config = ConfigDict(
        dict(
            name="words",
            init="",
            task="tests.official.words:Words",
            model=literal_settings(dict(words=None, width=4)),
            data=dict(vocabulary=str(vocabulary)),
            train=train_settings(**settings),
        )
    )
    for dotted in more:
        config.update_from_flattened_dict(dotted)
    return config


class Lookup(tf.Module):
    """Strings of words to ids int32 [N, (words)], by a table."""

    def __init__(self, path):
        super().__init__()
        words = tf.constant(pathlib.Path(path).read_text().split())
        self.size = len(words)
        keys = tf.lookup.KeyValueTensorInitializer(words, tf.range(len(words), dtype=tf.int32) + 1)
        self.table = tf.lookup.StaticHashTable(keys, 0)

    def __call__(self, texts):
        return self.table.lookup(tf.strings.split(texts))


def padded(ids):
    return {"ids": ids.to_tensor(), "mask": tf.sequence_mask(ids.row_lengths(), dtype=tf.int32)}


class Words(Task):
    """Which color a text has, and how many words."""

    unit = "texts"
    tokens_per_example = 3
    evaluated_endpoint = "ids"

    def __init__(self, config):
        self.bad_examples = BadExamples("refuse")
        self._config = config
        self._lookup = Lookup(config.data.vocabulary)
        if config.model.words is None:
            config.model.words = self._lookup.size
        random = np.random.default_rng(0)
        self.texts, self.colors = [], []
        for length in random.integers(1, 6, 22):
            words = random.choice(WORDS[3:], length)
            words[random.integers(length)] = color = random.choice(COLORS)
            self.texts.append(" ".join(words))
            self.colors.append(COLORS.index(color))
        self._source = IndexedSource(
            22, lambda i: (tf.constant(self.texts)[i], tf.constant(self.colors, tf.int64)[i]), "text {}".format
        )

    def forward_flops(self, model, kept):
        return 1e6 * kept  # more than there are, so that the share of the peak is not nearly 0

    def create_model(self):
        ids, mask = (tf.keras.Input((None,), name=name, dtype=tf.int32) for name in ("ids", "mask"))
        x = tf.keras.layers.Embedding(self._config.model.words + 1, self._config.model.width, name="embedding")(ids)
        x = x * tf.cast(mask, x.dtype)[..., tf.newaxis]
        color = tf.keras.layers.Dense(3, name="color")(tf.reduce_max(x, axis=1))
        length = tf.keras.layers.Dense(1, name="length")(tf.reduce_sum(x, axis=1))
        return tf.keras.Model({"ids": ids, "mask": mask}, {"color": color, "length": length}, name="words")

    def loss(self):
        color = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return {"color": color, "length": tf.keras.losses.MeanSquaredError()}

    def metrics(self):
        return {"color": [tf.keras.metrics.SparseCategoricalAccuracy(name="accuracy")]}

    def _example(self, text, color):
        ids = self._lookup(text)
        return padded(ids), {"color": color, "length": ids.row_lengths()[:, tf.newaxis]}

    def train_dataset(self, start_step):
        train = self._config.train
        return train_batches(
            self._source, train.seed, start_step, train.batch_size, self._example, lambda epoch, index, *parts: parts
        )

    def validation_dataset(self):
        return evaluation_batches(self._source, 4, self._example, lambda index, *parts: parts)

    def evaluation_dataset(self, split):
        if split != "validation":
            raise ValueError(f"{split!r} is not a split of words: it must be validation")
        named = self._source.in_order().map(lambda index, *parts: parts).batch(4)
        return named.map(lambda text, color: (self._example(text, color)[0], {"text": text, "color": color}))

    def evaluation(self, split):
        return WordsEvaluation(COLORS)

    def endpoints(self, model):
        def serve(text):
            return {"color": model(padded(self._lookup(text)), training=False)["color"]}

        return {"serve": (serve, [tf.TensorSpec([None], tf.string, name="text")]), **self._of_ids(model)}

    def _of_ids(self, model):
        (_, signature) = super().endpoints(model)["serve"]
        return {"ids": (lambda inputs: model(inputs, training=False), signature)}

    def resources(self):
        return [self._lookup]

    def assets(self):
        return {"words.txt": self._config.data.vocabulary}


class WordsEvaluation(Evaluation):
    """Accuracy, and what was answered to which text."""

    files = FILES

    def __init__(self, colors):
        self._colors = colors
        self._rows = []
        self.hits = []

    @property
    def examples(self):
        return len(self._rows)

    def reduce(self, inputs, labels, outputs):
        return {"answer": tf.argmax(outputs["color"], axis=-1)}

    def add(self, inputs, labels, outputs, assignments):
        assert assignments is None
        assert set(outputs) == {"answer"}
        assert inputs["ids"].shape == inputs["mask"].shape
        self._rows += [(text.decode(), self._colors[i]) for text, i in zip(labels["text"], outputs["answer"], strict=True)]
        self.hits += (outputs["answer"] == labels["color"]).tolist()

    def write(self, folder):
        (folder / "answers.csv").write_text("".join(f"{text},{color}\n" for text, color in self._rows))
        return {"accuracy": sum(self.hits) / len(self.hits)}
