"""What tests of text data share: prepared sets with GLUE's features, and files."""

import json

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from ml_collections import ConfigDict

from bert.texts.datasets import open_dataset
from bert.texts.settings import data_settings
from official.data.bad_examples import BadExamples


def prepare(folder, name, features, **splits):
    """Prepares a set of TensorFlow Datasets.

    Args:
      folder: its `data_dir`.
      name: "glue/sst2".
      features: {key: feature}.
      **splits: of each, {key: list of values}.
    """
    name, _, config = name.partition("/")
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        config=config or None,
        version="2.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets={split: tf.data.Dataset.from_tensor_slices(columns) for split, columns in splits.items()},
        data_dir=folder,
        disable_shuffling=True,
    )


def prepare_glue(folder, task, **splits):
    """Prepares examples as a task of GLUE, with the features that TensorFlow Datasets' own builder gives it.

    Args:
      task: "sst2".
      **splits: of each, a list of (texts..., label).
    """
    config = next(config for config in tfds.text.glue.Glue.BUILDER_CONFIGS if config.name == task)
    features = {key: tfds.features.Text() for key in config.text_features}
    names = config.label_classes
    features |= {"label": tfds.features.ClassLabel(names=names) if names else np.float32, "idx": np.int32}

    def columns(examples):
        columns = dict(zip(config.text_features, zip(*(example[:-1] for example in examples), strict=True), strict=True))
        columns = {key: list(values) for key, values in columns.items()}
        labels = np.array([example[-1] for example in examples], np.int64 if names else np.float32)
        return {**columns, "label": labels, "idx": np.arange(len(examples), dtype=np.int32)}

    prepare(folder, f"glue/{task}", features, **{split: columns(examples) for split, examples in splits.items()})


def write_tsv(path, header, *rows):
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in (header, *rows)))
    return path


def write_jsonl(path, *objects):
    path.write_text("".join(json.dumps(value) + "\n" for value in objects))
    return path


def open_data(bad_examples=None, **settings):
    """The data set of `data` settings."""
    return open_dataset(ConfigDict(data_settings(**settings)), bad_examples or BadExamples("refuse"))


# Settings of a recipe for texts, which make its model tiny.
TINY_TEXT = {
    "model.depth": 2,
    "model.width": 16,
    "model.heads": 2,
    "model.embedding_dim": 8,
    "model.expert_dim": 16,
    "model.max_length": 16,
    "data.max_length": 16,
    "train.batch_size": 4,
}
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def write_vocabulary(path, words=()):
    """A BERT vocab.txt of those words, of single letters and digits, and of these as continuations of words."""
    characters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?"
    tokens = dict.fromkeys([*SPECIAL, *words, *characters, *(f"##{character}" for character in characters)])
    path.write_text("".join(f"{token}\n" for token in tokens))
    return path
