"""Files .safetensors: one, or several with an index that names the file of each tensor."""

import struct

import numpy as np

from official.conversion.files import from_bfloat16, import_package, read_json, unreadable
from official.files.checked_json import parse_json

INDEX = ".safetensors.index.json"
FLOATS = ("F64", "F32", "F16", "BF16")
INTEGERS = ("I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")


class SafetensorsFiles:
    """Tensors in files .safetensors, which stay open and of which one tensor at a time is read.

    Args:
      path: a pathlib.Path of a file, or of the index of several.

    Attributes:
      form: "pytorch".
      shapes: {tensor: tuple}.
      files: {tensor: pathlib.Path}.
      quantized, unneeded: empty.

    Raises:
      ValueError: a file that cannot be read, an index that does not agree with its files, or a missing package.
    """

    form = "pytorch"

    def __init__(self, path):
        self._safe_open = import_package("safetensors", "weights", "files .safetensors").safe_open
        self.shapes, self.files, self.quantized, self.unneeded = {}, {}, set(), {}
        self._open, self._headers = {}, {}
        if path.name.endswith(INDEX):
            self._add_shards(path)
        else:
            self._add(path)

    def read(self, name):
        """A tensor as float32; one of integers as they are.

        Raises:
          ValueError: names the file and the tensor.
        """
        path = self.files[name]
        kind = self._open[path].get_slice(name).get_dtype()
        if kind not in (*FLOATS, *INTEGERS):
            raise ValueError(f"{path}: {name!r} has the type {kind}; it must be one of {', '.join(FLOATS)} or of integers")
        try:
            value = self._bfloat16(name) if kind == "BF16" else self._open[path].get_tensor(name)
        except Exception as error:  # the package raises a class of its own, which derives from Exception
            raise unreadable(path, error) from error
        return value.astype(np.float32, copy=False) if kind in FLOATS else value

    def _add(self, path):
        try:
            file = self._safe_open(path, framework="np")
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in list(file.keys())}
        except Exception as error:  # as in `read`
            raise unreadable(path, error) from error
        self._open[path] = file
        self.shapes |= shapes
        self.files |= dict.fromkeys(shapes, path)

    def _add_shards(self, index):
        places = read_json(index).get("weight_map")
        if not isinstance(places, dict) or not all(isinstance(place, str) for place in places.values()) or not places:
            raise ValueError(f'{index} cannot be read: it must have a "weight_map" of names of tensors to names of files')
        said = {}
        for name, place in places.items():
            said.setdefault(place, set()).add(name)
        for place in sorted(said):
            path = index.with_name(place) if place and place not in (".", "..") and "/" not in place else None
            if path is None or not path.is_file():
                raise ValueError(f"{index} names the file {place!r}, which is not beside it")
            self._add(path)
            found = set(self._open[path].keys())
            for name in sorted(found | said[place]):
                if name not in found:
                    raise ValueError(f"{index} says that {name!r} is in {place}, which does not have it")
                if places.get(name) != place:
                    says = f"is in {places[name]}" if name in places else "is in none of the files"
                    raise ValueError(f"{index} says that {name!r} {says}, but {place} has it")

    def _bfloat16(self, name):
        """A tensor of bfloat16, which the package does not read as an array of NumPy."""
        path = self.files[name]
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if path not in self._headers:  # which names all tensors of a file, and is read once for all of them
                self._headers[path] = parse_json(file.read(length), path)
            begin, end = self._headers[path][name]["data_offsets"]
            file.seek(8 + length + begin)
            return from_bfloat16(np.frombuffer(file.read(end - begin), "<u2")).reshape(self.shapes[name])
