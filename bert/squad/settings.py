"""The `data` settings of recipes for question answering."""

import math

from ml_collections import config_dict

from bert.tokenizers.packing import PADDINGS
from official.config import check_section, section_settings

BEST = "best"
SPECIAL_TOKENS = 3  # of a window: [CLS] and two [SEP]


def data_settings(**overrides):
    """The `data` settings of a recipe, with this project's defaults.

    name: "squad/v1.1", "squad/v2.0" or "file"; dir: TensorFlow Datasets' `data_dir` ("": its default), or of "file" the folder
    that the files' paths are relative to; train_split, validation_split: in TensorFlow Datasets' syntax ("train[:90%]");
    train_file, validation_file, test_file: of "file", in SQuAD's published JSON format; the questions of the last one need no
    answers; bad_examples: "refuse" or "skip" what cannot be used.

    no_answer: whether a question may have none, as in SQuAD 2.0, whose scores then hold.

    vocabulary: path of a BERT vocab.txt or of a SentencePiece .model; lower_case: whether it is one of lower-case text;
    max_length: tokens of a window, [CLS], question and two [SEP] included; max_query_length: tokens to which a question is cut;
    doc_stride: a longer context is seen through windows that begin so many tokens after one another; padding: in training,
    "static" for batches that all have max_length tokens, as XLA and TPUs want it, or "batch" for batches as long as their longest
    window.

    n_best: how many answers to a question are told; max_answer_length: tokens of the longest one; null_threshold: a question has
    no answer where the logits of "no answer" are ahead of those of the best answer by more than this; "best" for what makes the
    F1 of the evaluated split the highest (0 where its answers are not known).

    Filled in when a run begins, and then in its summary and its exported model: questions: how many are trained on.

    Raises:
      ValueError: an override that is no setting.
    """
    settings = dict(
        name="",
        dir="",
        train_split="train",
        validation_split="validation",
        train_file="",
        validation_file="",
        test_file="",
        bad_examples="refuse",
        no_answer=True,
        vocabulary="",
        lower_case=True,
        max_length=384,
        max_query_length=64,
        doc_stride=128,
        padding="static",
        n_best=20,
        max_answer_length=30,
        null_threshold=BEST,
        questions=None,
    )
    settings = section_settings("data", settings, overrides)
    # A number or a word.
    return {**settings, "null_threshold": config_dict.FieldReference(settings["null_threshold"], field_type=object)}


def check_data_settings(data):
    """Refuses data settings out of range.

    Raises:
      ValueError: naming the setting, its value and what is allowed.
    """
    room = data.max_length - SPECIAL_TOKENS - data.max_query_length
    allowed = {
        "max_query_length": (data.max_query_length >= 1, "at least 1"),
        "max_length": (room >= 1, f"at least {data.max_query_length + SPECIAL_TOKENS + 1}, for data.max_query_length"),
        "doc_stride": (1 <= data.doc_stride <= room, f"from 1 to {room}, the tokens of a context beside the longest question"),
        "padding": (data.padding in PADDINGS, f"one of {', '.join(PADDINGS)}"),
        "n_best": (data.n_best >= 1, "at least 1"),
        "max_answer_length": (data.max_answer_length >= 1, "at least 1"),
        "null_threshold": (_is_threshold(data.null_threshold), f"a number or {BEST!r}"),
    }
    check_section("data", data, allowed)


def _is_threshold(value):
    if value == BEST:
        return True
    try:
        return not isinstance(value, bool) and math.isfinite(float(value))
    except (TypeError, ValueError):
        return False
