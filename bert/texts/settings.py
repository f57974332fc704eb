"""The `data` settings of recipes for text classification and regression."""

from bert.tokenizers.packing import PADDINGS
from official.config import Setting, check_section, check_types, defaults_of, section_settings
from official.data.bad_examples import POLICIES

DATA = {
    "name": Setting("", "rotten_tomatoes, file, a GLUE task such as glue/sst2, or another set of TensorFlow Datasets"),
    "dir": Setting("", "TensorFlow Datasets' data_dir ('': its default), or the folder of the files of name='file'"),
    "vocabulary": Setting("", "path of a BERT vocab.txt or of a SentencePiece .model ('': that of the run in init)"),
    "lower_case": Setting(True, "whether the vocabulary is for lower-case text"),
    "max_length": Setting(128, "tokens to which an example is cut, [CLS] and [SEP] included"),
    "padding": Setting("static", "training batches: static (one length), batch (longest example), grouped (like length)"),
    "cache_mib": Setting(2048, "tokens are kept in memory if the texts take at most this many MiB"),
    "bad_examples": Setting("refuse", f"what to do about unusable examples: {', '.join(POLICIES)}"),
    "train_split": Setting("", "split to train on, in TensorFlow Datasets' syntax ('': the data set's own)"),
    "validation_split": Setting("", "split to validate on ('': the data set's own)"),
    "test_split": Setting("", "split to test on ('': the data set's own)"),
    "train_file": Setting("", "name='file': TSV, CSV or JSON file to train on"),
    "validation_file": Setting("", "name='file': file to validate on ('': a tenth of train_file, by a hash of the text)"),
    "test_file": Setting("", "name='file': file to test on; it may lack labels"),
    "text_column": Setting("text", "name='file': column of the text"),
    "pair_column": Setting("text_pair", "name='file': column of the second text, used if train_file has it"),
    "label_column": Setting("label", "name='file': column of the class"),
    "score_column": Setting("score", "name='file': column of the score, for regression"),
    "classes": Setting(None, "names of the classes in the order of the model's outputs (None: those of the data)"),
    "pairs": Setting(None, "whether an example has two texts (None: as the data have it)"),
}


def data_settings(**overrides):
    """The `data` settings of a recipe, a dict: the defaults of DATA, some of them overridden.

    A run fills in `classes` and `pairs` when it starts; they are kept with the model that it exports.

    Raises:
      ValueError: an override that is not in DATA.
    """
    return section_settings("data", defaults_of(DATA), overrides)


def check_data_settings(data, table=DATA):
    """Refuses data settings out of range; `table` has all of them.

    Raises:
      ValueError: names the setting, its value and what is allowed.
    """
    check_types("data", data, table)
    allowed = {
        "max_length": (data.max_length >= 5, "at least 5"),
        "padding": (data.padding in PADDINGS, f"one of {', '.join(PADDINGS)}"),
        "cache_mib": (data.cache_mib >= 0, "at least 0"),
    }
    check_section("data", data, allowed)
