"""Hugging Face's folders: what their config.json says of any model, and a new folder in that layout."""

import json
import pathlib

import numpy as np

from official.conversion.files import import_package
from official.files.atomic import atomic_dir
from official.files.layout import check_output

# Their activations that are one of ours. Ours is written as the first that has it.
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
    "linear": "linear",
}


def check_config(config, checks):
    """Refuses wrong values in a config.json.

    Args:
      config: a dict.
      checks: {setting: function of its name and value, as in widenet.checks}; those that the config lacks are passed over.

    Raises:
      ValueError: names the setting, its value and what is allowed.
    """
    for setting, check in checks.items():
        if setting in config:
            try:
                check(setting, config[setting])
            except ValueError as error:
                raise ValueError(f"config.json: {error}") from error


def our_activation(theirs):
    """The name here of the activation that a config.json has as `hidden_act`. Raises ValueError if there is none."""
    if not isinstance(theirs, str) or theirs not in ACTIVATIONS:
        raise ValueError(f"config.json has hidden_act={theirs!r}, which must be one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[theirs]


def their_activation(ours):
    """What a config.json calls an activation of ours.

    Raises:
      ValueError: it has no name there, in words that complete "... is not allowed: ".
    """
    for theirs, name in ACTIVATIONS.items():
        if name == ours:
            return theirs
    raise ValueError(f"it has activation={ours!r}, which must be one of {', '.join(dict.fromkeys(ACTIVATIONS.values()))}")


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
            (partial / name).write_bytes(content)
