"""Reads what bert.prepare and bert.word_vectors have written."""

import hashlib
import io
import zipfile

import numpy as np
import tensorflow as tf

from bert.corpus.shards import SPLITS, prepared_vocabulary, read_info
from official.data.sources import RecordSource

NO_DATA = "data.dir={!r} is not allowed: it must be a folder that python -m bert.prepare has written"


class PretrainingData:
    """A folder of pretraining data.

    Args:
      folder: its path.

    Attributes:
      vocabulary: path of the vocabulary in the folder.
      max_length: tokens of an example, special ones included.
      lower_case: whether texts were made lower case.
      token_counts: list of int, the count of each token in the training split.
      made_of: plain values that identify the data: settings, and facts about the corpora.
      tokens_per_example: mean over the training split, without special tokens.

    Raises:
      ValueError: a folder without complete data, or a file that is missing or has changed in size.
    """

    def __init__(self, folder):
        info = read_info(folder) if folder else None
        if info is None:
            raise ValueError(NO_DATA.format(folder))
        if "splits" not in info:
            raise ValueError(f"data.dir={folder!r} is not allowed: it must be complete; the same bert.prepare command resumes it")
        self._folder = str(folder).rstrip("/")
        self.made_of = {key: info[key] for key in ("settings", "inputs")}
        self._splits, settings = info["splits"], info["settings"]
        self._sha256 = settings["vocabulary_sha256"]
        self.vocabulary = prepared_vocabulary(folder)
        self.max_length = settings["max_length"]
        self.lower_case = settings["lower_case"]
        self.token_counts = info["token_counts"]
        self.tokens_per_example = self._splits["train"]["tokens"] / self._splits["train"]["examples"]
        for split in SPLITS:
            self._check_files(self._splits[split]["files"])

    def check_vocabulary(self, path):
        """Refuses a vocabulary file with another content than the data's.

        Raises:
          ValueError: names both.
        """
        with tf.io.gfile.GFile(path, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        if digest != self._sha256:
            raise ValueError(f"data.vocabulary={path!r} is not allowed: {self._folder} was made with {self.vocabulary}")

    def source(self, split, buffer, limit=0):
        """Makes an official.data.sources.RecordSource of serialized records.

        Args:
          split: "train" or "validation".
          buffer: number of records that shuffling keeps in memory.
          limit: number of examples, from the start of the split, which is in random order; 0 for all.

        Raises:
          ValueError: another split.
        """
        if split not in self._splits:
            raise ValueError(f"{split!r} is not a split of pretraining data: it must be one of {', '.join(self._splits)}")
        files, left = [], limit or float("inf")
        for name, file in self._splits[split]["files"].items():
            take = min(file["examples"], left)
            left -= take
            if take:
                files.append((f"{self._folder}/{name}", 0, take))
        return RecordSource(files, lambda record: (record,), buffer)

    def _check_files(self, files):
        for name, file in files.items():
            path = f"{self._folder}/{name}"
            size = tf.io.gfile.stat(path).length if tf.io.gfile.exists(path) else None
            if size != file["file_bytes"]:
                problem = "is missing" if size is None else f"has {size:,} bytes instead of {file['file_bytes']:,}"
                raise ValueError(f"{path} {problem}; delete it, and the same bert.prepare command writes it again")


class NoPretrainingData:
    """In place of the data of a model that was made elsewhere, which has none."""

    @property
    def token_counts(self):
        raise ValueError(NO_DATA.format(""))

    def source(self, split, buffer, limit=0):
        raise ValueError(NO_DATA.format(""))


def read_vectors(path, setting="data.word_vectors"):
    """Reads a file that `python -m bert.word_vectors` has written.

    Args:
      path: of the file.
      setting: what the user calls the path, for messages.

    Returns:
      (float32 [vocabulary, width], the vectors; str, the JSON of the settings that they were learned with).

    Raises:
      ValueError: a file that does not exist or has another origin; names the setting.
    """
    try:
        with tf.io.gfile.GFile(str(path), "rb") as file, np.load(io.BytesIO(file.read())) as arrays:
            return arrays["vectors"].astype(np.float32, casting="same_kind"), str(arrays["settings"])
    except (tf.errors.OpError, ValueError, KeyError, EOFError, zipfile.BadZipFile, TypeError, AttributeError) as error:
        # Of an array that is not in an archive (AttributeError under Python 3.10), or of other values than numbers (TypeError).
        allowed = "a file that python -m bert.word_vectors has written"
        raise ValueError(f"{setting}={str(path)!r} is not allowed: it must be {allowed}") from error
