"""Publishes a SavedModel: python -m official.publish --model=runs/a/saved_model --repository=models --handle=me/vision/digits

Adds it to a model repository, a folder that any static file server can host, as publisher/.../name/version. Without a version it
becomes the next one; one that is there is never replaced. The archive lies under the handle itself, as TF Hub's clients ask for
it; beside it are a model card (.html and .md) and its pictures, and in the repository's root an index.html of all models.
"""

import argparse
import datetime
import pathlib
import re
import shutil
import sys

from official.files.atomic import fsync, fsync_all, locked
from official.files.workdir import METRICS_JSON
from official.repository.archives import pack, sha256_of
from official.repository.card import find_facts, headline_metrics, html_card, markdown_card
from official.repository.handles import Handle, is_handle, parse_handle, parse_name
from official.repository.index import INDEX, Entry, index_page, read_index

STAGING = ".publishing"  # a folder in the repository: what is being published, and whose handle its file HANDLE tells
HANDLE = "handle"
LOCK = ".lock"
PARTS = ("", ".html", ".md", ".plots")  # what a version has: its archive, cards and pictures


def publish(model, repository, handle, licence=None, plots=()):
    """Adds a SavedModel to a repository, in one step: whoever is killed leaves it published or not, and the others as they were.

    The step is the new index. What lies under its handle before that is taken away by who publishes next.

    Args:
      model: path of the SavedModel's folder.
      repository: path of a folder; made if it does not exist. Others may publish to it at the same time.
      handle: "publisher/.../name/version", or without the version for the next one.
      licence: one line, such as "Apache-2.0"; None for what the model itself says, if anything.
      plots: paths of PNG or JPEG pictures for the card, besides those that are found beside the model.

    Returns:
      The official.repository.index.Entry.

    Raises:
      ValueError: a handle that is not allowed or is there already, or a model that cannot be published.
      OSError: where the repository cannot be written.
    """
    model, repository = pathlib.Path(model), pathlib.Path(repository)
    name, version = parse_name(handle, "--handle")
    if licence is not None and (not licence.strip() or not licence.isprintable()):
        raise ValueError(f"--licence={licence!r} is not allowed: it must be one line of text")
    facts = find_facts(model, plots)
    repository.mkdir(parents=True, exist_ok=True)
    with locked(repository / LOCK):
        entries = read_repository(repository)
        _take_away(repository, entries)
        handle = _free_handle(repository, entries, name, version)
        staging = repository / STAGING
        staging.mkdir()
        (staging / HANDLE).write_text(str(handle))
        try:
            entry = _stage(staging, model, handle, licence, facts)
            (staging / INDEX).write_text(index_page([*entries, entry]), encoding="utf-8")
            _place(staging, repository, handle)
        finally:
            _take_away(repository, read_repository(repository))
    return entry


def read_repository(repository):
    """The list of Entry of what a repository's folder has, a pathlib.Path; empty for a folder without an index.

    Raises:
      ValueError: an index that is none of ours.
    """
    index = repository / INDEX
    return read_index(index.read_text(encoding="utf-8", errors="replace"), str(index)) if index.exists() else []


def _free_handle(repository, entries, name, version):
    """The Handle to publish as; raises ValueError where it is taken."""
    published = [parse_handle(entry.handle) for entry in entries]
    versions = sorted(handle.version for handle in published if handle.name == name)
    handle = parse_handle(f"{name}/{version or max(versions, default=0) + 1}")
    if handle.version in versions:
        raise ValueError(
            f"{handle} is there already, and what is published stays as it is; published versions of {name}: "
            f"{', '.join(map(str, versions))}; publish the next one with --handle={name}"
        )
    for part in _files(repository, handle):
        if part.exists():
            raise ValueError(f"{part} is in the way: {repository / INDEX} does not list it")
    return handle


def _files(root, handle):
    """Paths of what a version has in a repository's folder."""
    return [root / f"{handle}{ending}" for ending in PARTS]


def _stage(staging, model, handle, licence, facts):
    """Writes what a version has into a folder of its own and returns its Entry."""
    archive, page, markdown, plots = _files(staging, Handle("new", handle.version))
    archive.parent.mkdir()
    unpacked_bytes = pack(model, archive)
    entry = Entry(
        handle=str(handle),
        sha256=sha256_of(archive),
        bytes=archive.stat().st_size,
        unpacked_bytes=unpacked_bytes,
        licence=licence or facts.model.get("licence"),
        published=datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        model=facts.model.get("model") or facts.recipe.get("name") or "",
        parameters=facts.model.get("parameters"),
        metrics=headline_metrics(facts),
    )
    pictures = {}
    if facts.pictures:
        plots.mkdir()
    for picture in facts.pictures:
        copy = plots / _picture_name(picture, pictures)
        shutil.copyfile(picture, copy)
        pictures[copy.stem] = f"{plots.name}/{copy.name}"
    page.write_text(html_card(entry, facts, pictures), encoding="utf-8")
    markdown.write_text(markdown_card(entry, facts, pictures), encoding="utf-8")
    return entry


def _picture_name(path, taken):
    """A name for a picture's copy that needs no quoting and whose stem is not taken; that of a split's is led by the split."""
    of_split = f"{path.parent.name}-" if (path.parent / METRICS_JSON).exists() else ""
    stem = re.sub("[^A-Za-z0-9_-]", "_", of_split + path.stem)
    numbered = (stem if number == 1 else f"{stem}-{number}" for number in range(1, len(taken) + 2))
    return next(name for name in numbered if name not in taken) + path.suffix.lower()


def _place(staging, repository, handle):
    """Moves what is staged to where it belongs, the index last."""
    folder = repository / handle.name
    folder.mkdir(parents=True, exist_ok=True)
    for part, place in zip(_files(staging, Handle("new", handle.version)), _files(repository, handle), strict=True):
        if part.exists():
            fsync_all(part)
            part.rename(place)
    fsync(folder)
    fsync(staging / INDEX)
    (staging / INDEX).rename(repository / INDEX)
    fsync(repository)


def _take_away(repository, entries):
    """Removes what a publication left behind: of one that was killed, or failed, also what was placed and is in no index."""
    staging = repository / STAGING
    handle = staging / HANDLE
    if handle.exists() and is_handle(handle.read_text()):
        unfinished = parse_handle(handle.read_text())
        if str(unfinished) not in {entry.handle for entry in entries}:
            for part in _files(repository, unfinished):
                if part.is_dir():
                    shutil.rmtree(part)
                else:
                    part.unlink(missing_ok=True)
            folder = repository / unfinished.name
            while folder != repository and folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
                folder = folder.parent
    if staging.exists():
        # The handle last: a kill in between must not hide what was placed.
        for path in sorted(staging.iterdir(), key=lambda path: path == handle):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        staging.rmdir()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a SavedModel")
    parser.add_argument("--repository", required=True, help="folder of a model repository, made where there is none")
    parser.add_argument("--handle", required=True, help="publisher/.../name/version, or without the version for the next one")
    parser.add_argument("--licence", help="one line, such as Apache-2.0 (default: what the model says)")
    parser.add_argument("--plots", nargs="+", default=(), help="PNG or JPEG pictures for the card")
    given = parser.parse_args()
    try:
        entry = publish(given.model, given.repository, given.handle, given.licence, given.plots)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"Published {entry.handle}, {entry.bytes:,} bytes of SHA-256 {entry.sha256}")
    print(f"  {pathlib.Path(given.repository) / entry.handle}.html: its model card")
    print(f"  {pathlib.Path(given.repository) / INDEX}: all models")


if __name__ == "__main__":
    main()
