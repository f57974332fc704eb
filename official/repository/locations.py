"""Where model repositories are read from: folders, http(s) servers and gs:// buckets with what official.publish wrote."""

import abc
import contextlib
import http.client
import io
import os
import pathlib
import time
import urllib.error
import urllib.request

from official.files.layout import printable
from official.repository.index import MAX_INDEX_BYTES, read_entries

SETTING = "WIDENET_HUB"
TIMEOUT = 60  # seconds to wait for a server's next bytes
WINDOW = 60  # seconds of waiting over which LEAST_SPEED is measured
LEAST_SPEED = 1000  # bytes a second
LONGEST = 24 * 3600  # seconds of waiting for one file; the next download resumes it
CHUNK = 1 << 20  # bytes read at once
ALLOWED = "folders, http:// or https:// addresses and gs:// buckets, with commas between them"


def repositories():
    """The list of Repository that the environment variable WIDENET_HUB names, in its order.

    Raises:
      ValueError: an address that is not supported.
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
    raise ValueError(f"{SETTING}={base!r} is not allowed: it must be {ALLOWED}")


class Repository(abc.ABC):
    """A model repository.

    Attributes:
      base: its path or address, a string.
    """

    base: str

    def entries(self):
        """The official.repository.index.Entry of all its models.

        Raises:
          OSError: it has no index, or it cannot be read.
          ValueError: its index is not valid.
        """
        return read_entries(self._read_text, self.base)

    def _read_text(self, path):
        """The text of an index file; raises OSError if it cannot be read, and ValueError if it is larger than an index may be."""
        content = bytearray()
        for chunk in self.read(path)[1]:
            content += chunk
            if len(content) > MAX_INDEX_BYTES:
                raise ValueError(f"{self.base}/{path} is not a valid index: it has more than {MAX_INDEX_BYTES:,} bytes")
        return content.decode(errors="replace")

    def read(self, path, start=0):
        """Reads a file.

        Args:
          path: in the repository.
          start: the byte to begin at.

        Returns:
          (first, chunks): the byte that the content begins at, `start`, or 0 where a server cannot begin in the middle; and an
          iterator of bytes.

        Raises:
          OSError: the file does not exist or cannot be read. The iterator may raise it too.
        """
        try:
            file, first = self._open(path, start)
        except self._errors() as error:
            raise OSError(f"{self.base}/{path} cannot be read: {printable(str(error))}") from error
        return first, self._chunks(file, path)

    def _chunks(self, file, path):
        with contextlib.closing(file):
            try:
                while chunk := file.read(CHUNK):
                    yield chunk
            except self._errors() as error:
                raise OSError(f"{self.base}/{path} cannot be read to its end: {printable(str(error))}") from error

    @abc.abstractmethod
    def _open(self, path, start):
        """Opens a file: (file object, the byte that its content begins at). Raises one of _errors()."""

    def _errors(self):
        """The exceptions that reading may raise."""
        return (OSError,)


class Folder(Repository):
    """A local folder."""

    def __init__(self, base):
        self.base = str(pathlib.Path(base).expanduser().absolute())

    def _open(self, path, start):
        file = open(os.path.join(self.base, path), "rb")  # noqa: SIM115
        file.seek(start)
        return file, start


class _Watched(io.RawIOBase):
    """The bytes of a connection, which must not come too slowly.

    A time limit for each read alone would let a server hold a download, and its lock, for ever by a byte now and then. Only the
    time of waiting counts, and not that of the program.
    """

    def __init__(self, raw):
        self._raw = raw
        self._waited, self._begun, self._bytes = 0.0, 0.0, 0  # seconds; those at the begin of this window; bytes in it

    def readable(self):
        return True

    def readinto(self, buffer):
        before = time.monotonic()
        size = self._raw.readinto(buffer)
        self._waited += time.monotonic() - before
        self._bytes += size or 0
        in_window = self._waited - self._begun
        if self._waited > LONGEST:
            raise TimeoutError(f"it takes more than {LONGEST / 3600:g} hours")
        if in_window > WINDOW:
            if self._bytes < LEAST_SPEED * in_window:
                raise TimeoutError(f"the server sent {self._bytes:,} bytes in {in_window:.0f} seconds")
            self._begun, self._bytes = self._waited, 0
        return size

    def close(self):
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """Whose headers and content are watched."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.fp = io.BufferedReader(_Watched(self.fp.detach()))


class _Connection(http.client.HTTPConnection):
    response_class = _Response


class _SecureConnection(http.client.HTTPSConnection):
    response_class = _Response


class _Handler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler, urllib.request.HTTPRedirectHandler):
    """http and https by these connections, and redirects to nothing else: urllib follows those to ftp, too."""

    def http_open(self, request):
        return self.do_open(_Connection, request)

    def https_open(self, request):
        return self.do_open(_SecureConnection, request)

    def redirect_request(self, request, file, code, message, headers, newurl):
        file.close()  # whose content nobody needs, and urllib would read it to its end
        if not newurl.lower().startswith(("http://", "https://")):
            raise urllib.error.URLError(f"it is redirected to {newurl!r}, which is not an http:// or https:// address")
        return super().redirect_request(request, file, code, message, headers, newurl)


class Server(Repository):
    """A server of static files."""

    def __init__(self, base):
        self.base = base.rstrip("/")

    def _open(self, path, start):
        request = urllib.request.Request(f"{self.base}/{path}", headers={"Range": f"bytes={start}-"} if start else {})
        try:
            answer = urllib.request.build_opener(_Handler).open(request, timeout=TIMEOUT)
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
    """An address that tf.io.gfile reads, such as a bucket of Google Cloud Storage."""

    def __init__(self, base):
        self.base = base.rstrip("/")

    def _open(self, path, start):
        import tensorflow as tf  # here, since other repositories do not need it and it takes seconds

        file = tf.io.gfile.GFile(f"{self.base}/{path}", "rb")
        file.seek(start)
        return file, start

    def _errors(self):
        from tensorflow.errors import OpError

        return (OSError, OpError)
