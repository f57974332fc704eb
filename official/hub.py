"""Published models by handle, in TensorFlow Hub and out of it.

    import official.hub
    model = official.hub.load("widenet/vision/b16-cifar10/1")

Importing this makes tensorflow_hub.load and tensorflow_hub.KerasLayer understand handles too. Where the models of a handle are
looked for is told by the environment variable WIDENET_HUB (official.repository.locations).
"""

import os
import pathlib

from official.cli import quiet
from official.repository.archives import is_saved_model
from official.repository.handles import is_handle
from official.repository.lookup import find_published

with quiet.hub_import():
    import tensorflow_hub
    from tensorflow_hub import registry, resolver


class HandleResolver(resolver.Resolver):
    """What tensorflow_hub asks where a handle leads."""

    def is_supported(self, handle):
        """A SavedModel in a folder of that path goes first."""
        return is_handle(handle) and not is_saved_model(pathlib.Path(handle))

    def __call__(self, handle):
        return str(find_published(handle))


registry.resolver.add_implementation(HandleResolver())


def resolve(handle):
    """The folder of a SavedModel, as a string.

    Args:
      handle: "publisher/.../name/version", which is fetched and checked where it is not on this machine yet
        (official.repository.lookup); or what tensorflow_hub knows by itself: a path, or an https:// address.

    Raises:
      ValueError, OSError: where it leads to none.
    """
    return tensorflow_hub.resolve(os.fspath(handle))


def load(handle):
    """The model of a handle, as tensorflow_hub.load gives it: with `signatures`, and callable where it was saved so.

    Raises:
      ValueError, OSError: as `resolve`.
    """
    return tensorflow_hub.load(os.fspath(handle))
