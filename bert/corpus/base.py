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
    """Files of one kind, and the two functions that turn them into documents, which any number of workers can apply in parallel.

    Attributes:
      name: as the user gave it.
      pieces: the inputs of `read`, each a path or a tuple that begins with a path.
      read: function of a piece that returns an iterator of raw documents, str.
      text_of: function of a raw document that returns its text, "" if it has none; the slower half of the work.
    """

    name: str
    pieces: tuple
    read: Callable
    text_of: Callable

    def facts(self):
        """Plain values that identify the files by name and size, wherever they are."""
        import tensorflow as tf

        paths = sorted({piece if isinstance(piece, str) else piece[0] for piece in self.pieces})
        files = sorted((pathlib.PurePath(path).name, tf.io.gfile.stat(path).length) for path in paths)
        name = self.name if self.name.startswith("tfds:") else pathlib.PurePath(self.name).name
        digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()
        return dict(name=name, files=len(files), bytes=sum(size for _, size in files), sha256_of_names_and_sizes=digest)

    def documents(self):
        """Yields the text of every document; none is empty or longer than MAX_DOCUMENT_CHARS.

        Raises:
          CorpusError: a file that cannot be read or has another format.
        """
        for piece in self.pieces:
            for raw in self.read(piece):
                yield from self.texts(raw)

    def texts(self, raw):
        """The documents of a raw document: none if it has no text, several if it is longer than MAX_DOCUMENT_CHARS."""
        text = self.text_of(raw).strip()
        return divide(text, MAX_DOCUMENT_CHARS) if text else []


def divide(text, longest):
    """Splits a text into parts of at most `longest` characters: at the end of a line, else between words, else anywhere.

    Returns:
      List of str without white space at either end, none of them empty.
    """
    parts = []
    while len(text) > longest:
        end = max(text.rfind("\n", 1, longest), 0) or max(text.rfind(" ", 1, longest), 0) or longest
        parts.append(text[:end].rstrip())
        text = text[end:].lstrip()
    return [part for part in [*parts, text] if part]
