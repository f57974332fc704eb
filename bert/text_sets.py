"""Sets of TensorFlow Datasets as corpora: the text of one feature, labels unread."""

import functools
import pathlib


def open_set(name, directory="", feature=""):
    """A bert.corpora.Corpus of a set that TensorFlow Datasets has prepared.

    Args:
      name: "tfds:NAME" or "tfds:NAME:SPLIT", the split in TensorFlow Datasets' syntax.
      directory: TensorFlow Datasets' `data_dir`; "" for its default.
      feature: which one is the text; "" for "text", or for the only text that the set has.

    Raises:
      ValueError: no such set is prepared, it has no such split or feature, or several texts and none of them named.
    """
    import tensorflow_datasets as tfds

    from bert.corpora import Corpus

    _, given, *split = name.split(":", 2)
    split = split[0] if split else "train"
    info = _prepared(name, given, pathlib.Path(directory or tfds.core.constants.DATA_DIR).expanduser()).info
    texts = [key for key, kind in info.features.items() if isinstance(kind, tfds.features.Text)]
    feature = feature or ("text" if "text" in texts else texts[0] if len(texts) == 1 else "")
    if feature not in texts:
        raise ValueError(f"tfds_feature={feature!r} is not allowed: the texts of {name} are {', '.join(texts) or 'none'}")
    try:
        files = info.splits[split].file_instructions
    except (ValueError, KeyError) as error:
        raise ValueError(f"corpus={name!r} is not allowed: {str(error).splitlines()[0]}") from error
    pieces = tuple((str(file.filename), file.skip, file.take) for file in files)
    return Corpus(name, pieces, functools.partial(read_records, str(info.data_dir), feature), str)


def read_records(folder, feature, piece):
    """The text of each record of a part of a file.

    Args:
      folder: of the prepared set.
      feature: the text's name.
      piece: (path, records to skip, records to take, where -1 is all).

    Raises:
      ValueError: a file that is damaged, or a text that is not UTF-8; names the file and the record.
    """
    import tensorflow as tf
    import tensorflow_datasets as tfds

    path, skip, take = piece
    features = tfds.features.FeaturesDict({feature: tfds.builder_from_directory(folder).info.features[feature]})
    records = tf.data.TFRecordDataset(path).skip(skip).take(take).map(features.deserialize_example)
    number = skip
    try:
        for example in records.as_numpy_iterator():
            yield example[feature].decode()
            number += 1
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}, record {number}: it is not text in UTF-8 ({error.reason})") from error
    except tf.errors.OpError as error:
        raise ValueError(f"{path}: it is cut off or damaged after {number:,} records: {error.message}") from error


def _prepared(corpus, name, root):
    import tensorflow_datasets as tfds

    # Looked up here: TensorFlow Datasets would try the network for minutes.
    found = [file.parent for file in (root / name).glob("*/dataset_info.json")]
    versions = [folder for folder in found if tfds.core.Version.is_valid(folder.name)]
    if not versions:
        raise ValueError(f"corpus={corpus!r} is not allowed: no such set is prepared in {root}")
    builder = tfds.builder_from_directory(max(versions, key=lambda folder: tfds.core.Version(folder.name)))
    if builder.info.file_format != tfds.core.FileFormat.TFRECORD:
        what = builder.info.file_format.value
        raise ValueError(f"corpus={corpus!r} in {root} is not allowed: it was prepared as {what} and not as tfrecord")
    return builder
