"""Prepares a data set of TensorFlow Datasets for training: python -m official.prepare glue/sst2

To be run once on each machine. Needs the network, or the files of the data set in --manual_dir. (TensorFlow Datasets' own command
needs Apache Beam for every data set.)
"""

import argparse
import pathlib
import sys

from official.cli.arguments import add_data_dir


def main():
    parser = argparse.ArgumentParser(prog="python -m official.prepare", description=__doc__.split("\n")[0])
    parser.add_argument("name", help="as TensorFlow Datasets calls it")
    add_data_dir(parser, "folder to prepare it in (default: TensorFlow Datasets' own folder)", ["--data-dir"])
    parser.add_argument("--manual_dir", "--manual-dir", help="folder that has the files of the data set already")
    given = parser.parse_args()
    # TensorFlow Datasets would try the network for minutes.
    if given.manual_dir and not pathlib.Path(given.manual_dir).is_dir():
        sys.exit(f"error: --manual_dir={given.manual_dir}: no such folder")

    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(given.name, data_dir=given.data_dir)
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=given.manual_dir))
    except tfds.core.DatasetNotFoundError:
        sys.exit(f"error: TensorFlow Datasets has no data set {given.name!r}")
    except OSError as error:  # no network, a full disk, a folder that cannot be written
        sys.exit(f"error: {given.name} is not prepared: {error}")
    print(f"{given.name} is in {builder.data_dir}")


if __name__ == "__main__":
    main()
