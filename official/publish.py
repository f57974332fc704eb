"""Publishes a SavedModel: python -m official.publish --model=runs/a/saved_model --repository=models --handle=me/vision/digits

Adds the model to a model repository, a folder that any static file server can host, as publisher/.../name/version. Without a
version it becomes the next one. A published version is never replaced.

The repository then has the archive under the handle itself, as TF Hub's clients expect it, a model card (.html and .md) and its
pictures beside it, and at its root an index of all models: index.json for programs, index.html for people.
"""

import argparse
import datetime
import pathlib
import re
import shutil
import sys

from official.files.atomic import fsync, fsync_all, locked
from official.files.layout import METRICS_JSON, printable
from official.repository.archives import pack, sha256_of
from official.repository.card import find_facts, headline_metrics, html_card, markdown_card
from official.repository.handles import Handle, is_handle, parse_handle, parse_name
from official.repository.html import index_page
from official.repository.index import INDEX, PAGE, Entry, index_text
from official.repository.locations import Folder

STAGING = ".publishing"  # a folder in the repository with the files that are about to be published
HANDLE = "handle"  # a file in it with the handle that they are published as
LOCK = ".lock"
ENDINGS = ("", ".html", ".md", ".plots")  # of the paths of a version: its archive, cards and pictures


def publish(model, repository, handle, licence=None, plots=()):
    """Adds a SavedModel to a repository.

    Replacing index.json is the one step that publishes it. A process that is killed before leaves the repository as it was; the
    next publication removes its files. After a kill between index.json and index.html the next one writes the page.

    Args:
      model: path of the SavedModel's folder.
      repository: path of a folder; created if needed. Several processes may publish to it at the same time.
      handle: "publisher/.../name/version", or without the version for the next one.
      licence: one line, such as "Apache-2.0"; None for the one in the model's own facts, if any.
      plots: paths of PNG or JPEG pictures for the card, besides those that are found beside the model.

    Returns:
      The official.repository.index.Entry.

    Raises:
      ValueError: a handle that is not allowed or already published, or a model that cannot be published.
      OSError: the repository cannot be written.
    """
    model, repository = pathlib.Path(model), pathlib.Path(repository)
    name, version = parse_name(handle, "--handle")
    if licence is not None and (not licence.strip() or not licence.isprintable()):
        raise ValueError(f"--licence={licence!r} is not allowed: it must be one line of text")
    facts = find_facts(model, plots)
    repository.mkdir(parents=True, exist_ok=True)
    with locked(repository / LOCK):
        entries = read_repository(repository)
        _settle(repository, entries)
        handle = _free_handle(repository, entries, name, version)
        staging = repository / STAGING
        staging.mkdir()
        (staging / HANDLE).write_text(str(handle))
        try:
            entry = _stage(staging, model, handle, licence, facts)
            (staging / INDEX).write_text(index_text([*entries, entry]), encoding="utf-8")
            (staging / PAGE).write_text(index_page([*entries, entry]), encoding="utf-8")
            _place(staging, repository, handle)
        finally:
            _settle(repository, read_repository(repository))
    return entry


def read_repository(repository):
    """The list of Entry in a repository's folder, a pathlib.Path; empty for a folder without an index.

    Raises:
      ValueError: an index that official.publish did not write.
    """
    if not (repository / INDEX).exists() and not (repository / PAGE).exists():
        return []
    try:
        return Folder(repository).entries()
    except OSError as error:
        if (repository / INDEX).exists():
            raise
        raise ValueError(f"{repository / PAGE} is not the page of a model repository: choose another folder") from error


def _free_handle(repository, entries, name, version):
    """The Handle to publish as; raises ValueError if it is taken."""
    published = [parse_handle(entry.handle) for entry in entries]
    versions = sorted(handle.version for handle in published if handle.name == name)
    handle = parse_handle(f"{name}/{version or max(versions, default=0) + 1}")
    if handle.version in versions:
        raise ValueError(
            f"{handle} is already published, and published versions never change; published versions of {name}: "
            f"{', '.join(map(str, versions))}; publish the next one with --handle={name}"
        )
    for path in _paths(repository, handle):
        if path.exists():
            raise ValueError(f"{path} exists, but {repository / INDEX} does not list it: move it away")
    return handle


def _paths(root, handle):
    """The paths of a version in a repository's folder."""
    return [root / f"{handle}{ending}" for ending in ENDINGS]


def _stage(staging, model, handle, licence, facts):
    """Writes the files of a version into the staging folder and returns its Entry."""
    archive, page, markdown, plots = _paths(staging, Handle("new", handle.version))
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
    """A file name for a picture: no characters that need quoting, a stem that is not taken, and the split that it shows."""
    split = f"{path.parent.name}-" if (path.parent / METRICS_JSON).exists() else ""
    stem = re.sub("[^A-Za-z0-9_-]", "_", split + path.stem)
    numbered = (stem if number == 1 else f"{stem}-{number}" for number in range(1, len(taken) + 2))
    return next(name for name in numbered if name not in taken) + path.suffix.lower()


def _place(staging, repository, handle):
    """Moves the staged files of a version to their places, then index.json."""
    folder = repository / handle.name
    folder.mkdir(parents=True, exist_ok=True)
    for source, path in zip(_paths(staging, Handle("new", handle.version)), _paths(repository, handle), strict=True):
        if source.exists():
            fsync_all(source)
            source.rename(path)
    fsync(folder)
    fsync_all(staging)
    (staging / INDEX).rename(repository / INDEX)
    fsync(repository)


def _settle(repository, entries):
    """Completes the publication in the staging folder if the index lists it; removes its files if not.

    Args:
      repository: a pathlib.Path.
      entries: the list of Entry in its index.
    """
    staging = repository / STAGING
    handle = staging / HANDLE
    if handle.exists() and is_handle(handle.read_text()):
        staged = parse_handle(handle.read_text())
        if str(staged) not in {entry.handle for entry in entries}:
            _remove(repository, staged)
        elif (staging / PAGE).exists():
            (staging / PAGE).rename(repository / PAGE)
    if staging.exists():
        # The handle last: if a kill comes in between, the next publication still knows what to remove.
        for path in sorted(staging.iterdir(), key=lambda path: path == handle):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        staging.rmdir()


def _remove(repository, handle):
    """Removes the files of a version, and the folders that become empty."""
    for path in _paths(repository, handle):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    folder = repository / handle.name
    while folder != repository and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m official.publish", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="folder of a SavedModel")
    parser.add_argument("--repository", metavar="FOLDER", required=True, help="model repository; created if needed")
    parser.add_argument("--handle", required=True, help="publisher/.../name, with or without /version")
    parser.add_argument("--licence", metavar="TEXT", help="such as Apache-2.0 (default: the model's own)")
    parser.add_argument("--plots", metavar="FILE", nargs="+", default=(), help="PNG or JPEG pictures for the card")
    args = parser.parse_args(argv)
    try:
        entry = publish(args.model, args.repository, args.handle, args.licence, args.plots)
    except (ValueError, OSError) as error:
        sys.exit(printable(f"error: {error}"))
    print(f"Published {entry.handle}, {entry.bytes:,} bytes of SHA-256 {entry.sha256}")
    print(f"  {pathlib.Path(args.repository) / entry.handle}.html: its model card")
    print(f"  {pathlib.Path(args.repository) / PAGE}: all models")


if __name__ == "__main__":
    main()
