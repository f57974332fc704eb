"""Sets that TensorFlow Datasets has prepared on this machine: found and read without asking its server."""

import pathlib

from official.splits import split_parts


class PreparedSet:
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
                f"prepare it with: python -m official.prepare {name} --data-dir={root} "
                "(and --manual-dir=FOLDER where its files are on this machine)"
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
