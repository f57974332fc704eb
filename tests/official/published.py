"""Checks after a process that publishes or loads was killed (tests.official.kills). Imports no TensorFlow."""

import atexit
import contextlib
import json
import os
import re

from official.publish import publish, read_repository
from official.repository.archives import pack, sha256_of
from official.repository.cache import MODEL
from official.repository.lookup import find_published
from tests.official.model_repository import HANDLE, make_model, make_repository, static_server

NEXT = HANDLE.removesuffix("/1")


def check_repository(repository):
    """The handles of a repository's folder. All files must be as they were published, and the page lists nothing else."""
    entries = read_repository(repository)
    assert set(page_of(repository)) <= {entry.handle for entry in entries}
    for entry in entries:
        archive = repository / entry.handle
        assert sha256_of(archive) == entry.sha256
        assert archive.stat().st_size == entry.bytes
        page = archive.with_name(f"{archive.name}.html").read_text()
        assert entry.sha256 in page
        assert page.endswith("</html>\n")
        assert entry.sha256 in archive.with_name(f"{archive.name}.md").read_text()
        assert (archive.with_name(f"{archive.name}.plots") / "plot.png").read_bytes() == b"a picture"
    return [entry.handle for entry in entries]


def page_of(repository):
    """The handles that index.html links to."""
    return re.findall('<a href="([^"]+)[.]html">', (repository / "index.html").read_text())


def make_old(repository):
    """Turns a repository into one of version 0.1, whose index.html holds the index and which has no index.json."""
    data, page = (repository / "index.json").read_text(), repository / "index.html"
    script = f'<script type="application/json" id="models">{data}</script>'
    page.write_text(page.read_text().replace("</body>", f"{script}\n</body>"))
    (repository / "index.json").unlink()


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def publishing(folder, old=False):
    """The next version of a model: "old" if it is not published, "new" if it is. Afterwards no other files may be left."""
    repository, models, picture = folder / "repository", [folder / "model-0", folder / "model-1"], folder / "plot.png"

    def begin():
        picture.write_bytes(b"a picture")
        for seed, model in enumerate(models):
            make_model(model, seed)
        publish(models[0], repository, HANDLE, plots=[picture])
        if old:
            make_old(repository)

    def act():
        publish(models[1], repository, NEXT, plots=[picture])

    def look():
        handles = check_repository(repository)
        assert handles in ([HANDLE], [f"{NEXT}/2", HANDLE])
        state = "old" if handles == [HANDLE] else "new"
        # A client that asks for the archive without the index gets nothing, or all of it.
        unlisted = repository / NEXT / "2"
        if unlisted.exists():
            pack(models[1], folder / "archive")
            assert sha256_of(unlisted) == sha256_of(folder / "archive")
        act()  # removes what was left
        handles = check_repository(repository)
        assert page_of(repository) == handles
        assert len(handles) == 3 if state == "new" else 2
        expected = [f"{handle}{ending}" for handle in handles for ending in ("", ".html", ".md", ".plots/plot.png")]
        assert files(repository) == sorted([*expected, "index.html", "index.json"])
        return state

    return begin, act, look


def upgrading(folder):
    """The same, into a repository of version 0.1."""
    return publishing(folder, old=True)


def fetching(folder):
    """A model of a repository's folder: "old" if it is not in the cache, "new" if it is. Afterwards it can be loaded."""
    return _loading(folder, str(folder / "repository"))


def downloading(folder):
    """The same from a static file server."""
    server = contextlib.ExitStack()
    atexit.register(server.close)
    return _loading(folder, server.enter_context(static_server(folder / "repository")))


def _loading(folder, base):
    repository, cache = folder / "repository", folder / "cache"

    def begin():
        make_repository(repository)

    def act():
        os.environ["WIDENET_HUB"], os.environ["TFHUB_CACHE_DIR"] = base, str(cache)
        find_published(HANDLE)

    def look():
        places = [path for path in cache.glob("*") if not path.name.startswith(".")]
        for place in places:
            check_fetched(place, folder / "repository-model")
        act()
        (place,) = (
            path for path in cache.iterdir() if path.suffix != ".lock"
        )  # a kill at the very end leaves the empty lock file
        check_fetched(place, folder / "repository-model")
        return "new" if places else "old"

    return begin, act, look


def check_fetched(place, model):
    """Checks that a folder of the cache has all files of a model."""
    assert json.loads((place / "source.json").read_text())["handle"] == HANDLE
    assert sorted(path.name for path in place.iterdir()) == [MODEL, "source.json"]
    assert files(place / MODEL) == files(model)
    for path in files(model):
        assert (place / MODEL / path).read_bytes() == (model / path).read_bytes()
