"""Files .npz, in which Google publishes the parameters of its vision transformers under their names in Flax."""

import zipfile

import numpy as np

from official.conversion.files import INSTEAD, from_bfloat16, unreadable

NPY = ".npy"


class NumpyFile:
    """Arrays in a file .npz, of which one at a time is read. Nothing in it is unpickled.

    Args:
      path: a pathlib.Path.

    Attributes:
      form: "flax".
      shapes: {array: tuple}.
      files: {array: pathlib.Path}.
      quantized, unneeded: empty.

    Raises:
      ValueError: a file that cannot be read, or one with Python objects.
    """

    form = "flax"

    def __init__(self, path):
        self._path = path
        self.shapes, self.quantized, self.unneeded = {}, set(), {}
        others = []
        try:
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    if not member.endswith(NPY):
                        others.append(member)
                        continue
                    shape, dtype = _header(archive, member)
                    self.shapes[member.removesuffix(NPY)] = shape
                    if dtype.hasobject:
                        others.append(member)
        except Exception as error:  # whatever the parsers of ZIP and NPY raise for bytes that are not of their formats
            raise unreadable(path, error) from error
        if others:
            raise ValueError(
                f"{path}: {others[0]!r} is not an array of numbers; it may be a pickle, which is not read; {INSTEAD}"
            )
        self.files = dict.fromkeys(self.shapes, path)

    def read(self, name):
        """An array as float32; one of integers as they are.

        Raises:
          ValueError: names the file and the array.
        """
        try:
            with zipfile.ZipFile(self._path) as archive, archive.open(name + NPY) as file:
                value = np.lib.format.read_array(file, allow_pickle=False)
        except Exception as error:  # as in __init__
            raise ValueError(f"{self._path}: {name!r} cannot be read: {error}") from error
        if value.dtype.kind == "V" and value.dtype.itemsize == 2:  # NumPy does not know bfloat16 and saves its bytes alone
            return from_bfloat16(value.view("<u2"))
        if value.dtype.kind not in "fiub":
            raise ValueError(f"{self._path}: {name!r} has the type {value.dtype}; it must be of floats or integers")
        return value.astype(np.float32, copy=False) if value.dtype.kind == "f" else value


def _header(archive, member):
    """The shape and dtype of an array, which is not read."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{member} is of version {version} of NumPy's format")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    return shape, dtype
