"""Loads published models by handle, also in TensorFlow Hub.

    import official.hub
    model = official.hub.load("widenet/vision/b16-cifar10/1")

After this import tensorflow_hub.load and tensorflow_hub.KerasLayer take handles too. The environment variable WIDENET_HUB names
the model repositories to load from (official.repository.locations).
"""

import os
import pathlib
from typing import Any

from official.cli import quiet
from official.cli.text_ops import load_with_text_ops
from official.repository.archives import is_saved_model
from official.repository.handles import is_handle
from official.repository.lookup import find_published

with quiet.hub_import():
    import tensorflow_hub
    from tensorflow_hub import registry, resolver


class HandleResolver(resolver.Resolver):
    """Resolves handles for tensorflow_hub."""

    def is_supported(self, handle: str) -> bool:
        """Whether it is a handle, and not also the path of a SavedModel, which takes precedence."""
        return is_handle(handle) and not is_saved_model(pathlib.Path(handle))

    def __call__(self, handle: str) -> str:
        return str(find_published(handle))


registry.resolver.add_implementation(HandleResolver())


def resolve(handle: str | os.PathLike[str]) -> str:
    """The local folder of a SavedModel, a string.

    Args:
      handle: "publisher/.../name/version", downloaded and checked if it is not in the cache (official.repository.lookup); or what
        tensorflow_hub takes by itself: a path, or an https:// address.

    Raises:
      ValueError, OSError: no model is found.
    """
    return tensorflow_hub.resolve(os.fspath(handle))


def load(handle: str | os.PathLike[str]) -> Any:
    """Loads a model as tensorflow_hub.load does: it has `signatures`, and is callable if it was saved so.

    For a text model tensorflow_text is imported.

    Args:
      handle: as of `resolve`.

    Raises:
      ValueError, OSError: as `resolve`; ValueError also for a text model without the package tensorflow-text.
    """
    return load_with_text_ops(lambda: tensorflow_hub.load(os.fspath(handle)))
