"""What is looked at after a process that publishes or loads was killed (tests.official.kills). Imports no TensorFlow."""

import atexit
import contextlib
import json
import os

from official.publish import publish, read_repository
from official.repository.archives import pack, sha256_of
from official.repository.cache import MODEL
from official.repository.lookup import find_published
from tests.official.model_repository import HANDLE, make_model, make_repository, static_server

NEXT = HANDLE.removesuffix("/1")


def check_repository(repository):
    """The handles of a repository's folder, of which everything must be there as it was published."""
    entries = read_repository(repository)
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


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def publishing(folder):
    """The next version of a model, and a new publisher's first: "old" or "new" for each; then nothing else may lie about."""
    repository, models, picture = folder / "repository", [folder / "model-0", folder / "model-1"], folder / "plot.png"

    def begin():
        picture.write_bytes(b"a picture")
        for seed, model in enumerate(models):
            make_model(model, seed)
        publish(models[0], repository, HANDLE, plots=[picture])

    def act():
        publish(models[1], repository, NEXT, plots=[picture])

    def look():
        handles = check_repository(repository)
        assert handles in ([HANDLE], [f"{NEXT}/2", HANDLE])
        state = "old" if handles == [HANDLE] else "new"
        # Whoever looks under the handle without asking the index finds nothing, or all of it.
        unlisted = repository / NEXT / "2"
        if unlisted.exists():
            pack(models[1], folder / "archive")
            assert sha256_of(unlisted) == sha256_of(folder / "archive")
        act()  # takes away what was left
        handles = check_repository(repository)
        assert len(handles) == 3 if state == "new" else 2
        expected = [f"{handle}{ending}" for handle in handles for ending in ("", ".html", ".md", ".plots/plot.png")]
        assert files(repository) == sorted([*expected, "index.html"])
        return state

    return begin, act, look


def fetching(folder):
    """A model of a repository's folder: "old" where it is not in the cache, "new" where it is; and then it can be had."""
    return _loading(folder, str(folder / "repository"))


def downloading(folder):
    """The same, of a static file server."""
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
        (place,) = (path for path in cache.iterdir() if path.suffix != ".lock")  # an empty file, where the kill came after all
        check_fetched(place, folder / "repository-model")
        return "new" if places else "old"

    return begin, act, look


def check_fetched(place, model):
    """What the cache has of a model: all of it."""
    assert json.loads((place / "source.json").read_text())["handle"] == HANDLE
    assert sorted(path.name for path in place.iterdir()) == [MODEL, "source.json"]
    assert files(place / MODEL) == files(model)
    for path in files(model):
        assert (place / MODEL / path).read_bytes() == (model / path).read_bytes()
