"""What tests of published models share: models that are quickly made, and a server of static files. Imports no TensorFlow."""

import contextlib
import pathlib
import random
import subprocess
import sys

from official.publish import publish

HANDLE = "me/vision/small/1"


def make_model(folder, seed=0, size=300_000):
    """The files of a SavedModel, which none of it is: seeded bytes."""
    numbers = random.Random(seed)
    (folder / "variables").mkdir(parents=True)
    (folder / "assets").mkdir()
    (folder / "saved_model.pb").write_bytes(numbers.randbytes(size // 10))
    (folder / "variables" / "variables.index").write_bytes(numbers.randbytes(size // 100))
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(numbers.randbytes(size))
    return folder


def make_repository(folder, handle=HANDLE, seed=0):
    """A repository of one such model, which is left beside it as FOLDER-model."""
    model = pathlib.Path(f"{folder}-model")
    if not model.exists():
        make_model(model, seed)
    publish(model, folder, handle)
    return folder


@contextlib.contextmanager
def static_server(folder):
    """The address of Python's server of static files, on a folder, in another process."""
    command = [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(folder), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            port = server.stdout.readline().split(" port ")[1].split()[0]
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()
