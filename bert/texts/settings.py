"""The `data` settings of recipes for text classification and regression."""

from bert.tokenizers.packing import PADDINGS
from official.config import check_section, section_settings


def data_settings(**overrides):
    """The `data` settings of a recipe, with this project's defaults.

    name: "rotten_tomatoes", "file", a task of GLUE such as "glue/sst2", or another set of TensorFlow Datasets; dir: the latter's
    `data_dir` ("": its default), or of "file" the folder that the files' paths are relative to; vocabulary: path of a BERT
    vocab.txt or of a SentencePiece .model; lower_case: whether the vocabulary is one of lower-case text; max_length: tokens to
    which an example is cut, [CLS] and [SEP] included; padding: in training, "static" for batches that all have one length, as XLA
    and TPUs want it, or "batch" for batches as long as their longest example; cache_mib: the tokens of all examples are kept in
    memory where their texts take up to so many MiB, and else are made batch by batch; bad_examples: "refuse" or "skip" what
    cannot be used; train_split, validation_split, test_split: in TensorFlow Datasets' syntax ("train[:90%]"; "": the data set's
    own).

    Of "file": train_file, validation_file ("": the last tenth of the training file by a hash of its texts) and test_file;
    text_column, pair_column (used where the training file has it), label_column and score_column: what the columns are called.

    Left open, filled in when a run begins, and kept with the model that it exports: classes: names of the classes in the order of
    the model's outputs; pairs: whether an example has two texts.

    Raises:
      ValueError: an override that is no setting.
    """
    defaults = dict(
        name="",
        dir="",
        vocabulary="",
        lower_case=True,
        max_length=128,
        padding="static",
        cache_mib=2048,
        bad_examples="refuse",
        train_split="",
        validation_split="",
        test_split="",
        train_file="",
        validation_file="",
        test_file="",
        text_column="text",
        pair_column="text_pair",
        label_column="label",
        score_column="score",
        classes=None,
        pairs=None,
    )
    return section_settings("data", defaults, overrides)


def check_data_settings(data):
    """Refuses data settings out of range.

    Raises:
      ValueError: naming the setting, its value and what is allowed.
    """
    allowed = {
        "max_length": (data.max_length >= 5, "at least 5"),
        "padding": (data.padding in PADDINGS, f"one of {', '.join(PADDINGS)}"),
        "cache_mib": (data.cache_mib >= 0, "at least 0"),
    }
    check_section("data", data, allowed)
