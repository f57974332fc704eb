"""Data sets of TensorFlow Datasets as corpora: the text of one feature, without labels."""

import functools

from bert.corpus.base import Corpus, CorpusError
from official.data.tfds import LocalTfds


def open_set(name, directory="", feature=""):
    """Opens a data set that TensorFlow Datasets has prepared on this machine as a bert.corpus.base.Corpus.

    Args:
      name: "tfds:NAME" or "tfds:NAME:SPLIT", the split in TensorFlow Datasets' syntax.
      directory: TensorFlow Datasets' `data_dir`; "" for its default.
      feature: the feature that is the text; "" for "text", or for the only text feature.

    Raises:
      ValueError: a data set that is not prepared, an unknown split or feature, or several text features and none chosen.
    """
    import tensorflow_datasets as tfds

    _, given, *split = name.split(":", 2)
    found = LocalTfds(given, directory, "none of the other corpora", setting="corpus")
    texts = [key for key, kind in found.info.features.items() if isinstance(kind, tfds.features.Text)]
    feature = feature or ("text" if "text" in texts else texts[0] if len(texts) == 1 else "")
    if feature not in texts:
        raise ValueError(f"tfds_feature={feature!r} is not allowed: the texts of {name} are {', '.join(texts) or 'none'}")
    pieces = tuple((str(path), skip, take) for path, skip, take in found.files(split[0] if split else "train"))
    return Corpus(name, pieces, functools.partial(read_records, given, directory, feature), str)


def read_records(name, directory, feature, piece):
    """Yields the text of each record of a part of a file.

    Args:
      name, directory: of the data set, as of official.data.tfds.LocalTfds.
      feature: name of the text feature.
      piece: (path, records to skip, records to take; -1 takes all).

    Raises:
      CorpusError: a file that is damaged, or a text that is not UTF-8; names the file and the record.
    """
    import tensorflow as tf

    path, skip, take = piece
    parse = LocalTfds(name, directory, "", setting="corpus").parser([feature])
    number = skip
    try:
        for example in tf.data.TFRecordDataset(path).skip(skip).take(take).map(parse).as_numpy_iterator():
            yield example[feature].decode()
            number += 1
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}, record {number}: it is not text in UTF-8 ({error.reason})") from error
    except tf.errors.OpError as error:
        raise CorpusError(f"{path}: it is cut off or damaged after {number:,} records: {error.message}") from error
