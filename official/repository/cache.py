"""Published models on this machine: fetched once, checked, unpacked, and found again."""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil

from official.cli.status_line import StatusLine
from official.files.atomic import fsync_all, locked
from official.repository import html as pages
from official.repository.archives import sha256_of, unpack

SETTING = "TFHUB_CACHE_DIR"  # TensorFlow Hub's own, which keeps other names in it
MODEL = "model"
SOURCE = "source.json"


def cache_folder():
    """The pathlib.Path of the cache: TFHUB_CACHE_DIR, or widenet/models in the user's folder for caches.

    Raises:
      ValueError: where the setting is no local folder.
    """
    given = os.environ.get(SETTING)
    if given and "://" in given:
        raise ValueError(f"{SETTING}={given!r} is not allowed: it must be a folder of this machine")
    default = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "widenet" / "models"
    return pathlib.Path(given or default).expanduser().absolute()


def fetch(repository, entry):
    """The folder of a published model, fetched where it is not there yet.

    The folder appears whole. Another process that wants it meanwhile waits; what one that was killed had fetched is gone on with.

    Args:
      repository: an official.repository.locations.Repository.
      entry: its official.repository.index.Entry.

    Returns:
      The pathlib.Path of a SavedModel.

    Raises:
      OSError: where it cannot be read, ends early, or cannot be written here.
      ValueError: an archive that is not the published one, or that official.repository.archives refuses; nothing of it stays.
    """
    place = _place(repository.base, entry.handle, entry.sha256)
    if place.exists():
        return place / MODEL
    place.parent.mkdir(parents=True, exist_ok=True)
    with locked(_beside(place, "lock")):
        if not place.exists():
            archive, unpacked = _beside(place, "tar.gz"), _beside(place, "partial")
            _download(repository, entry, archive)
            try:
                _unpack(repository, entry, archive, unpacked)
            finally:
                archive.unlink()
            unpacked.rename(place)
    return place / MODEL


def cached(base, handle):
    """The folder of a model that was fetched before, a pathlib.Path; None where there is none.

    Args:
      base: of the repository.
      handle: a string.
    """
    found = []
    for place in _place(base, handle, "*").parent.glob(f"{_name(handle)}-*/{SOURCE}"):
        source = json.loads(place.read_text())
        if (source["repository"], source["handle"]) == (base, handle):
            found.append(place.parent / MODEL)
    return max(found, key=lambda folder: folder.stat().st_mtime, default=None)


def _name(handle):
    return handle.replace("/", ".")


def _place(base, handle, sha256):
    key = hashlib.sha256("\n".join((base, handle, sha256)).encode()).hexdigest()[:16]
    return cache_folder() / f"{_name(handle)}-{key}"


def _beside(place, ending):
    """A path that `cached` does not look at."""
    return place.with_name(f".{place.name}.{ending}")


def _download(repository, entry, archive):
    """Fetches an archive, or the rest of one; it has the stated size then.

    Raises:
      OSError: where it ends early; what came is kept for the next time.
      ValueError: where it is larger.
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
                line.show(f"Downloading {what}: {pages.size(have)} of {pages.size(entry.bytes)}")
    if line.is_terminal:
        line.clear()
    if have > entry.bytes:
        archive.unlink()
        raise ValueError(f"{what} is refused: its archive has more than the {entry.bytes:,} bytes that were published")
    if have < entry.bytes:
        raise OSError(f"{what}: its archive ended after {have:,} of {entry.bytes:,} bytes; the next time goes on from there")


def _unpack(repository, entry, archive, unpacked):
    """Checks an archive and unpacks it into a folder, beside a note of where it is from.

    Raises:
      ValueError: where it is refused; the folder is then not there.
    """
    what = f"{entry.handle} of {repository.base}"
    shutil.rmtree(unpacked, ignore_errors=True)  # of a process that was killed
    found = sha256_of(archive)
    if found != entry.sha256:
        raise ValueError(
            f"{what} is refused: its archive is not the one that was published: its SHA-256 is {found}, and not {entry.sha256}"
        )
    unpacked.mkdir()
    try:
        unpack(archive, unpacked / MODEL, entry.unpacked_bytes, what)
        source = {"repository": repository.base, "handle": entry.handle, "sha256": entry.sha256}
        (unpacked / SOURCE).write_text(json.dumps(source, indent=2) + "\n")
        fsync_all(unpacked)
    except BaseException:
        shutil.rmtree(unpacked)
        raise
