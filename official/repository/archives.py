"""Packs and unpacks published SavedModels. Packing is deterministic; unpacking treats the archive as untrusted input.

An archive is a tar.gz whose root is the SavedModel.
"""

import contextlib
import gzip
import hashlib
import pathlib
import shutil
import tarfile
import zlib

SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")  # a folder with either is a SavedModel
MAX_FILES = 10_000
MAX_BYTES = 64 << 30  # of all files of a model
MAX_DEPTH = 20  # folders inside each other
CHUNK = 1 << 13  # bytes; the largest piece of an archive that is read at once, headers included
# What gzip and tarfile raise for a damaged or malicious file.
DAMAGED = (gzip.BadGzipFile, zlib.error, tarfile.TarError, EOFError, ValueError, OverflowError, LookupError, RecursionError)


def is_saved_model(folder):
    """Whether a pathlib.Path is the folder of a SavedModel."""
    return any((folder / name).is_file() for name in SAVED_MODEL_FILES)


def pack(folder, path):
    """Writes the archive of a SavedModel. Its bytes depend on the names and contents of the files only.

    Args:
      folder: a pathlib.Path.
      path: a pathlib.Path of a file to write.

    Returns:
      The sum of the sizes of the files in it, in bytes.

    Raises:
      ValueError: not a SavedModel, or one with links, devices or more than MAX_FILES files or MAX_BYTES.
    """
    if not is_saved_model(folder):
        raise ValueError(f"{folder} is not a SavedModel: it has no {SAVED_MODEL_FILES[0]}")
    members = sorted(folder.rglob("*"))
    total = 0
    with (
        path.open("wb") as file,
        gzip.GzipFile("", "wb", 6, file, mtime=0) as zipped,
        tarfile.TarFile(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for member in members:
            if member.is_symlink() or not (member.is_file() or member.is_dir()):
                raise ValueError(f"{member} cannot be published: it must be a file or a folder, not a link or a device")
            entry = tarfile.TarInfo(member.relative_to(folder).as_posix())
            if member.is_dir():
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(entry)
                continue
            with member.open("rb") as content:
                entry.size = member.stat().st_size
                archive.addfile(entry, content)
            total += entry.size
    if total > MAX_BYTES or len(members) > MAX_FILES:
        raise ValueError(f"{folder} has {len(members):,} files of {total:,} bytes; {MAX_FILES:,} and {MAX_BYTES:,} are allowed")
    return total


def unpack(path, folder, size, what):
    """Unpacks an archive into a new folder. Nothing is left of a refused archive.

    Args:
      path: a pathlib.Path of a tar.gz.
      folder: a pathlib.Path; created.
      size: the stated sum of the sizes of its files, in bytes; no more is ever written.
      what: name of the archive, for messages.

    Raises:
      ValueError: an archive that is damaged, has another size, has no SavedModel at its root, or holds links, devices, two
        members of one name or a name that leads out of the folder.
      OSError: the folder cannot be written.
    """
    if size > MAX_BYTES:
        raise ValueError(f"{what} is refused: {size:,} bytes unpacked, and {MAX_BYTES:,} are allowed")
    folder.mkdir()
    with contextlib.ExitStack() as unless_done:
        unless_done.callback(shutil.rmtree, folder)
        try:
            with path.open("rb") as file, gzip.GzipFile(fileobj=file) as unzipped:
                written = _extract(tarfile.TarFile(fileobj=_SmallReads(unzipped)), folder, size)
        except _Refused as error:
            raise ValueError(f"{what} is refused: {error}") from error
        except DAMAGED as error:
            raise ValueError(f"{what} is refused: it is not a tar.gz, or is damaged: {error}") from error
        if written != size:
            raise ValueError(f"{what} is refused: it has {written:,} bytes unpacked, and {size:,} were stated")
        if not is_saved_model(folder):
            raise ValueError(f"{what} is refused: it has no {SAVED_MODEL_FILES[0]} at its root")
        unless_done.pop_all()


def sha256_of(path):
    """The SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


class _Refused(Exception):
    """Why an archive is not unpacked."""


def _extract(archive, folder, size):
    """Extracts an open tarfile.TarFile.

    tarfile's own extraction filter "data" does not serve here: it allows links, overwrites a file that occurs twice, and limits
    neither the number of files nor their size.

    Returns:
      How many bytes were written.

    Raises:
      _Refused: a member that is not allowed.
    """
    written = 0
    for number, member in enumerate(archive):
        name = pathlib.PurePosixPath(member.name)
        if number == MAX_FILES:
            raise _Refused(f"it has more than {MAX_FILES:,} files")
        if name.is_absolute() or ".." in name.parts or "\0" in member.name or len(name.parts) > MAX_DEPTH:
            raise _Refused(f"{member.name!r} leads out of its folder, or too deep into it")
        if not (member.isreg() or member.isdir()) or member.issparse() or member.size < 0:
            raise _Refused(f"{member.name!r} is not a regular file or a folder")
        if member.isreg() and written + member.size > size:
            raise _Refused(f"it has more than the stated {size:,} bytes unpacked")
        try:
            if member.isdir():
                (folder / name).mkdir(parents=True, exist_ok=True)
                continue
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            file = (folder / name).open("xb")
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise _Refused(f"{member.name!r} is in it twice") from error
        with file:
            shutil.copyfileobj(archive.extractfile(member), file, CHUNK)
        written += member.size
    return written


class _SmallReads:
    """A file object that refuses large reads: tarfile reads a member's header at once, whatever size it claims to have."""

    def __init__(self, file):
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size):
        if not 0 <= size <= CHUNK:
            raise _Refused(f"a header of {size:,} bytes")
        return self._file.read(size)
