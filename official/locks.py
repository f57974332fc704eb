"""Locks between the processes of a machine."""

import contextlib
import fcntl
import os


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
