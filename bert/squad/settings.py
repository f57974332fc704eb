"""The `data` settings of recipes for question answering."""

import math

from ml_collections import config_dict

from bert.tokenizers.packing import PADDINGS
from official.config import Setting, check_section, check_types, defaults_of, section_settings
from official.data.bad_examples import POLICIES

BEST = "best"
SPECIAL_TOKENS = 3  # of a window: [CLS] and two [SEP]

DATA = {
    "name": Setting("", "squad/v1.1, squad/v2.0 or file"),
    "dir": Setting("", "TensorFlow Datasets' data_dir ('': its default), or the folder of the files of name='file'"),
    "train_split": Setting("train", "split to train on, in TensorFlow Datasets' syntax"),
    "validation_split": Setting("validation", "split to validate on"),
    "train_file": Setting("", "name='file': JSON file in SQuAD's format to train on"),
    "validation_file": Setting("", "name='file': file to validate on"),
    "test_file": Setting("", "name='file': file to test on; its questions need no answers"),
    "bad_examples": Setting("refuse", f"what to do about unusable examples: {', '.join(POLICIES)}"),
    "no_answer": Setting(True, "whether questions may have no answer; scores then follow SQuAD 2.0"),
    "vocabulary": Setting("", "path of a BERT vocab.txt or of a SentencePiece .model ('': that of the run in init)"),
    "lower_case": Setting(True, "whether the vocabulary is for lower-case text"),
    "max_length": Setting(384, "tokens of a window: [CLS], the question, a part of the context and two [SEP]"),
    "max_query_length": Setting(64, "tokens to which a question is cut"),
    "doc_stride": Setting(128, "tokens from the start of a context's window to the start of the next one"),
    "padding": Setting("static", "training batches: static (one length), batch (longest window), grouped (like length)"),
    "n_best": Setting(20, "answers to a question that are written or served"),
    "max_answer_length": Setting(30, "tokens of the longest answer"),
    "null_threshold": Setting(BEST, "null odds above which a question counts as unanswerable (best: what maximizes F1)"),
    "questions": Setting(None, "number of training questions (None: filled in when a run starts)"),
}


def data_settings(**overrides):
    """The `data` settings of a recipe, a dict: the defaults of DATA, some of them overridden.

    With null_threshold="best" the threshold is chosen on the evaluated split; it is 0 where the answers are not known.

    Raises:
      ValueError: an override that is not in DATA.
    """
    settings = section_settings("data", defaults_of(DATA), overrides)
    # The command line may replace it by a number or by a word.
    return {**settings, "null_threshold": config_dict.FieldReference(settings["null_threshold"], field_type=object)}


def check_data_settings(data):
    """Refuses data settings out of range.

    Raises:
      ValueError: names the setting, its value and what is allowed.
    """
    check_types("data", data, {name: setting for name, setting in DATA.items() if name != "null_threshold"})
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
