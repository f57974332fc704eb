"""The command that prepares a set of TensorFlow Datasets, and what reads it."""

import json
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import vision.prepare
from official import prepare
from official.data.tfds import LocalTfds


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["official.prepare", *map(str, arguments)])
    prepare.main()


def test_command(monkeypatch, tmp_path, capsys):
    """It hands TensorFlow Datasets the name and the folders, and says where the set is; the images' command is the same."""
    asked = []

    class Builder:
        data_dir = "the/folder"

        def __init__(self, name, data_dir):
            asked.append((name, data_dir))

        def download_and_prepare(self, download_config):
            asked.append(download_config.manual_dir)

    monkeypatch.setattr(tfds, "builder", Builder)
    command(monkeypatch, "glue/sst2", "--data_dir=there", f"--manual_dir={tmp_path}")
    assert asked == [("glue/sst2", "there"), str(tmp_path)]
    asked.clear()
    command(monkeypatch, "glue/sst2", "--data-dir=there", f"--manual-dir={tmp_path}")  # the older spelling
    assert asked == [("glue/sst2", "there"), str(tmp_path)]
    assert capsys.readouterr().out == "glue/sst2 is in the/folder\n" * 2
    assert vision.prepare.main is prepare.main


@pytest.mark.parametrize(
    "error, said",
    [
        (tfds.core.DatasetNotFoundError("no"), "error: TensorFlow Datasets has no data set 'glue/sst3'"),
        (ConnectionError("no network"), "error: glue/sst3 is not prepared: no network"),
    ],
)
def test_one_sentence_where_it_cannot_be(monkeypatch, error, said):
    def builder(*_, **__):
        raise error

    monkeypatch.setattr(tfds, "builder", builder)
    with pytest.raises(SystemExit) as stopped:
        command(monkeypatch, "glue/sst3")
    assert stopped.value.code == said


def test_files_that_are_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr(tfds, "builder", None)
    with pytest.raises(SystemExit, match=r"^error: --manual_dir=.*/gone: no such folder$"):
        command(monkeypatch, "glue/sst2", f"--manual-dir={tmp_path / 'gone'}")


@pytest.fixture
def prepared(tmp_path):
    """Five records of two numbers, in two files."""
    tfds.dataset_builders.store_as_tfds_dataset(
        name="numbers",
        config="small",
        version="1.0.0",
        features=tfds.features.FeaturesDict({"number": np.int64, "square": np.int64}),
        split_datasets={"train": tf.data.Dataset.range(5).map(lambda i: {"number": i, "square": i * i})},
        data_dir=tmp_path,
        download_config=tfds.download.DownloadConfig(num_shards=2),
        disable_shuffling=True,
    )
    return tmp_path


def test_records(prepared):
    """Of a part of a split, and of some features alone."""
    found = LocalTfds("numbers/small", str(prepared), "nothing else")
    parse = found.parser(["square"])
    records = [
        record for path, skip, take in found.files("train[1:4]") for record in tf.data.TFRecordDataset(path).skip(skip).take(take)
    ]
    assert [{key: int(value) for key, value in parse(record).items()} for record in records] == [
        {"square": 1},
        {"square": 4},
        {"square": 9},
    ]
    with pytest.raises(ValueError, match=r"^'test' is not a split of numbers/small \(train of 5 examples\): "):
        found.files("test")


def test_other_files_than_records(prepared):
    path = prepared / "numbers" / "small" / "1.0.0" / "dataset_info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "fileFormat": "array_record"}))
    with pytest.raises(ValueError, match=r"^corpus='numbers/small' in .* it was prepared as array_record and not as tfrecord$"):
        LocalTfds("numbers/small", str(prepared), "nothing else", setting="corpus")
