"""Files of pretraining data: which document goes into which file, and how a file is written atomically.

The files are the same, byte for byte, whichever workers write them and in whatever order the documents come.
"""

import contextlib
import dataclasses
import functools
import hashlib
import io
import itertools
import json
import pathlib
import tempfile
import uuid

import numpy as np

from official.files.checked_json import check_keys, parse_json

INFO = "dataset_info.json"
COUNTS = "counts"  # folder with the statistics of each file
PARTIAL = ".partial"  # suffix of a file that is being written
SPLITS = ("train", "validation")
TOKENIZE_CHARS = 1_000_000  # characters that are tokenized in one call
# What every INFO has, and that of complete data (official.files.checked_json.check_keys).
INFO_SHAPE = {"settings": dict, "settings.vocabulary_name": str, "inputs": (dict, list)}
SPLITS_SHAPE = {
    "settings.vocabulary_sha256": str,
    "settings.max_length": int,
    "settings.lower_case": bool,
    "token_counts": list,
    **{f"splits.{split}.files": dict for split in SPLITS},
    **{f"splits.{split}.{count}": int for split in SPLITS for count in ("examples", "tokens")},
}
FORMAT = 1  # version of the files and of the folder's layout


@dataclasses.dataclass(frozen=True)
class Shards:
    """The files of one folder.

    Attributes:
      folder: path, on any file system that TensorFlow writes to.
      vocabulary: bytes of the vocabulary file.
      vocabulary_name: name of that file.
      lower_case: whether the tokenizer makes texts lower case.
      max_length: tokens of an example, special ones included.
      number: number of files of the training split.
      validation: share of documents held out for validation, by a hash of their text.
      short_share: share of examples that may be shorter.
      seed: of lengths, split points and order of segments.
    """

    folder: str
    vocabulary: bytes = dataclasses.field(repr=False)
    vocabulary_name: str
    lower_case: bool = True
    max_length: int = 512
    number: int = 16
    validation: float = 0.05
    short_share: float = 0.1
    seed: int = 0

    def settings(self):
        """Plain values that the content of the files depends on, besides the corpora."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del fields["folder"], fields["vocabulary"]
        return {"format": FORMAT, **fields, "vocabulary_sha256": hashlib.sha256(self.vocabulary).hexdigest()}

    def all_keys(self):
        """(split, number) of each file."""
        return [("train", i) for i in range(self.number)] + [("validation", i) for i in range(self._of_validation)]

    def name(self, key):
        split, number = key
        total = self.number if split == "train" else self._of_validation
        return f"{split}-{number:05d}-of-{total:05d}.tfrecord"

    def path(self, *parts):
        return "/".join([self.folder.rstrip("/"), *parts])

    @property
    def _of_validation(self):
        return max(1, round(self.number * self.validation))

    def key_of(self, text):
        """The key of the file that a document belongs to, which depends on its text only."""
        digest = _digest(text)
        share = int.from_bytes(digest[:8], "little") / 2**64
        place = int.from_bytes(digest[8:], "little")
        return ("validation", place % self._of_validation) if share < self.validation else ("train", place % self.number)

    def missing(self):
        """The keys of the files that do not exist yet."""
        import tensorflow as tf

        there = set(tf.io.gfile.listdir(self.folder)) if tf.io.gfile.isdir(self.folder) else set()
        return [key for key in self.all_keys() if self.name(key) not in there]

    def write(self, key, texts):
        """Writes one file from all its documents, and its statistics.

        Args:
          key: of the file.
          texts: iterable of str in any order; duplicates are dropped.

        Returns:
          The key.
        """
        import tensorflow as tf

        from bert.corpus.records import serialize

        texts = list(texts)
        total, texts = len(texts), {_digest(text): text for text in texts}
        records = []
        for batch in _batches(sorted(texts.items())):
            records += self._records(dict(batch))
        records.sort(key=lambda record: record.key)
        tokens = np.concatenate([record.tokens for record in records]) if records else np.zeros(0, np.int64)
        with self._replaced(self.name(key)) as partial:
            with tf.io.TFRecordWriter(partial) as writer:
                for record in records:
                    writer.write(serialize(record))
            self._write_counts(
                key,
                documents=len(texts),
                duplicates=total - len(texts),
                text_bytes=sum(len(text.encode()) for text in texts.values()),
                examples=len(records),
                tokens=len(tokens),
                file_bytes=tf.io.gfile.stat(partial).length,
                token_counts=np.bincount(tokens, minlength=self.open_tokenizer().size),
            )
        return key

    def counts(self, key):
        """The statistics of a finished file: {name: int, and "token_counts": int64 [vocabulary]}."""
        import tensorflow as tf

        with tf.io.gfile.GFile(self.path(COUNTS, self.name(key)), "rb") as file, np.load(io.BytesIO(file.read())) as found:
            return {name: value if value.ndim else int(value) for name, value in found.items()}

    def _records(self, documents):
        from bert.corpus.records import records_of

        return records_of(documents, self.open_tokenizer(), self.max_length, self.short_share, self.seed)

    def open_tokenizer(self):
        """The bert.tokenizer.Tokenizer of the vocabulary, made once per process.

        Raises:
          ValueError: an invalid vocabulary; names its file, and the line.
        """
        return _open_tokenizer(self.vocabulary, self.vocabulary_name, self.lower_case)

    def _write_counts(self, key, **counts):
        import tensorflow as tf

        content = io.BytesIO()
        np.savez_compressed(content, **{name: np.asarray(value) for name, value in counts.items()})
        with self._replaced(COUNTS, self.name(key)) as partial, tf.io.gfile.GFile(partial, "wb") as file:
            file.write(content.getvalue())

    def write_text(self, name, text):
        """Writes a file of the folder atomically."""
        import tensorflow as tf

        with self._replaced(name) as partial, tf.io.gfile.GFile(partial, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())

    def remove_partial(self):
        """Removes partial files of runs that were killed."""
        import tensorflow as tf

        for folder in (self.folder, self.path(COUNTS)):
            for name in tf.io.gfile.listdir(folder):
                if name.endswith(PARTIAL):
                    tf.io.gfile.remove(f"{folder}/{name}")

    @contextlib.contextmanager
    def _replaced(self, *parts):
        """Yields a path to write to; the file gets its own name when it is complete."""
        import tensorflow as tf

        gfile, path = tf.io.gfile, self.path(*parts)
        gfile.makedirs(path.rpartition("/")[0])
        partial = f"{path}.{uuid.uuid4().hex}{PARTIAL}"  # several workers may write the same file
        try:
            yield partial
            gfile.rename(partial, path, overwrite=True)
        except BaseException:
            if gfile.exists(partial):
                gfile.remove(partial)
            raise


def write_info(shards, inputs):
    """Writes INFO of a folder, without the statistics that are known when all files exist.

    Args:
      shards: a Shards.
      inputs: plain values that describe the corpora.
    """
    shards.write_text(INFO, json.dumps({"settings": shards.settings(), "inputs": inputs}, indent=2) + "\n")


def finish_info(shards, inputs):
    """Adds up the statistics of all files and completes INFO.

    Returns:
      Its content, as of `read_info`.
    """
    splits, token_counts = {}, 0
    for split in SPLITS:
        found = {shards.name(key): shards.counts(key) for key in shards.all_keys() if key[0] == split}
        of_files = [counts.pop("token_counts") for counts in found.values()]
        if split == "train":
            token_counts = sum(of_files)
        totals = {name: sum(counts[name] for counts in found.values()) for name in next(iter(found.values()))}
        files = {name: {key: counts[key] for key in ("examples", "file_bytes")} for name, counts in found.items()}
        splits[split] = {**totals, "files": files}
    info = {"settings": shards.settings(), "inputs": inputs, "splits": splits}
    text = json.dumps(info, indent=2).removesuffix("\n}")
    # One line for all tokens instead of one each.
    shards.write_text(INFO, f'{text},\n  "token_counts": {json.dumps(token_counts.tolist())}\n}}\n')
    return {**info, "token_counts": token_counts.tolist()}


def read_info(folder):
    """Reads INFO of a folder.

    Returns:
      {"settings", "inputs"}, and once all files exist also "splits", {split: counts and "files"}, and "token_counts", a list of
      int, of the training split. None if the folder has no INFO.

    Raises:
      ValueError: it is something else than bert.prepare writes.
    """
    import tensorflow as tf

    path = f"{str(folder).rstrip('/')}/{INFO}"
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path, "rb") as file:
        content = file.read()
    try:
        info = parse_json(content, path, keys=INFO_SHAPE)
        if "splits" in info:
            check_keys(info, path, SPLITS_SHAPE)
            for split in SPLITS:
                for name, counts in info["splits"][split]["files"].items():
                    check_keys({"file": counts}, f"{path}, {name}", {"file.examples": int, "file.file_bytes": int})
    except ValueError as error:
        raise ValueError(f"{error}; it is not what bert.prepare wrote") from error
    return info


def prepared_vocabulary(folder):
    """Path of the vocabulary that the data in a folder were made with, "" if the folder has no data."""
    info = read_info(folder) if folder else None
    return f"{str(folder).rstrip('/')}/{info['settings']['vocabulary_name']}" if info else ""


def _digest(text):
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _batches(documents):
    """Lists of (name, text) of about TOKENIZE_CHARS characters each."""
    ends = itertools.accumulate(len(text) for _, text in documents)
    groups = itertools.groupby(zip(ends, documents, strict=True), key=lambda pair: pair[0] // TOKENIZE_CHARS)
    return [[document for _, document in group] for _, group in groups]


@functools.lru_cache(maxsize=2)
def _open_tokenizer(vocabulary, name, lower_case):
    """From bytes, because a worker may run on another machine."""
    from bert.tokenizer import open_tokenizer

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / name
        path.write_bytes(vocabulary)
        try:
            return open_tokenizer(path, lower_case)
        except ValueError as error:
            raise ValueError(str(error).replace(str(path), name)) from error
