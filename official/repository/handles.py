"""Handles: the names of published models, publisher/.../name/version, as on TF Hub."""

import re
from typing import NamedTuple

# Lower case only, since some file systems ignore case. A part begins with a letter, so that none looks like a version.
PART = "[a-z][a-z0-9_-]*"
NAME = re.compile(rf"{PART}(/{PART})+")
VERSION = re.compile("[1-9][0-9]{0,8}")
MAX_CHARS = 180  # the cache puts a whole handle into one file name

ALLOWED = (
    "a handle is publisher/.../name/version: at least two names of lower-case letters, digits, _ and -, each beginning with a "
    f"letter, and a whole number from 1 on; at most {MAX_CHARS} characters"
)


class Handle(NamedTuple):
    """A parsed handle.

    Attributes:
      name: publisher/.../name.
      version: an int, from 1 on.
    """

    name: str
    version: int

    def __str__(self):
        return f"{self.name}/{self.version}"


def is_handle(text):
    """Whether a string has the form of a handle. A relative path may have it too: callers check the disk."""
    name, _, version = text.rpartition("/")
    return len(text) <= MAX_CHARS and bool(NAME.fullmatch(name)) and bool(VERSION.fullmatch(version))


def parse_handle(text, setting="handle"):
    """Parses a handle.

    Args:
      text: a string.
      setting: name of the user's setting, for messages.

    Returns:
      A Handle.

    Raises:
      ValueError: not a handle.
    """
    if not is_handle(text):
        raise ValueError(f"{setting}={text!r} is not allowed: {ALLOWED}")
    name, _, version = text.rpartition("/")
    return Handle(name, int(version))


def parse_name(text, setting="handle"):
    """Parses a handle whose version may be missing.

    Returns:
      (name, version); the version is None where it is missing.

    Raises:
      ValueError: neither a handle nor the name of one.
    """
    if NAME.fullmatch(text) and len(text) <= MAX_CHARS - len("/999999999"):
        return text, None
    return parse_handle(text, setting)
