"""Checkpoints as files: which ones a folder has, which of them are whole, and the newest of those.

A checkpoint is PREFIX.index and PREFIX.data-*, which TensorFlow writes, and PREFIX.sums with their sizes and SHA-256, which
`seal` writes when they are on the disk. One without PREFIX.sums is of an earlier version, or its process was killed before
that: it is whole if all of it can be read, which checks TensorFlow's own checksums.
"""

import atexit
import contextlib
import functools
import hashlib
import json
import os
import pathlib
import re
import shutil
import tempfile

import tensorflow as tf
from google.protobuf import text_encoding

from official.files.atomic import atomic_write, fsync
from official.files.checked_json import read_json

STATE = "checkpoint"  # the file of tf.train.latest_checkpoint
SUMS = ".sums"
MEMORY = "ram://"  # begins paths in a file system of TensorFlow's that is in the memory of the process
FILE = re.compile(r"((.+)-(\d+))\.(index|sums|data-\d{5}-of-\d{5})")
UNFINISHED = re.compile(r".+-\d+_temp")  # a folder of TensorFlow's, in which it gathers what it writes


def seal(prefix):
    """Makes a checkpoint whole that has just been written: its files are on the disk, and their checksums beside them.

    One that has checksums stays as it is.
    """
    prefix = pathlib.Path(prefix)
    if prefix.with_name(prefix.name + SUMS).exists():
        return
    sums = {}
    for file in files_of(prefix):
        if not file.name.startswith(prefix.name + SUMS):  # or what is left of one
            fsync(file)
            sums[file.name] = {"bytes": file.stat().st_size, "sha256": _sha256(file)}
    fsync(prefix.parent)
    atomic_write(prefix.with_name(prefix.name + SUMS), (json.dumps(sums, indent=2) + "\n").encode())


def move_from_memory(memory, folder):
    """Moves the files of a checkpoint from a folder in memory, a path that begins with MEMORY, into one on the disk.

    Args:
      memory: a string.
      folder: a pathlib.Path that exists.

    Raises:
      tf.errors.OpError: a file cannot be written; they are removed from memory all the same.
    """
    try:
        for name in sorted(tf.io.gfile.listdir(memory)):  # data come before the index, without which they are not a checkpoint
            tf.io.gfile.copy(f"{memory}/{name}", str(folder / name), overwrite=True)
    finally:
        tf.io.gfile.rmtree(memory)


def damage(prefix):
    """What is wrong with a checkpoint, a clause such as "step-6.index is missing"; None if it is whole.

    Args:
      prefix: its path prefix.
    """
    prefix = pathlib.Path(prefix)
    sums = _sums(prefix)
    if sums is None:
        return _unreadable(prefix)
    for name, (size, digest) in sums.items():
        file = prefix.with_name(name)
        if not file.is_file():
            return f"{name} is missing"
        found = file.stat().st_size
        if found != size:
            return f"{name} has {found:,} bytes and not {size:,}" if found else f"{name} is empty"
        if _sha256(file) != digest:
            return f"{name} has another content than was written"
    return None


def prefixes(folder, state_first=False):
    """The path prefixes of a folder's checkpoints, whole or not, from the newest to the oldest.

    Args:
      folder: a pathlib.Path; it need not exist.
      state_first: whether the one that TensorFlow's state file names counts as the newest, and only others of its name are taken
        besides. Otherwise the number decides, which for a run is the step.

    Returns:
      List of strings.
    """
    found = {}
    for name in _names(folder):
        match = FILE.fullmatch(name)
        if match and not match[4].startswith("data"):  # data alone have not become a checkpoint yet, or are none any more
            found[match[1]] = match[2], int(match[3])
    ordered = sorted(found, key=lambda name: found[name][1], reverse=True)
    named = _named_by_state(folder) if state_first else None
    if named is None:
        return [str(folder / name) for name in ordered]
    stem = re.sub(r"-\d+$", "", named.name)
    others = [str(folder / name) for name in ordered if found[name][0] == stem and folder / name != named]
    return [str(named), *others]


def newest_whole(folder, tell, state_first=False):
    """The path prefix of the newest checkpoint that is whole, a string; None if there is none.

    Args:
      folder, state_first: as of `prefixes`.
      tell: function that is called with a sentence about each newer checkpoint.
    """
    for prefix in prefixes(folder, state_first):
        wrong = damage(prefix)
        if wrong is None:
            return prefix
        tell(f"The checkpoint {prefix} is damaged and is not used: {wrong}.")
    return None


def was_saved(folder):
    """Whether a checkpoint was ever finished in a folder, a pathlib.Path, whatever has become of it."""
    return bool(prefixes(folder)) or (folder / STATE).exists()


def write_state(folder, names):
    """Tells TensorFlow which checkpoints there are, from the oldest to the newest; relative, so that the run can be moved."""
    lines = [f'model_checkpoint_path: "{names[-1]}"', *(f'all_model_checkpoint_paths: "{name}"' for name in names)]
    atomic_write(folder / STATE, "".join(f"{line}\n" for line in lines).encode())


def remove(prefix):
    """Removes a checkpoint, and what is left of one, so that at no moment it looks like a damaged one."""
    prefix = pathlib.Path(prefix)
    for file in reversed(files_of(prefix)):  # first .sums, then .index, without which there is none
        file.unlink()
    shutil.rmtree(prefix.with_name(f"{prefix.name}_temp"), ignore_errors=True)


def record(folder, name, steps, keep):
    """Tells TensorFlow's state file of the newest checkpoints of a run, and removes all others that are not after them.

    Args:
      folder: a pathlib.Path.
      name: the checkpoints are called NAME-STEP.
      steps: of those that may stay.
      keep: how many of them stay.
    """
    kept = sorted(steps)[-keep:]
    write_state(folder, [f"{name}-{step}" for step in kept])
    for file in _names(folder):
        match = FILE.fullmatch(file)
        if match and match[2] == name and int(match[3]) < kept[-1] and int(match[3]) not in kept:
            remove(folder / match[1])
        elif UNFINISHED.fullmatch(file):
            shutil.rmtree(folder / file, ignore_errors=True)


def readable(path):
    """The same path without characters that TensorFlow takes for a pattern when it reads a checkpoint.

    Args:
      path: a path or path prefix, a string.

    Returns:
      A string. Where the folder's name has such characters, it is by way of a link that lasts as long as this process, because
      variables that are made later are read later.
    """
    if not re.search(r"[*?\[\\]", os.path.abspath(path)):
        return path
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(_link(folder), name)


@functools.cache
def _link(folder):
    place = tempfile.mkdtemp(prefix="checkpoint-")
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    link = os.path.join(place, "folder")
    os.symlink(folder, link)
    return link


def files_of(prefix):
    """The files of a checkpoint, a pathlib.Path prefix, in the order in which they are written: data, index, checksums."""
    return [prefix.with_name(name) for name in sorted(_names(prefix.parent)) if name.startswith(f"{prefix.name}.")]


def _names(folder):
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return os.listdir(folder)
    return []


def _sums(prefix):
    """{file name: (size, SHA-256)}; None without such a file, or where that file itself is damaged."""
    try:
        sums = read_json(prefix.with_name(prefix.name + SUMS))
        sums = {name: (int(sums[name]["bytes"]), str(sums[name]["sha256"])) for name in sums}
    except (OSError, ValueError, TypeError, KeyError, OverflowError):  # the last one of a size that is Infinity
        return None
    names = {name for name in sums if FILE.fullmatch(name) and name.startswith(f"{prefix.name}.")}
    return sums if names == set(sums) and f"{prefix.name}.index" in names else None


def _unreadable(prefix):
    """As `damage`, of a checkpoint without checksums of ours."""
    if not prefix.with_name(f"{prefix.name}.index").exists():
        # A checkpoint of TensorFlow 1 may be one file.
        return None if prefix.is_file() else f"{prefix.name}.index is missing"
    try:
        reader = tf.train.load_checkpoint(readable(str(prefix)))
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except (tf.errors.OpError, RuntimeError, IndexError, ValueError) as error:
        return f"it cannot be read ({str(error).splitlines()[0]})"
    return None


def _named_by_state(folder):
    """The pathlib.Path prefix that the state file names, if it has files; None otherwise, as where the file is damaged."""
    try:
        content = (folder / STATE).read_bytes()
        named = re.search(rb'^model_checkpoint_path: "((?:[^"\\]|\\.)+)"', content, re.MULTILINE)
        prefix = folder / os.fsdecode(text_encoding.CUnescape(named[1].decode()))
    except (OSError, TypeError, ValueError):
        return None
    return prefix if files_of(prefix) or prefix.is_file() else None


def _sha256(file):
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while part := content.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()
