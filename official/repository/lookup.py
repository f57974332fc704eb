"""Where a handle leads: to a model of the first repository that has it."""

import difflib
import logging

from official.repository.cache import cached, fetch
from official.repository.handles import parse_handle
from official.repository.locations import SETTING, repositories

SHOWN = 10  # models of a repository that a message names


def find_published(handle, setting="handle"):
    """The folder of a published model on this machine, fetched where it is not there yet.

    Args:
      handle: a string, "publisher/.../name/version".
      setting: what the caller's user calls it, for messages; which say that there is no such path, too, so look there first.

    Returns:
      The pathlib.Path of a SavedModel.

    Raises:
      ValueError: what is no handle, one that no repository has (told with what they have), or a model that is refused.
      OSError: a repository that cannot be read while those before it lack the model: which one is meant cannot be known then.
    """
    handle = str(parse_handle(handle, setting))
    nothing = f"{setting}={handle!r} is not found: it is neither the path of a model here nor a published model"
    looked_in = []
    places = repositories()
    if not places:
        raise ValueError(f"{nothing}, since the environment variable {SETTING} names no model repository")
    for repository in places:
        try:
            entries = repository.entries()
        except OSError as error:
            known = cached(repository.base, handle)
            if known is None:
                raise OSError(f"{setting}={handle!r} cannot be looked for: {error}") from error
            logging.getLogger(__name__).warning("%s: taking %s as fetched before", error, handle)
            return known
        for entry in entries:
            if entry.handle == handle:
                return fetch(repository, entry)
        looked_in.append(f"{repository.base} has {_nearest(handle, [entry.handle for entry in entries])}")
    raise ValueError(f"{nothing}; of the repositories that {SETTING} names, {'; '.join(looked_in)}")


def _nearest(handle, handles):
    """The handles most like another one, as text."""
    if len(handles) <= SHOWN:
        return ", ".join(handles) or "no models"
    near = difflib.get_close_matches(handle, handles, n=SHOWN, cutoff=0)
    return f"{', '.join(near)} and {len(handles) - len(near):,} more"
