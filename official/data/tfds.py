"""Data sets of TensorFlow Datasets that have been prepared on this machine, and their splits."""

import pathlib


class LocalTfds:
    """The newest version of a data set that TensorFlow Datasets has prepared as TFRecord files. Nothing is downloaded.

    Args:
      name: as TensorFlow Datasets calls it, with a configuration where it has several ("glue/sst2").
      directory: TensorFlow Datasets' `data_dir`, where it was prepared; "" for the default.
      otherwise: other names that the setting may have, for messages ("neither 'digits' nor 'folder'").
      setting: where the name was given, for messages.

    Attributes:
      info: a tfds.core.DatasetInfo.

    Raises:
      ValueError: no such data set has been prepared, or not as TFRecord files.
    """

    def __init__(self, name, directory, otherwise, setting="data.name"):
        import tensorflow_datasets as tfds

        root = pathlib.Path(directory or tfds.core.constants.DATA_DIR).expanduser()
        # Not by TensorFlow Datasets, which would try the network for minutes. The folder of an interrupted preparation has a name
        # with "incomplete" in place of a version.
        found = [file.parent for file in (root / name).glob("*/dataset_info.json")]
        versions = [folder for folder in found if tfds.core.Version.is_valid(folder.name)]
        if not versions:
            raise ValueError(
                f"{setting}={name!r} is not allowed: it is {otherwise}, and no such set is prepared in {root}; "
                f"prepare it with: python -m official.prepare {name} --data_dir={root} "
                "(and --manual_dir=FOLDER where its files are on this machine)"
            )
        self.info = tfds.builder_from_directory(max(versions, key=lambda folder: tfds.core.Version(folder.name))).info
        if self.info.file_format != tfds.core.FileFormat.TFRECORD:
            what = self.info.file_format.value
            raise ValueError(f"{setting}={name!r} in {root} is not allowed: it was prepared as {what} and not as tfrecord")

    def files(self, split):
        """List of (path, records to skip, records to take) of a split in TensorFlow Datasets' syntax, "train[:90%]".

        Raises:
          ValueError: an unknown or empty split.
        """
        split_parts(split, self.info.splits, self.info.full_name.rpartition("/")[0])
        return [(file.filename, file.skip, file.take) for file in self.info.splits[split].file_instructions]

    def parser(self, keys, decoders=None):
        """Function of a serialized record to {key: value} of some features.

        Args:
          keys: names of the features; the others are not decoded.
          decoders: as of tfds.features.FeaturesDict.deserialize_example.
        """
        import tensorflow_datasets as tfds

        features = tfds.features.FeaturesDict({key: self.info.features[key] for key in keys})
        return lambda record: features.deserialize_example(record, decoders=decoders)


def memory_splits(sizes):
    """Split infos as of TensorFlow Datasets, for `split_parts`, of a data set in memory.

    Args:
      sizes: {name of a split: number of examples}.

    Returns:
      {name: tfds.core.SplitInfo}.
    """
    import tensorflow_datasets as tfds

    return {
        name: tfds.core.SplitInfo(name=name, shard_lengths=[size], num_bytes=0, filename_template=None)
        for name, size in sizes.items()
    }


def split_parts(split, infos, name):
    """The parts of the splits of a data set that an expression in TensorFlow Datasets' syntax selects.

    Args:
      split: such as "train[:90%]".
      infos: {name of a split: tfds.core.SplitInfo}.
      name: of the data set, for messages.

    Returns:
      List of (splitname, from_, to).

    Raises:
      ValueError: an unknown or empty split; names the known splits.
    """
    import tensorflow_datasets as tfds

    try:
        parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(infos)
        has_examples = parts and all(range(infos[part.splitname].num_examples)[part.from_ : part.to] for part in parts)
        problem = None if has_examples else "it has no examples"
    except (ValueError, KeyError, AssertionError) as error:
        problem = str(error).splitlines()[0]
    if problem:
        sizes = ", ".join(f"{key} of {infos[key].num_examples:,} examples" for key in infos)
        raise ValueError(f"{split!r} is not a split of {name} ({sizes}): {problem}")
    return parts


def default_splits(names):
    """{role: split} for the roles "train", "validation" and "test".

    If a data set has not both a validation and a test split, the last tenth of the training split is for validation, and the one
    that it has is for the test.
    """
    if "train" not in names or {"validation", "test"} <= set(names):
        return {name: name for name in names}
    test = next((name for name in ("test", "validation") if name in names), None)
    carved = dict(train="train[:90%]", validation="train[90%:]")
    return {**carved, "test": test} if test else carved
