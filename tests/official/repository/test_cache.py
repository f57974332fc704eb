"""Downloads of published models: checked, once, complete or not at all, with failing servers and killed processes too."""

import contextlib
import functools
import http.server
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import time

import pytest

from official.publish import publish, read_repository
from official.repository.archives import sha256_of
from official.repository.cache import cache_folder, cached
from official.repository.index import index_text
from official.repository.locations import Bucket, Folder, Server, repositories
from official.repository.lookup import find_published
from tests.official.kills import found_after_kills
from tests.official.model_repository import HANDLE, make_model, make_repository, static_server
from tests.official.published import check_fetched, make_old
from tests.official.repository.test_archives import member, write_archive
from tests.official.tiny import ROOT, environment


@pytest.fixture
def repository(tmp_path):
    return make_repository(tmp_path / "repository")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of the test's own."""
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("WIDENET_HUB", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def hub(monkeypatch):
    """Function that sets WIDENET_HUB."""
    return lambda *bases: monkeypatch.setenv("WIDENET_HUB", ",".join(map(str, bases)))


class Handler(http.server.SimpleHTTPRequestHandler):
    """Python's, with byte ranges where `ranges` says so, that sends at most `limit` bytes of an archive and then hangs up."""

    ranges, limit = True, None

    def __init__(self, *arguments, asked, **more):
        self.asked = asked
        super().__init__(*arguments, **more)

    def do_GET(self):
        given = self.headers.get("Range")
        self.asked.append((self.path, given))
        file = pathlib.Path(self.translate_path(self.path))
        if not file.is_file():
            self.send_error(404)
            return
        content = file.read_bytes()
        start = int(re.fullmatch(r"bytes=(\d+)-", given).group(1)) if given and self.ranges else 0
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        is_archive = self.path.endswith("/1")
        end = start + self.limit if is_archive and self.limit else None
        self.wfile.write(content[start:end])

    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def serving(folder, **attributes):
    """(address, list of (path, Range header) that it was asked, its class) of such a server, in a thread."""
    asked = []
    kind = type("Handler", (Handler,), attributes)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(kind, asked=asked, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked, kind
        finally:
            server.shutdown()


def check_cache(cache, repository):
    """One model, and nothing else."""
    (place,) = cache.iterdir()
    check_fetched(place, repository.with_name(f"{repository.name}-model"))


@pytest.mark.parametrize("kind", ["folder", "relative folder", "server", "server/"])
def test_fetched(repository, cache, hub, monkeypatch, kind):
    """From a folder, and from Python's own static file server."""
    monkeypatch.chdir(repository.parent)
    bases = {"folder": repository, "relative folder": repository.name}
    with contextlib.ExitStack() as stack:
        base = bases.get(kind) or kind.replace("server", stack.enter_context(static_server(repository)))
        hub(base)
        folder = find_published(HANDLE)
    assert folder.is_relative_to(cache)
    check_cache(cache, repository)


def test_what_tensorflow_reads(repository, cache):
    """gs:// goes through tf.io.gfile; here it reads a folder in place of a bucket."""
    bucket = Bucket(str(repository))
    (entry,) = bucket.entries()
    assert entry == read_repository(repository)[0]
    archive = (repository / HANDLE).read_bytes()
    for start in (0, 1000):
        first, chunks = bucket.read(HANDLE, start)
        assert (first, b"".join(chunks)) == (start, archive[start:])
    with pytest.raises(OSError, match=re.escape(f"{repository}/nothing cannot be read")):
        bucket.read("nothing")


def test_fetched_through_tensorflow(repository, cache, hub, monkeypatch):
    """From handle to cache, with such a bucket."""
    monkeypatch.setattr("official.repository.locations.Folder", Bucket)
    hub(repository)
    find_published(HANDLE)
    check_cache(cache, repository)


def test_fetched_once(repository, cache, hub):
    """Afterwards only the index is read."""
    with serving(repository) as (address, asked, _):
        hub(address)
        paths = [find_published(HANDLE) for _ in range(3)]
    assert len(set(paths)) == 1
    assert [path for path, _ in asked] == ["/index.json", f"/{HANDLE}", "/index.json", "/index.json"]


@pytest.mark.parametrize("kind", ["folder", "server"])
def test_repository_of_version_0_1(repository, cache, hub, kind):
    """Whose index is inside index.html."""
    make_old(repository)
    with serving(repository) as (address, asked, _):
        hub({"folder": repository, "server": address}[kind])
        find_published(HANDLE)
    check_cache(cache, repository)
    assert kind == "folder" or [path for path, _ in asked] == ["/index.json", "/index.html", f"/{HANDLE}"]


def test_index_that_a_server_fails_to_send(repository, cache, hub):
    """The page holds no index then: the error is that of index.json."""
    (repository / "index.json").rename(repository / "elsewhere.json")
    with serving(repository) as (address, *_):
        hub(address)
        with pytest.raises(OSError, match=f"{address}/index.json cannot be read"):
            find_published(HANDLE)


def test_of_another_repository(repository, tmp_path, cache, hub):
    """The same handle elsewhere is another model; the first repository that has it is used."""
    other = make_repository(tmp_path / "other", seed=1)
    hub(tmp_path / "repository", other)
    first = find_published(HANDLE)
    hub(other, tmp_path / "repository")
    second = find_published(HANDLE)
    assert (first / "saved_model.pb").read_bytes() == (tmp_path / "repository-model" / "saved_model.pb").read_bytes()
    assert (second / "saved_model.pb").read_bytes() == (tmp_path / "other-model" / "saved_model.pb").read_bytes()


def test_made_anew(repository, cache, hub):
    """A repository that was deleted and filled again has other models under the same handles, which differ in SHA-256."""
    hub(repository)
    before = find_published(HANDLE)
    shutil.rmtree(repository)
    publish(make_model(repository.with_name("model"), seed=1), repository, HANDLE)
    after = find_published(HANDLE)
    assert before != after
    assert (after / "saved_model.pb").read_bytes() == (repository.with_name("model") / "saved_model.pb").read_bytes()


def test_unknown(repository, tmp_path, hub):
    """The message says which repositories were searched, and what they have."""
    other = make_repository(tmp_path / "other", "you/text/x/3")
    for _ in range(2):
        publish(tmp_path / "other-model", other, "you/text/y")
    hub(repository, other)
    with pytest.raises(ValueError) as error:
        find_published("me/vision/smal/1", setting="init")
    assert str(error.value) == (
        "init='me/vision/smal/1' is not found: it is neither the path of a model here nor a published model; of the repositories "
        f"that WIDENET_HUB names, {repository} has me/vision/small/1; {other} has you/text/x/3, you/text/y/2, you/text/y/1"
    )


def test_unknown_among_many(tmp_path, hub):
    """The most similar are named, and the number of the others."""
    model = make_model(tmp_path / "model", size=1000)
    (tmp_path / "repository").mkdir()
    entry = publish(model, tmp_path / "repository", "me/b16/1")
    entries = [entry._replace(handle=f"me/{letter}16/{version}") for letter in "bcde" for version in range(1, 6)]
    (tmp_path / "repository" / "index.json").write_text(index_text(entries))
    hub(tmp_path / "repository")
    with pytest.raises(ValueError, match=r"has me/b16/\d, .* and 10 more$"):
        find_published("me/b16/7")


@pytest.mark.parametrize(
    "setting, said",
    [
        ("", "since the environment variable WIDENET_HUB names no model repository"),
        (" , ", "since the environment variable WIDENET_HUB names no model repository"),
        (
            "ftp://models",
            "WIDENET_HUB='ftp://models' is not allowed: it must be folders, http:// or https:// addresses and gs://",
        ),
    ],
)
def test_setting(hub, setting, said):
    hub(setting)
    with pytest.raises(ValueError, match=re.escape(said)):
        find_published(HANDLE)


def test_places(hub):
    """In order, separated by commas, since addresses have colons."""
    hub(" https://models/x/", "gs://bucket/models", "here", "", "http://localhost:8000")
    found = repositories()
    assert [type(place) for place in found] == [Server, Bucket, Folder, Server]
    bases = ["https://models/x", "gs://bucket/models", str(pathlib.Path("here").absolute()), "http://localhost:8000"]
    assert [place.base for place in found] == bases


def test_cache_setting(monkeypatch):
    """TensorFlow Hub's variable, which may name a bucket there but not here."""
    monkeypatch.setenv("TFHUB_CACHE_DIR", "~/models")
    assert cache_folder() == pathlib.Path.home() / "models"
    monkeypatch.delenv("TFHUB_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_folder() == pathlib.Path("/caches/widenet/models")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == pathlib.Path.home() / ".cache" / "widenet" / "models"
    monkeypatch.setenv("TFHUB_CACHE_DIR", "gs://bucket")
    with pytest.raises(ValueError, match="TFHUB_CACHE_DIR='gs://bucket' is not allowed: it must be a local folder"):
        cache_folder()


@pytest.mark.parametrize("base", ["folder", "server without index", "no server"])
def test_repository_that_cannot_be_read(repository, tmp_path, hub, base):
    """Later ones are not searched: the handle may name a model of this one."""
    (tmp_path / "empty").mkdir()
    with serving(tmp_path / "empty") as (address, *_):
        bases = {"folder": str(tmp_path / "nothing"), "server without index": address, "no server": "http://127.0.0.1:9"}
        hub(bases[base], repository)
        with pytest.raises(OSError) as error:
            find_published(HANDLE)
    said = f"handle={HANDLE!r} cannot be looked for: {bases[base]}/index.json cannot be read: "
    assert str(error.value).startswith(said)


def test_another_site(tmp_path, hub):
    (tmp_path / "index.html").write_text("<html>Welcome</html>")
    hub(tmp_path)
    with pytest.raises(OSError, match=f"cannot be looked for: {tmp_path}/index.json cannot be read"):
        find_published(HANDLE)


def test_endless_index(repository, hub, monkeypatch):
    """It is read up to a limit."""
    monkeypatch.setattr("official.repository.locations.MAX_INDEX_BYTES", 100)
    hub(repository)
    with pytest.raises(ValueError, match=f"{repository}/index.json is not a valid index: it has more than 100 bytes"):
        find_published(HANDLE)


class Trickle(http.server.BaseHTTPRequestHandler):
    """Sends a byte of the headers, or of the content, every 20 milliseconds, as long as it lasts."""

    in_headers = False

    def do_GET(self):
        self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: " if self.in_headers else b"HTTP/1.0 200 OK\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(500):
                self.wfile.write(b" ")
                time.sleep(0.02)

    def log_message(self, *arguments):
        pass


class Elsewhere(Trickle):
    """Redirects, with a reason that would clear a terminal."""

    place = "file:///etc/passwd"

    def do_GET(self):
        self.send_response(302, "\x1b[2Jmoved")
        self.send_header("Location", self.place)
        self.end_headers()


@contextlib.contextmanager
def answering(handler, **attributes):
    """The address of a server with such answers, in a thread."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), attributes)) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("in_headers", [False, True])
@pytest.mark.parametrize("limit", ["WINDOW", "LONGEST"])
def test_a_byte_now_and_then(hub, monkeypatch, in_headers, limit):
    """It would hold the download, and its lock, as long as the server likes: each wait is short."""
    monkeypatch.setattr(f"official.repository.locations.{limit}", 0.1)
    said = "the server sent [0-9]+ bytes in 0 seconds" if limit == "WINDOW" else "it takes more than .* hours"
    with answering(Trickle, in_headers=in_headers) as address:
        hub(address)
        with pytest.raises(OSError, match=f"{HANDLE}' cannot be looked for: {address}/index.json cannot be read.*: .*{said}"):
            find_published(HANDLE)


def test_a_pause_of_the_program(repository, hub, monkeypatch):
    """Only waiting for the server counts."""
    monkeypatch.setattr("official.repository.locations.WINDOW", 0.2)
    with serving(repository) as (address, *_):
        _, chunks = Server(address).read(HANDLE)
        first = next(chunks)
        time.sleep(0.3)
        assert first + b"".join(chunks) == (repository / HANDLE).read_bytes()


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/index.json", "data:,{}"])
def test_redirected_elsewhere(hub, place):
    """Only to http and https; and nothing that the server says steers the terminal."""
    with answering(Elsewhere, place=place) as address:
        hub(address)
        with pytest.raises(OSError, match="cannot be read: .*(redirected to|is not allowed)") as refused:
            find_published(HANDLE)
    assert str(refused.value).isprintable()
    assert place.partition(":")[0] in str(refused.value)


def test_redirected(repository, cache, hub):
    """To another server, by a relative or an absolute address."""
    with serving(repository) as (address, *_), answering(Elsewhere, place=f"{address}/index.json") as elsewhere:
        assert Server(elsewhere).entries() == Server(address).entries()


@pytest.mark.parametrize("place", ["the cache", "a model in it"])
def test_of_another_user(repository, cache, hub, monkeypatch, place):
    """Who could have put any model there."""
    hub(repository)
    folder = pathlib.Path(find_published(HANDLE)).parent
    owned = cache if place == "the cache" else folder
    if os.geteuid() == 0:
        os.chown(owned, 12345, -1)
    else:
        monkeypatch.setattr("os.geteuid", lambda: 12345)
    with pytest.raises(ValueError, match=" is refused: it belongs to another user, who could exchange the models in it; TF"):
        find_published(HANDLE)
    if place == "a model in it":
        assert cached(str(repository), HANDLE) is None


def test_server_gone(repository, cache, hub, caplog):
    """A model in the cache is used, with a warning; another one is refused."""
    with serving(repository) as (address, *_):
        hub(address)
        found = find_published(HANDLE)
    assert find_published(HANDLE) == found
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{address}/index.json cannot be read: ")
    assert record.getMessage().endswith(f"using the copy of {HANDLE} in the cache")
    assert cached(address, f"{HANDLE}2") is None
    for content in ("", "[" * 100_000, "[]", '{"repository": 3}'):
        (found.parent / "source.json").write_text(content)
        assert cached(address, HANDLE) is None
    assert cached("http://elsewhere", HANDLE) is None


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("position", [0, 1000, -1])
def test_tampered(repository, cache, hub, position):
    """One bit: refused with both sums, and nothing is kept. Once repaired, it is fetched."""
    flip(repository / HANDLE, position)
    with serving(repository) as (address, *_):
        hub(address)
        with pytest.raises(ValueError) as error:
            find_published(HANDLE)
        said = str(error.value)
        expected = read_repository(repository)[0].sha256
        assert said.startswith(f"{HANDLE} of {address} is refused: the SHA-256 of its archive is ")
        assert said.endswith(f", and must be {expected}")
        assert list(cache.iterdir()) == []
        flip(repository / HANDLE, position)
        find_published(HANDLE)
    check_cache(cache, repository)


def test_longer(repository, cache, hub):
    """It is not read to its end."""
    with (repository / HANDLE).open("ab") as archive:
        archive.write(bytes(10_000_000))
    hub(repository)
    size = read_repository(repository)[0].bytes
    with pytest.raises(ValueError, match=f"is refused: its archive has more than the {size:,} bytes that were published"):
        find_published(HANDLE)
    assert list(cache.iterdir()) == []


def test_cut_off_and_resumed(repository, cache, hub):
    """A connection that ends early is an error; the next download asks for the rest only."""
    size = read_repository(repository)[0].bytes
    with serving(repository, limit=100_000) as (address, asked, kind):
        hub(address)
        for have in (100_000, 200_000):
            with pytest.raises(OSError, match=f"its archive ended after {have:,} of {size:,} bytes; the next download resumes"):
                find_published(HANDLE)
        kind.limit = None
        find_published(HANDLE)
        ranges = [given for path, given in asked if path == f"/{HANDLE}"]
    assert ranges == [None, "bytes=100000-", "bytes=200000-"]
    check_cache(cache, repository)


def kept_part(repository, cache, content):
    """Puts a part of an archive into the cache, as a killed process leaves it."""
    find_published(HANDLE)
    (place,) = cache.iterdir()
    shutil.rmtree(place)
    (cache / f".{place.name}.tar.gz").write_bytes(content)
    (cache / f".{place.name}.partial" / "model").mkdir(parents=True)
    (cache / f".{place.name}.partial" / "model" / "saved_model.pb").write_text("half")


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize(
    "have", [*(pytest.param(have, marks=pytest.mark.further) for have in (0, 1, "all but one")), 1000, "all"]
)
def test_resumed(repository, cache, hub, ranges, have):
    """The part of a killed process is kept if the server supports ranges, and downloaded again if not."""
    archive = (repository / HANDLE).read_bytes()
    have = {"all but one": len(archive) - 1, "all": len(archive)}.get(have, have)
    with serving(repository, ranges=ranges) as (address, asked, _):
        hub(address)
        kept_part(repository, cache, archive[:have])
        del asked[:]
        find_published(HANDLE)
    check_cache(cache, repository)
    of_archive = [given for path, given in asked if path == f"/{HANDLE}"]
    assert of_archive == ([] if have == len(archive) else [f"bytes={have}-" if have else None])


def test_wrong_part(repository, cache, hub):
    """The SHA-256 shows it, and it is removed."""
    with serving(repository) as (address, *_):
        hub(address)
        kept_part(repository, cache, b"something else")
        with pytest.raises(ValueError, match="is refused: the SHA-256 of its archive is "):
            find_published(HANDLE)
        assert list(cache.iterdir()) == []
        find_published(HANDLE)
    check_cache(cache, repository)


def test_archive_that_is_shorter_than_published(repository, cache, hub):
    """The server has nothing at the first missing byte (416): the archive is downloaded again, and is too short again."""
    with (repository / HANDLE).open("r+b") as archive:
        archive.truncate(50_000)
    with serving(repository) as (address, asked, _):
        hub(address)
        for _ in range(2):
            with pytest.raises(OSError, match="its archive ended after 50,000 of "):
                find_published(HANDLE)
    assert [given for path, given in asked if path == f"/{HANDLE}"] == [None, "bytes=50000-", None]


def test_no_archive(repository, hub):
    (repository / HANDLE).unlink()
    hub(repository)
    with pytest.raises(OSError, match=f"{HANDLE} cannot be read: .*No such file"):
        find_published(HANDLE)


@pytest.mark.parametrize(
    "hostile",
    [
        ("../../../outside", b"x"),
        member("link", type=tarfile.SYMTYPE, linkname="/etc"),
        member("disk", type=tarfile.BLKTYPE),
        ("variables/more", bytes(1 << 20)),
    ],
    ids=["outside", "link", "device", "larger than stated"],
)
def test_hostile_repository(repository, tmp_path, cache, hub, hostile):
    """Its index has the right SHA-256 of the hostile archive."""
    (entry,) = read_repository(repository)
    write_archive(repository / HANDLE, ("saved_model.pb", b"x"), hostile)
    entry = entry._replace(sha256=sha256_of(repository / HANDLE), bytes=(repository / HANDLE).stat().st_size, unpacked_bytes=1000)
    (repository / "index.json").write_text(index_text([entry]))
    hub(repository)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=f"^{HANDLE} of {repository} is refused: "):
        find_published(HANDLE)
    cache.rmdir()  # empty
    assert sorted(tmp_path.rglob("*")) == before


def test_four_processes_at_once(repository, cache, hub):
    """Of four processes, one downloads."""
    code = f"from official.repository.lookup import find_published; print(find_published({HANDLE!r}))"
    with serving(repository) as (address, asked, _):
        more = {"WIDENET_HUB": address, "TFHUB_CACHE_DIR": str(cache)}
        started = [
            subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment(**more), stdout=subprocess.PIPE, text=True)
            for _ in range(4)
        ]
        said = {process.communicate(timeout=100)[0] for process in started}
    assert [path for path, _ in asked].count(f"/{HANDLE}") == 1
    (place,) = cache.iterdir()
    assert said == {f"{place / 'model'}\n"}
    check_cache(cache, repository)


@pytest.mark.parametrize("case", ["fetching", "downloading"])
def test_killed_at_every_step(case):
    """Before each operation on files: the model is not in the cache, and from some step on it is; the next call completes it."""
    found = found_after_kills("at_every_step", f"tests.official.published:{case}")
    assert found == sorted(found, reverse=True)
    assert set(found) == {"old", "new"}


@pytest.mark.parametrize("case", ["fetching", "downloading"])
def test_killed_at_random(case):
    """By SIGKILL, twenty times."""
    found = found_after_kills("at_random", f"tests.official.published:{case}")
    assert len(found) == 21
    assert "old" in found[:-1]
    assert found[-1] == "new"
