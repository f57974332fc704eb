"""Atomic replacement of files and folders, and locks between processes: readers see the old or the new version, never a mix."""

import contextlib
import ctypes
import errno
import fcntl
import functools
import os
import shutil

AT_FDCWD = -100  # paths are relative to the working directory, as everywhere (fcntl.h)
RENAME_EXCHANGE = 2  # linux/fs.h


def atomic_write(path, content):
    """Writes a file, or leaves what was there.

    Args:
      path: a pathlib.Path; its folder is there.
      content: bytes.
    """
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    partial.replace(path)


def atomic_replace_dir(partial, directory):
    """Makes a finished folder the one called `directory`; what was there before is removed.

    A process that is killed here leaves the old folder or the new one under the name, and at most something under the name of
    `partial`, to be removed by who writes there next. On Linux the two trade names in one step (renameat2). A system or file
    system that cannot do that has to move the old folder away first, and between the two there is none: it is then called
    `directory`.previous and comes back with the next call.

    Args:
      partial: a pathlib.Path of a folder, on the file system of `directory`.
      directory: a pathlib.Path of a folder, or of nothing yet.

    Raises:
      OSError: where that is not possible, as with a file in the place of the folder; the old one is then still there.
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


def fsync(path):
    """Waits until a file, or the names in a folder, are on the disk: a power cut then leaves no name without its file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_all(path):
    """The same for a file, or for a folder, a pathlib.Path, and all that is in it."""
    for part in [*path.rglob("*"), path]:
        fsync(part)


def _exchange(first, second):
    """Lets two names trade what they stand for, in one step; False where the system has no such thing.

    Raises:
      OSError: where it has, but refuses.
    """
    renameat2 = _renameat2()
    if renameat2 is None:
        return False
    if renameat2(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):  # of a file system, or a kernel, that lacks it
        return False
    raise OSError(code, os.strerror(code), str(first), None, str(second))


@functools.cache
def _renameat2():
    """The C library's function, which Python's os module leaves out; None where there is none."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is not None:
        function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    return function


@contextlib.contextmanager
def locked(path):
    """Holds a lock; waits for it where another process holds it. One that is killed lets go of it.

    Args:
      path: a pathlib.Path of a file, which is there while the lock is held and at most after a kill.
    """
    descriptor = _lock(path)
    try:
        yield
    finally:
        path.unlink()
        os.close(descriptor)


def _lock(path):
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Who held it before has removed the file: a lock on that would be seen by nobody who comes now.
        try:
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)
