"""The `data` settings of recipes for sentence embeddings."""

from bert.corpus.open import EMBEDDED
from bert.texts import settings as texts
from official.config import Setting, check_section, defaults_of, section_settings

DATA = {
    **{name: setting for name, setting in texts.DATA.items() if name not in ("classes", "pairs")},
    "name": Setting("", f"file, lines, {', '.join(EMBEDDED)}, rotten_tomatoes, a GLUE task, or a set of TensorFlow Datasets"),
    "max_length": Setting(128, "tokens to which a text is cut, [CLS] and [SEP] included; also of a corpus's segments"),
    "train_file": Setting("", "name='file': TSV, CSV or JSON file to train on; name='lines': file with a text on each line"),
    "pair_column": Setting("text_pair", "name='file': column of the second text, if the file has it"),
    "label_column": Setting("label", "name='file': column of the class; only entailment, equivalent and duplicate are pairs"),
    "score_column": Setting("score", "name='file': column of the pairs' similarity, which only the evaluation uses"),
    "pairs": Setting(None, "whether an example is a pair of texts (False: a single text; None: as the data have it)"),
    "views": Setting(2, "rows of an example in a batch; 2 of a single text differ by dropout, 1 is for distillation"),
    "scale": Setting(20.0, "factor on the cosines in the loss, the inverse of its temperature"),
}


def data_settings(**overrides):
    """The `data` settings of a recipe, a dict: the defaults of DATA, some of them overridden.

    A run fills in `pairs` when it starts; it is kept with the model that it exports.

    Raises:
      ValueError: an override that is not in DATA.
    """
    return section_settings("data", defaults_of(DATA), overrides)


def check_data_settings(data):
    """Refuses data settings out of range.

    Raises:
      ValueError: names the setting, its value and what is allowed.
    """
    texts.check_data_settings(data, DATA)
    allowed = {
        "pairs": (data.pairs in (None, True, False), "True, False or None"),
        "views": (data.views in (1, 2), "1 or 2"),
        "scale": (data.scale > 0, "above 0"),
    }
    check_section("data", data, allowed)
