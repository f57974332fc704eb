"""A corpus: its files, how they are read, and how long texts are split into documents."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable

MAX_DOCUMENT_CHARS = 1_000_000  # a longer document is split


class CorpusError(ValueError):
    """A file that cannot be read or does not have the format that its name says; the message names the file."""


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Files of one kind, and two functions that workers of any number can apply to them.

    Attributes:
      name: as it was asked for.
      pieces: what `read` takes, one after the other: a path, or a tuple that begins with one.
      read: function of a piece to an iterator of raw documents, str.
      text_of: function of a raw document to its text, "" where there is none; the slower half of the work.
    """

    name: str
    pieces: tuple
    read: Callable
    text_of: Callable

    def facts(self):
        """What is read, as plain values: the same ones wherever the files are, and others for other files."""
        import tensorflow as tf

        paths = sorted({piece if isinstance(piece, str) else piece[0] for piece in self.pieces})
        files = sorted((pathlib.PurePath(path).name, tf.io.gfile.stat(path).length) for path in paths)
        name = self.name if self.name.startswith("tfds:") else pathlib.PurePath(self.name).name
        digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()
        return dict(name=name, files=len(files), bytes=sum(size for _, size in files), sha256_of_names_and_sizes=digest)

    def documents(self):
        """Iterator of the text of every document; none is empty or longer than MAX_DOCUMENT_CHARS.

        Raises:
          CorpusError: a file that cannot be read or is not what its name says.
        """
        for piece in self.pieces:
            for raw in self.read(piece):
                yield from self.texts(raw)

    def texts(self, raw):
        """The documents that a raw one gives: none, or several where it is longer than MAX_DOCUMENT_CHARS."""
        text = self.text_of(raw).strip()
        return divide(text, MAX_DOCUMENT_CHARS) if text else []


def divide(text, longest):
    """Parts of a text of at most `longest` characters, divided where lines end, else between words, else anywhere.

    Returns:
      List of str without white space at either end, none of them empty.
    """
    parts = []
    while len(text) > longest:
        end = max(text.rfind("\n", 1, longest), 0) or max(text.rfind(" ", 1, longest), 0) or longest
        parts.append(text[:end].rstrip())
        text = text[end:].lstrip()
    return [part for part in [*parts, text] if part]
