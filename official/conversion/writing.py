"""Writes a folder in Hugging Face's layout."""

import json
import pathlib

import numpy as np

from official.conversion.files import import_package
from official.files.atomic import atomic_dir
from official.files.layout import check_output


def write_hugging_face(output, tensors, files, setting="--output"):
    """Writes a folder that the `from_pretrained` of Hugging Face's transformers reads; nothing is left of it if that fails.

    Args:
      output: path of the folder, new or empty.
      tensors: {name: array}, in PyTorch's layouts.
      files: {file name: a dict, written as JSON, or bytes}, such as "config.json".
      setting: what the user calls the path, for messages.

    Raises:
      ValueError: the folder holds something, or a missing package.
      OSError: the folder cannot be written.
    """
    folder = pathlib.Path(output)
    check_output(folder, False, "an empty folder", setting)
    numpy_files = import_package("safetensors.numpy", "weights", "files .safetensors")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_dir(folder) as partial:
        tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
        # Without "format" transformers refuses the file.
        numpy_files.save_file(tensors, partial / "model.safetensors", metadata={"format": "pt"})
        for name, content in files.items():
            if isinstance(content, dict):
                content = (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
            (partial / name).parent.mkdir(exist_ok=True)  # of a name such as "1_Pooling/config.json"
            (partial / name).parent.mkdir(exist_ok=True)  # of a name such as "1_Pooling/config.json"
            (partial / name).write_bytes(content)
