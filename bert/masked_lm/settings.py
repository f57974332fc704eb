"""The `data` settings of recipes for pretraining."""

import math

from official.config import check_section, section_settings

MASKINGS = ("dynamic", "static")


def data_settings(**overrides):
    """The `data` settings of a recipe, with this project's defaults.

    dir: the folder that `python -m bert.prepare` has written, and name: what it is called; vocabulary: path of the vocabulary
    that it was made with ("": the copy in the folder); lower_case: whether that is one of lower-case text; max_length: tokens
    of an example, as many as the data were prepared for or more; masking: "dynamic" for words and order of segments that are
    drawn anew in every epoch, or "static" for the same ones in all; mask_rate: share of the tokens that are to be predicted;
    max_ngram: whole words that are masked together, at most; predictions: places for masked words in an example (None: as
    many as mask_rate of max_length, rounded up); word_vectors: path of a file that `python -m bert.word_vectors` has written,
    with which the embeddings begin ("": random, as BERT's and ALBERT's); frequency_bias: whether the bias of a word's logit
    begins at the logarithm of how often the word is in the training split, each counted once more, and not at 0 as BERT's and
    ALBERT's, so that a short run need not learn that first (as a prior on classes in arXiv:1708.02002, section 3.3);
    shuffle_buffer: records that shuffling keeps in memory; validation_examples: so many of the held-out examples are
    evaluated in training (0: all); bad_examples: must be "refuse".

    Raises:
      ValueError: an override that is no setting.
    """
    defaults = dict(
        name="pretraining",
        dir="",
        vocabulary="",
        lower_case=True,
        max_length=512,
        masking="dynamic",
        mask_rate=0.15,
        max_ngram=3,
        predictions=None,
        word_vectors="",
        frequency_bias=False,
        shuffle_buffer=10_000,
        validation_examples=0,
        bad_examples="refuse",
    )
    return section_settings("data", defaults, overrides)


def check_data_settings(data):
    """Refuses data settings out of range, and fills in `predictions`.

    Raises:
      ValueError: naming the setting, its value and what is allowed.
    """
    if data.predictions is None:
        data.predictions = math.ceil(data.mask_rate * data.max_length)
    allowed = {
        "masking": (data.masking in MASKINGS, f"one of {', '.join(MASKINGS)}"),
        "mask_rate": (0 < data.mask_rate < 1, "above 0 and below 1"),
        "max_ngram": (data.max_ngram >= 1, "at least 1"),
        "predictions": (1 <= data.predictions <= data.max_length, f"from 1 to data.max_length={data.max_length}"),
        "shuffle_buffer": (data.shuffle_buffer >= 1, "at least 1"),
        "validation_examples": (data.validation_examples >= 0, "at least 0"),
        "bad_examples": (data.bad_examples == "refuse", "'refuse': prepared data has no bad examples"),
    }
    check_section("data", data, allowed)
