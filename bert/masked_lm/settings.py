"""The `data` settings of recipes for pretraining."""

import math

from official.config import Setting, check_section, check_types, defaults_of, section_settings

MASKINGS = ("dynamic", "static")

DATA = {
    "name": Setting("pretraining", "name of the data, for the name of the run"),
    "dir": Setting("", "folder that python -m bert.prepare has written"),
    "vocabulary": Setting("", "vocabulary that the data were prepared with ('': the copy in dir)"),
    "lower_case": Setting(True, "whether the vocabulary is for lower-case text"),
    "max_length": Setting(512, "tokens of an example; at least those that the data were prepared for"),
    "masking": Setting("dynamic", "dynamic (words and order of segments drawn anew in every epoch) or static"),
    "mask_rate": Setting(0.15, "share of the tokens that are predicted"),
    "max_ngram": Setting(3, "whole words that are masked together, at most"),
    "predictions": Setting(None, "prediction slots of an example (None: mask_rate * max_length, rounded up)"),
    "word_vectors": Setting("", "file of python -m bert.word_vectors that initializes the embeddings ('': random)"),
    "frequency_bias": Setting(False, "initialize the bias of the word logits with log frequencies instead of zeros"),
    "shuffle_buffer": Setting(10_000, "records that shuffling keeps in memory"),
    "validation_examples": Setting(0, "held-out examples that are evaluated during training (0: all)"),
    "bad_examples": Setting("refuse", "must be refuse: prepared data have no unusable examples"),
}


def data_settings(**overrides):
    """The `data` settings of a recipe, a dict: the defaults of DATA, some of them overridden.

    word_vectors and frequency_bias are for short runs; BERT and ALBERT start from random embeddings and a bias of 0. The
    frequencies are those of the training split, each count plus one (a prior on classes as in arXiv:1708.02002, section 3.3).

    Raises:
      ValueError: an override that is not in DATA.
    """
    return section_settings("data", defaults_of(DATA), overrides)


def check_data_settings(data):
    """Refuses data settings out of range, and fills in `predictions`.

    Raises:
      ValueError: naming the setting, its value and what is allowed.
    """
    check_types("data", data, DATA)
    if data.predictions is None:
        data.predictions = math.ceil(data.mask_rate * data.max_length)
    allowed = {
        "masking": (data.masking in MASKINGS, f"one of {', '.join(MASKINGS)}"),
        "mask_rate": (0 < data.mask_rate < 1, "above 0 and below 1"),
        "max_ngram": (data.max_ngram >= 1, "at least 1"),
        "predictions": (
            type(data.predictions) is int and 1 <= data.predictions <= data.max_length,
            f"from 1 to data.max_length={data.max_length}",
        ),
        "shuffle_buffer": (data.shuffle_buffer >= 1, "at least 1"),
        "validation_examples": (data.validation_examples >= 0, "at least 0"),
        "bad_examples": (data.bad_examples == "refuse", "'refuse': prepared data have no unusable examples"),
    }
    check_section("data", data, allowed)
