"""Model repositories to load from: folders, http(s) servers and gs:// buckets that hold what official.publish wrote."""

import abc
import contextlib
import http.client
import os
import pathlib
import urllib.error
import urllib.request

from official.repository.index import INDEX, LARGEST, read_index

SETTING = "WIDENET_HUB"
SECONDS = 60  # that a server may be silent
CHUNK = 1 << 20  # bytes that are read at once
ALLOWED = "folders, http:// or https:// addresses and gs:// buckets, with commas between them"


def repositories():
    """The list of Repository that the environment variable WIDENET_HUB names, in its order.

    Raises:
      ValueError: where it names something else.
    """
    bases = [base.strip() for base in os.environ.get(SETTING, "").split(",")]
    return [_repository(base) for base in bases if base]


def _repository(base):
    scheme, is_address, _ = base.partition("://")
    if not is_address:
        return Folder(base)
    if scheme in ("http", "https"):
        return Server(base)
    if scheme == "gs":
        return Bucket(base)
    raise ValueError(f"{SETTING} is not allowed to name {base!r}: it takes {ALLOWED}")


class Repository(abc.ABC):
    """A place that models are read from.

    Attributes:
      base: a string, the address that messages and the cache know it by.
    """

    base: str

    def entries(self):
        """The official.repository.index.Entry of all its models.

        Raises:
          OSError: where it cannot be read, or has no index.
          ValueError: where its index cannot be understood.
        """
        where = f"{self.base}/{INDEX}"
        page = bytearray()
        for chunk in self.read(INDEX)[1]:
            page += chunk
            if len(page) > LARGEST:
                raise ValueError(f"{where} cannot be understood: it has more than {LARGEST:,} bytes")
        return read_index(page.decode(errors="replace"), where)

    def read(self, path, start=0):
        """Reads a file.

        Args:
          path: in the repository.
          start: the byte to begin at.

        Returns:
          (first, chunks): the byte that is begun at, `start` or where the place cannot do that 0; and an iterator of bytes.

        Raises:
          OSError: where there is no such file or it cannot be read, at once or from the iterator.
        """
        try:
            file, first = self._open(path, start)
        except self._errors() as error:
            raise OSError(f"{self.base}/{path} cannot be read: {error}") from error
        return first, self._chunks(file, path)

    def _chunks(self, file, path):
        with contextlib.closing(file):
            try:
                while chunk := file.read(CHUNK):
                    yield chunk
            except self._errors() as error:
                raise OSError(f"{self.base}/{path} cannot be read on: {error}") from error

    @abc.abstractmethod
    def _open(self, path, start):
        """(file, the byte that it is read from on), or raises one of _errors."""

    def _errors(self):
        return (OSError,)


class Folder(Repository):
    """A folder of this machine."""

    def __init__(self, base):
        self.base = str(pathlib.Path(base).expanduser().absolute())

    def _open(self, path, start):
        file = open(os.path.join(self.base, path), "rb")  # noqa: SIM115
        file.seek(start)
        return file, start


class Server(Repository):
    """A server of static files."""

    def __init__(self, base):
        self.base = base.rstrip("/")

    def _open(self, path, start):
        request = urllib.request.Request(f"{self.base}/{path}", headers={"Range": f"bytes={start}-"} if start else {})
        try:
            answer = urllib.request.urlopen(request, timeout=SECONDS)
        except urllib.error.HTTPError as error:
            error.close()
            if start and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return self._open(path, 0)
            raise
        begins = answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        return answer, start if answer.status == http.HTTPStatus.PARTIAL_CONTENT and begins else 0

    def _errors(self):
        return (OSError, http.client.HTTPException)


class Bucket(Repository):
    """What tf.io.gfile reads, such as a bucket of Google Cloud Storage."""

    def __init__(self, base):
        self.base = base.rstrip("/")

    def _open(self, path, start):
        import tensorflow as tf  # here, so that other places need not wait for it

        file = tf.io.gfile.GFile(f"{self.base}/{path}", "rb")
        file.seek(start)
        return file, start

    def _errors(self):
        from tensorflow.errors import OpError

        return (OSError, OpError)
