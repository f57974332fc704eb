"""Protects the user's files: a command replaces only what it, or an earlier run of it, has written."""

import os

from official.files.saved_model_layout import EXTRA, FACTS_FILE

# What TensorFlow writes into a SavedModel, and our folder beside it.
SAVED_MODEL_FILES = {"saved_model.pb", "fingerprint.pb", "keras_metadata.pb", "variables", "assets", EXTRA}


def check_output(path, is_own, allowed, setting="--output"):
    """Refuses an output that would replace something else.

    Args:
      path: a pathlib.Path; a new path and an empty folder are always allowed.
      is_own: whether what is at the path may be replaced.
      allowed: what may be at the path, for the message.
      setting: what the user calls the path, for messages.

    Raises:
      ValueError: names the path.
    """
    is_new = not os.path.lexists(path) or (path.is_dir() and not any(path.iterdir()))
    if not (is_new or is_own):
        raise ValueError(f"{setting}={printable(path)} is not allowed: it must be a new path or {allowed}")


def is_export(folder):
    """Whether a folder holds a SavedModel of this project and nothing else."""
    return (folder / FACTS_FILE).is_file() and {path.name for path in folder.iterdir()} <= SAVED_MODEL_FILES


def printable(text):
    """A path as text that any terminal and file can take: bytes that are not UTF-8 become escapes such as \\udcff."""
    return os.fspath(text).encode("utf-8", "backslashreplace").decode()
