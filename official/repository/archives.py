"""Archives of published models: a tar.gz whose root is the SavedModel, written the same every time and unpacked with distrust."""

import contextlib
import gzip
import hashlib
import pathlib
import shutil
import tarfile
import zlib

SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")  # either makes a folder a SavedModel
MOST_FILES = 10_000
MOST_BYTES = 64 << 30  # of a model, whatever is said of it
DEEPEST = 20  # folders
CHUNK = 1 << 13  # bytes; nothing larger is read of an archive at once, its headers included
# What gzip and tarfile make of a file that is damaged, or was made to confuse them.
DAMAGED = (gzip.BadGzipFile, zlib.error, tarfile.TarError, EOFError, ValueError, OverflowError, LookupError, RecursionError)


def is_saved_model(folder):
    """Whether a pathlib.Path is the folder of a SavedModel."""
    return any((folder / name).is_file() for name in SAVED_MODEL_FILES)


def pack(folder, path):
    """Writes the archive of a SavedModel. Its bytes follow from the names and contents of the files alone.

    Args:
      folder: a pathlib.Path.
      path: a pathlib.Path of a file to write.

    Returns:
      The sum of the sizes of the files in it, in bytes.

    Raises:
      ValueError: where the folder is no SavedModel, or holds what `unpack` refuses.
    """
    if not is_saved_model(folder):
        raise ValueError(f"{folder} is no SavedModel: it holds no {SAVED_MODEL_FILES[0]}")
    members = sorted(folder.rglob("*"))
    total = 0
    with (
        path.open("wb") as file,
        gzip.GzipFile("", "wb", 6, file, mtime=0) as zipped,
        tarfile.TarFile(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for member in members:
            if member.is_symlink() or not (member.is_file() or member.is_dir()):
                raise ValueError(f"{member} is no file and no folder, but a link or a device: it cannot be published")
            entry = tarfile.TarInfo(member.relative_to(folder).as_posix())
            if member.is_dir():
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(entry)
                continue
            with member.open("rb") as content:
                entry.size = member.stat().st_size
                archive.addfile(entry, content)
            total += entry.size
    if total > MOST_BYTES or len(members) > MOST_FILES:
        raise ValueError(f"{folder} has {len(members):,} files of {total:,} bytes; {MOST_FILES:,} and {MOST_BYTES:,} are allowed")
    return total


def unpack(path, folder, size, what):
    """Unpacks an archive of files and folders into a new folder; of one that is refused nothing stays.

    Args:
      path: a pathlib.Path of a tar.gz.
      folder: a pathlib.Path, made.
      size: how many bytes its files must have in all; no more are ever written.
      what: what the archive is called in messages.

    Raises:
      ValueError: an archive that is damaged, is larger or smaller than it should be, has no SavedModel at its root, or holds
        links, devices, two members of one name or a name that leads out of its folder.
      OSError: where it cannot be written.
    """
    if size > MOST_BYTES:
        raise ValueError(f"{what} is refused: {size:,} bytes unpacked, and {MOST_BYTES:,} are allowed")
    folder.mkdir()
    with contextlib.ExitStack() as unless_done:
        unless_done.callback(shutil.rmtree, folder)
        try:
            with path.open("rb") as file, gzip.GzipFile(fileobj=file) as unzipped:
                written = _unpack(tarfile.TarFile(fileobj=_SmallReads(unzipped)), folder, size)
        except _Refused as error:
            raise ValueError(f"{what} is refused: {error}") from error
        except DAMAGED as error:
            raise ValueError(f"{what} is refused: it is no tar.gz, or a damaged one: {error}") from error
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


def _unpack(archive, folder, size):
    """Unpacks an open tarfile.TarFile and returns how many bytes it wrote; raises _Refused."""
    written = 0
    for number, member in enumerate(archive):
        name = pathlib.PurePosixPath(member.name)
        if number == MOST_FILES:
            raise _Refused(f"it has more than {MOST_FILES:,} files")
        if name.is_absolute() or ".." in name.parts or "\0" in member.name or len(name.parts) > DEEPEST:
            raise _Refused(f"{member.name!r} leads out of its folder, or too deep into it")
        if not (member.isreg() or member.isdir()) or member.issparse() or member.size < 0:
            raise _Refused(f"{member.name!r} is no file and no folder, but a link, a device or the like")
        if member.isreg() and written + member.size > size:
            raise _Refused(f"it has more than {size:,} bytes unpacked, which were stated")
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
    """A file that refuses to be read in large pieces: tarfile reads the headers of an archive whole, whatever size they claim."""

    def __init__(self, file):
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size):
        if not 0 <= size <= CHUNK:
            raise _Refused(f"a header of {size:,} bytes")
        return self._file.read(size)
