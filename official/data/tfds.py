"""Data sets of TensorFlow Datasets that are prepared on this machine, and their splits."""

import pathlib


class LocalTfds:
    """A set that TensorFlow Datasets has prepared as TFRecord files, in its newest version.

    Args:
      name: as TensorFlow Datasets calls it, with a configuration where it has several ("glue/sst2").
      directory: where it was prepared, TensorFlow Datasets' `data_dir`; "" for its default.
      otherwise: what else the name may be, for messages ("neither 'digits' nor 'folder'").
      setting: what gave the name, for messages.

    Attributes:
      info: a tfds.core.DatasetInfo.

    Raises:
      ValueError: no such set is there, or it is of other files. Nothing is downloaded.
    """

    def __init__(self, name, directory, otherwise, setting="data.name"):
        import tensorflow_datasets as tfds

        root = pathlib.Path(directory or tfds.core.constants.DATA_DIR).expanduser()
        # Looked up here: TensorFlow Datasets would try the network for minutes.
        # A folder of an interrupted preparation is called "incomplete" and not by a version.
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
          ValueError: a split that there is not, or has no examples.
        """
        split_parts(split, self.info.splits, self.info.full_name.rpartition("/")[0])
        return [(file.filename, file.skip, file.take) for file in self.info.splits[split].file_instructions]

    def parser(self, keys, decoders=None):
        """Function of a serialized record to {key: value} of these features alone.

        Args:
          keys: names of features.
          decoders: as of tfds.features.FeaturesDict.deserialize_example.
        """
        import tensorflow_datasets as tfds

        features = tfds.features.FeaturesDict({key: self.info.features[key] for key in keys})
        return lambda record: features.deserialize_example(record, decoders=decoders)


def memory_splits(sizes):
    """What `split_parts` takes of a data set that is not one of TensorFlow Datasets.

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
    """What a split in TensorFlow Datasets' syntax consists of.

    Args:
      split: such as "train[:90%]".
      infos: {name of a split: tfds.core.SplitInfo}.
      name: of the data set, for messages.

    Returns:
      List of (splitname, from_, to).

    Raises:
      ValueError: a split that there is not, or has no examples; names the splits that there are.
    """
    import tensorflow_datasets as tfds

    try:
        parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(infos)
        has_examples = parts and all(range(infos[part.splitname].num_examples)[part.from_ : part.to] for part in parts)
        problem = None if has_examples else "No examples are there."
    except (ValueError, KeyError, AssertionError) as error:
        problem = str(error).splitlines()[0]
    if problem:
        sizes = ", ".join(f"{key} of {infos[key].num_examples:,} examples" for key in infos)
        raise ValueError(f"{split!r} is not a split of {name} ({sizes}): {problem}")
    return parts


def default_splits(names):
    """The split of each role.

    The last tenth of the training split is for validation, unless there are splits for validation and for the test. Where there
    is only one of the two, it is for the test.
    """
    if "train" not in names or {"validation", "test"} <= set(names):
        return {name: name for name in names}
    test = next((name for name in ("test", "validation") if name in names), None)
    carved = dict(train="train[:90%]", validation="train[90%:]")
    return {**carved, "test": test} if test else carved
