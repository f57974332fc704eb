"""From a handle to a local folder: the model of the first repository that has it."""

import difflib
import logging

from official.repository.cache import cached, fetch
from official.repository.handles import parse_handle
from official.repository.locations import SETTING, repositories

MAX_NAMED = 10  # models of a repository that a message names


def find_published(handle, setting="handle"):
    """The local folder of a published model, downloaded if it is not in the cache.

    Args:
      handle: a string, "publisher/.../name/version".
      setting: name of the user's setting, for messages. They also say that the handle is not a local path, so check that first.

    Returns:
      The pathlib.Path of a SavedModel.

    Raises:
      ValueError: not a handle, a handle that no repository has (the message names similar ones), or an archive that is refused.
      OSError: a repository cannot be read. The search ends there, since a later one may have another model of that handle.
    """
    handle = str(parse_handle(handle, setting))
    not_found = f"{setting}={handle!r} is not found: it is neither the path of a model here nor a published model"
    available = []
    searched = repositories()
    if not searched:
        raise ValueError(f"{not_found}, since the environment variable {SETTING} names no model repository")
    for repository in searched:
        try:
            entries = repository.entries()
        except OSError as error:
            folder = cached(repository.base, handle)
            if folder is None:
                raise OSError(f"{setting}={handle!r} cannot be looked for: {error}") from error
            logging.getLogger(__name__).warning("%s: using the copy of %s in the cache", error, handle)
            return folder
        for entry in entries:
            if entry.handle == handle:
                return fetch(repository, entry)
        available.append(f"{repository.base} has {_similar(handle, [entry.handle for entry in entries])}")
    raise ValueError(f"{not_found}; of the repositories that {SETTING} names, {'; '.join(available)}")


def _similar(handle, handles):
    """The handles that are most similar to another one, as text."""
    if len(handles) <= MAX_NAMED:
        return ", ".join(handles) or "no models"
    closest = difflib.get_close_matches(handle, handles, n=MAX_NAMED, cutoff=0)
    return f"{', '.join(closest)} and {len(handles) - len(closest):,} more"
