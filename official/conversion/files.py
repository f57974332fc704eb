"""What a file is, where its name or its first bytes tell it; folders and JSON files from elsewhere."""

import importlib

import numpy as np

from official.files.checked_json import decoded, limited_bytes

LFS = b"version https://git-lfs"
# What a file begins with that is not what its name says.
BEGINNINGS = {
    LFS: "it is the pointer of Git LFS in place of the file, which `git lfs pull` fetches",
    b"\x80\x02": "it is a pickle",
    b"\x80\x03": "it is a pickle",
    b"\x80\x04": "it is a pickle",
    b"\x80\x05": "it is a pickle",
    b"PK\x03\x04": "it is a zip archive, as PyTorch's `torch.save` writes",
    b"\x89HDF": "it is an HDF5 file",
    b"\x1f\x8b": "it is compressed by gzip",
    b"\x93NUMPY": "it is a single array of NumPy",
    b"<!DOCTYPE": "it is a web page",
    b"<html": "it is a web page",
}
# Files that hold weights in forms that are not read, by the end of their name.
REFUSED = {
    **dict.fromkeys(
        (".bin", ".pt", ".pth", ".ckpt", ".pkl"), "files of PyTorch are pickles, which can run code when they are read"
    ),
    ".msgpack": "weights of Flax in this form are not read",
    ".gguf": "weights in this form are not read",
}
INSTEAD = "save the model with `save_pretrained(folder)` of Hugging Face's transformers, which writes model.safetensors"


def refused(path):
    """Why a file is not read, by the end of its name; "" for the others."""
    reason = REFUSED.get(path.suffix.lower(), "")
    return f"{path.name}: {reason}; {INSTEAD}" if reason else ""


def unreadable(path, error):
    """A ValueError that names a file that cannot be read: what it is, if its first bytes tell it, or what the reader said.

    The first bytes are looked at only after a reader failed, because a proper file may begin with any of these too.

    Args:
      path: a pathlib.Path.
      error: an exception, or what is wrong in words.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(32)
    except OSError as unread:
        return ValueError(f"{path} cannot be read: {unread.strerror or unread}")
    found = "it is empty" if not beginning else next((BEGINNINGS[key] for key in BEGINNINGS if beginning.startswith(key)), "")
    if found.endswith(("pickle", "writes")):
        found += f"; {INSTEAD}"
    return ValueError(f"{path} cannot be read: {found or error}")


def read_json(path, kind=dict):
    """What a JSON file holds.

    Args:
      path: a pathlib.Path.
      kind: dict or list, what it must be.

    Raises:
      ValueError: names the file.
    """
    try:
        text = limited_bytes(path)
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        content = decoded(text)
    except ValueError as error:
        raise unreadable(path, error) from error
    if not isinstance(content, kind):
        raise ValueError(f"{path} cannot be read: it must hold a JSON {'object' if kind is dict else 'array'}")
    return content


def from_bfloat16(halves):
    """float32 of the same values as an array of uint16: bfloat16 is the upper half of the bits of float32. NumPy lacks it."""
    return (halves.astype(np.uint32) << 16).view(np.float32)


def import_package(name, extra, what):
    """Imports a package that only some users need.

    Args:
      name: of the package.
      extra: of pyproject.toml that has it.
      what: it is needed for, for the message.

    Raises:
      ValueError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"{what} need {name}, which is not installed: pip install '.[{extra}]' in the checkout") from error
