"""The local cache of published models: downloads them once, checks and unpacks them."""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil

from official.cli.status_line import StatusLine, format_bytes
from official.files.atomic import fsync_all, locked
from official.files.checked_json import read_json
from official.repository.archives import sha256_of, unpack

SETTING = "TFHUB_CACHE_DIR"  # shared with TensorFlow Hub, whose folders in it have other names
MODEL = "model"
SOURCE = "source.json"


def cache_folder():
    """The pathlib.Path of the cache: TFHUB_CACHE_DIR, or widenet/models in the user's cache folder.

    Raises:
      ValueError: TFHUB_CACHE_DIR is not a local folder.
    """
    given = os.environ.get(SETTING)
    if given and "://" in given:
        raise ValueError(f"{SETTING}={given!r} is not allowed: it must be a local folder")
    default = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "widenet" / "models"
    return pathlib.Path(given or default).expanduser().absolute()


def fetch(repository, entry):
    """The folder of a published model, downloaded if it is not in the cache.

    The folder appears whole. Other processes that want the model meanwhile wait. An interrupted download is resumed.

    Args:
      repository: an official.repository.locations.Repository.
      entry: its official.repository.index.Entry.

    Returns:
      The pathlib.Path of a SavedModel.

    Raises:
      OSError: the archive cannot be read, ends early, or cannot be written here.
      ValueError: a cache that belongs to another user; an archive with another SHA-256, or one that official.repository.archives
        refuses. Nothing of it is kept.
    """
    folder = _folder(repository.base, entry.handle, entry.sha256)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _check_owner(folder.parent)
    if folder.exists():
        _check_owner(folder)
        return folder / MODEL
    with locked(_beside(folder, "lock")):
        if not folder.exists():
            archive, unpacked = _beside(folder, "tar.gz"), _beside(folder, "partial")
            _download(repository, entry, archive)
            try:
                _unpack(repository, entry, archive, unpacked)
            finally:
                archive.unlink()
            unpacked.rename(folder)
    return folder / MODEL


def cached(base, handle):
    """Looks for a model in the cache, whatever its SHA-256.

    Args:
      base: address of the repository.
      handle: a string.

    Returns:
      The pathlib.Path of the SavedModel that was fetched last; None if there is none.

    Raises:
      ValueError: the cache belongs to another user.
    """
    _check_owner(cache_folder())
    models = []
    for file in cache_folder().glob(f"{_name(handle)}-*/{SOURCE}"):
        try:
            source = read_json(file, keys={"repository": str, "handle": str})
        except (ValueError, OSError):
            continue
        if (source["repository"], source["handle"]) == (base, handle) and _is_own(file.parent):
            models.append(file.parent / MODEL)
    return max(models, key=lambda folder: folder.stat().st_mtime, default=None)


def _check_owner(folder):
    """Raises ValueError for a folder of another user, who could put any model there. The administrator's is allowed."""
    if folder.exists() and not _is_own(folder):
        raise ValueError(
            f"{folder} is refused: it belongs to another user, who could exchange the models in it; {SETTING} may name "
            "another folder for downloaded models"
        )


def _is_own(folder):
    return folder.stat().st_uid in (os.geteuid(), 0) and folder.lstat().st_uid in (os.geteuid(), 0)


def _name(handle):
    return handle.replace("/", ".")


def _folder(base, handle, sha256):
    key = hashlib.sha256("\n".join((base, handle, sha256)).encode()).hexdigest()[:16]
    return cache_folder() / f"{_name(handle)}-{key}"


def _beside(folder, ending):
    """A hidden path beside a model's folder."""
    return folder.with_name(f".{folder.name}.{ending}")


def _download(repository, entry, archive):
    """Downloads an archive, or the rest of it, until it has the stated size.

    Raises:
      OSError: it ends early; the part that arrived is kept, to resume from.
      ValueError: it is larger.
    """
    what = f"{entry.handle} of {repository.base}"
    have = archive.stat().st_size if archive.exists() else 0
    if have >= entry.bytes:
        return
    line = StatusLine()
    have, chunks = repository.read(entry.handle, have)
    with contextlib.closing(chunks), archive.open("r+b" if have else "wb") as kept:
        kept.seek(have)
        for chunk in chunks:
            kept.write(chunk)
            have += len(chunk)
            if have > entry.bytes:
                break
            if line.is_due():
                line.show(f"Downloading {what}: {format_bytes(have)} of {format_bytes(entry.bytes)}")
    if line.is_terminal:
        line.clear()
    if have > entry.bytes:
        archive.unlink()
        raise ValueError(f"{what} is refused: its archive has more than the {entry.bytes:,} bytes that were published")
    if have < entry.bytes:
        raise OSError(f"{what}: its archive ended after {have:,} of {entry.bytes:,} bytes; the next download resumes there")


def _unpack(repository, entry, archive, unpacked):
    """Checks an archive and unpacks it into a folder, with a file that says where it came from.

    Raises:
      ValueError: it is refused; the folder does not exist then.
    """
    what = f"{entry.handle} of {repository.base}"
    shutil.rmtree(unpacked, ignore_errors=True)  # of a process that was killed
    sha256 = sha256_of(archive)
    if sha256 != entry.sha256:
        raise ValueError(f"{what} is refused: the SHA-256 of its archive is {sha256}, and must be {entry.sha256}")
    unpacked.mkdir()
    try:
        unpack(archive, unpacked / MODEL, entry.unpacked_bytes, what)
        source = {"repository": repository.base, "handle": entry.handle, "sha256": entry.sha256}
        (unpacked / SOURCE).write_text(json.dumps(source, indent=2) + "\n")
        fsync_all(unpacked)
    except BaseException:
        shutil.rmtree(unpacked)
        raise
