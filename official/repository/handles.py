"""Handles: what published models are called, publisher/.../name/version, as on TF Hub."""

import re
from typing import NamedTuple

# File systems that do not tell upper case from lower hold them all, and no part is taken for a version or one of its files.
PART = "[a-z][a-z0-9_-]*"
NAME = re.compile(rf"{PART}(/{PART})+")
VERSION = re.compile("[1-9][0-9]{0,8}")
LONGEST = 180  # characters, so that the name of a file can hold one

ALLOWED = (
    "a handle is publisher/.../name/version: at least two names of lower-case letters, digits, _ and -, each beginning with a "
    f"letter, and a whole number from 1 on; at most {LONGEST} characters"
)


class Handle(NamedTuple):
    """A published model.

    Attributes:
      name: publisher/.../name.
      version: an int, from 1 on.
    """

    name: str
    version: int

    def __str__(self):
        return f"{self.name}/{self.version}"


def is_handle(text):
    """Whether a string is a handle; no local path of the same look is looked for."""
    name, _, version = text.rpartition("/")
    return len(text) <= LONGEST and bool(NAME.fullmatch(name)) and bool(VERSION.fullmatch(version))


def parse_handle(text, setting="handle"):
    """The Handle that a string is.

    Args:
      setting: what the caller's user calls it, for messages.

    Raises:
      ValueError: another string, saying what is allowed.
    """
    if not is_handle(text):
        raise ValueError(f"{setting}={text!r} is not allowed: {ALLOWED}")
    name, _, version = text.rpartition("/")
    return Handle(name, int(version))


def parse_name(text, setting="handle"):
    """(name, version) of a handle whose version may be left out, and is None then.

    Raises:
      ValueError: another string, saying what is allowed.
    """
    if NAME.fullmatch(text) and len(text) <= LONGEST - len("/999999999"):
        return text, None
    return parse_handle(text, setting)
