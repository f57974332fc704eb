"""Atomic replacement of files and folders, where readers see the old or the new version and never a mix; inter-process locks."""

import contextlib
import ctypes
import errno
import fcntl
import functools
import os
import shutil
import socket

AT_FDCWD = -100  # paths are relative to the working directory, as everywhere (fcntl.h)
RENAME_EXCHANGE = 2  # linux/fs.h
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)  # of a file system without flock


def atomic_write(path, content):
    """Writes a file; if that fails, the process is killed or the power is cut, the file stays as it was or is the new one.

    Args:
      path: a pathlib.Path in an existing folder.
      content: bytes.

    Raises:
      OSError: it cannot be written; names the path.
    """
    partial = path.with_name(path.name + ".partial")
    with naming(path):
        try:
            partial.write_bytes(content)
            fsync(partial)
            partial.replace(path)
            fsync(path.parent)
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def naming(path):
    """Context manager whose OSErrors name a file, which the system does not do where a disk is full."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def atomic_replace_dir(partial, directory):
    """Renames a finished folder to `directory`, in place of the folder of that name, which is removed.

    If the process is killed, `directory` is the old or the new folder; a rest may be left under the name of `partial`, which the
    next writer must remove. On Linux the two folders trade names in one step (renameat2). Other systems and some file systems
    have to rename the old folder first, to `directory`.previous: if the process is killed then, the next call renames it back.

    Args:
      partial: a pathlib.Path of a folder, on the file system of `directory`.
      directory: a pathlib.Path of a folder, which need not exist yet.

    Raises:
      OSError: it cannot be renamed, for example because `directory` is a file; the old folder is then still there.
    """
    previous = directory.with_name(directory.name + ".previous")
    if previous.is_dir() and not directory.exists():
        previous.rename(directory)
    if not directory.is_dir():
        partial.rename(directory)
    elif _exchange(partial, directory):
        shutil.rmtree(partial)
    else:
        shutil.rmtree(previous, ignore_errors=True)
        directory.rename(previous)
        try:
            partial.rename(directory)
        except OSError:
            previous.rename(directory)
            raise
        shutil.rmtree(previous)


@contextlib.contextmanager
def atomic_dir(directory):
    """Context manager that yields a new empty folder, which at the end becomes `directory` (atomic_replace_dir).

    If the block raises, the new folder is removed and `directory` stays as it was.

    Args:
      directory: a pathlib.Path; the folder that it lies in exists.
    """
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
    partial.mkdir()
    try:
        yield partial
        atomic_replace_dir(partial, directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def fsync(path):
    """Waits until a file, or the list of names in a folder, is on the disk, where it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # of a folder, on some file systems
            raise
    finally:
        os.close(descriptor)


def fsync_all(path):
    """`fsync` of a file, or of a folder and everything in it; `path` is a pathlib.Path."""
    for part in [*path.rglob("*"), path]:
        fsync(part)


def _exchange(first, second):
    """Exchanges two names in one step; returns False where the system cannot do that.

    Raises:
      OSError: the system refuses it.
    """
    renameat2 = _renameat2()
    if renameat2 is None:
        return False
    if renameat2(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):  # the file system or the kernel lacks it
        return False
    raise OSError(code, os.strerror(code), str(first), None, str(second))


@functools.cache
def _renameat2():
    """The C library's renameat2, which Python's os module lacks; None where the C library has none either."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is not None:
        function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    return function


@contextlib.contextmanager
def locked(path):
    """Context manager for an inter-process lock. Waits for it; the system releases it if the process dies.

    Args:
      path: a pathlib.Path of a file that exists while the lock is held, and may be left by a process that was killed.
    """
    descriptor = _lock(path)
    try:
        yield
    finally:
        path.unlink()
        os.close(descriptor)


def _lock(path, how=fcntl.LOCK_EX):
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, how)
        except OSError:
            os.close(descriptor)
            raise
        # The previous holder may have removed this file, and then another process would lock a new one.
        try:
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)


@contextlib.contextmanager
def sole(path, tell):
    """Context manager for an inter-process lock that refuses to wait. The system releases it if the process dies.

    Args:
      path: a pathlib.Path of a file that exists while the lock is held, and may be left by a process that was killed. Its folder
        is made; one that did not exist and that nothing was written to is removed.
      tell: function that is called with a sentence where the file system has no locks.

    Raises:
      BlockingIOError: another process holds it; the message is who, a clause.
    """
    made = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = None
    try:
        descriptor = _lock_at_once(path, tell)
        yield
    finally:
        if descriptor is not None:
            path.unlink(missing_ok=True)
            os.close(descriptor)
        with contextlib.suppress(OSError):  # the first that is not empty
            for folder in made:
                folder.rmdir()


def _lock_at_once(path, tell):
    """The descriptor of a lock's file, which says who holds it; None where there can be no lock."""
    try:
        descriptor = _lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = path.read_text(errors="replace").strip() if path.exists() else ""
        raise BlockingIOError(holder or "another process") from None
    except OSError as error:
        if error.errno in NO_LOCKS:
            path.unlink(missing_ok=True)
            tell(f"No file can be locked in {path.parent}: nothing keeps another process from writing there.")
        elif error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):  # nobody writes there
            raise
        return None
    with contextlib.suppress(OSError):  # on a full disk the lock holds all the same
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    return descriptor
