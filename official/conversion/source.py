"""A model that was made elsewhere: opens it, reads its tensors by name, and accounts for every one of them."""

import difflib
import fnmatch
import os
import pathlib
import re
from typing import NamedTuple

import numpy as np

from official.conversion.files import INSTEAD, read_json, refused
from official.conversion.numpy_files import NumpyFile
from official.conversion.onnx_files import OnnxFile
from official.conversion.safetensors_files import INDEX, SafetensorsFiles
from official.conversion.tensorflow_files import TensorFlowCheckpoint, is_tensorflow_1
from official.files.layout import BEST_CHECKPOINT, CHECKPOINTS, printable
from official.files.tables import text_table

CONFIGS = ("config.json", "bert_config.json", "albert_config.json")  # Hugging Face's and Google's
SAFETENSORS, ONNX, CHECKPOINT_INDEX = ".safetensors", ".onnx", ".index"
READERS = {SAFETENSORS: SafetensorsFiles, INDEX: SafetensorsFiles, ONNX: OnnxFile, ".npz": NumpyFile}
CHECKPOINT_FILES = r"\.(index|meta|data-\d{5}-of-\d{5})$"  # what follows the prefix of a checkpoint
ONNX_FOLDER = "onnx"  # in which Hugging Face's Optimum puts .onnx files, below config.json
ALLOWED = (
    "it must be a folder of Hugging Face with config.json and model.safetensors, one of Google with bert_config.json or "
    "albert_config.json and a checkpoint of TensorFlow 1, or a file .safetensors, .onnx or .npz"
)
ABSENT = "no such file or folder, and nothing is downloaded: a model of a hub must be in a folder first"
KERAS_WEIGHTS = "tf_model.h5"  # of Hugging Face's TensorFlow classes
OF_THIS_PROJECT = {"saved_model.pb", CHECKPOINTS, BEST_CHECKPOINT}  # in SavedModels and workdirs
MOST_NAMED = 5  # tensors that a message names one by one


class Row(NamedTuple):
    """A line of the table of what became of the tensors of a source.

    Attributes:
      weight: its name in the file.
      shape: as it is there.
      result: "loaded" or "dropped".
      reason: why it was dropped.
    """

    weight: str
    shape: str
    result: str
    reason: str = ""


class Converted(NamedTuple):
    """A source as a model of a zoo.

    Attributes:
      name: of the Keras model.
      settings: dict, all settings of the zoo's model.
      weights: {full name of a weight of that model: float32 array}.
      rows: list of Rows, one for each tensor of the source.
    """

    name: str
    settings: dict
    weights: dict
    rows: list


class Source:
    """The tensors of a model that was made elsewhere.

    Every tensor must be taken or dropped for a reason; `finish` refuses the source otherwise.

    Args:
      given: the path as the user gave it, a string.
      path: pathlib.Path of the file or prefix with the tensors.
      folder: pathlib.Path where the vocabulary and other files may lie.
      config: dict, of the config beside the tensors; {} where there is none.
      tensors: a reader such as SafetensorsFiles.
      setting: what the user calls the path, for messages.
      prefix: dotted path of the module that is the model, such as "encoder.bert"; it is cut from the names of the tensors inside
        it, and all others are dropped. None for all tensors by their full names.

    Attributes:
      given, path, folder, config: the arguments.
      form: "pytorch" (names and layouts of PyTorch's modules), "tensorflow" (Google's checkpoints of TensorFlow 1) or "flax"
        (Google's vision transformers, .npz).
      notes: list of sentences that the user should read, such as "12 tensors of int8 were dequantized".
    """

    def __init__(self, given, path, folder, config, tensors, setting="source", prefix=None):
        self.given, self.path, self.folder, self.config = given, path, folder, config
        self.form, self.notes = tensors.form, []
        self._tensors, self._setting = tensors, setting
        # By the name that the user of this object knows: (the name in the file, the permutation of its axes or None).
        self._places = {name: (name, None) for name in tensors.shapes if name not in tensors.unneeded}
        self._taken, self._dropped = set(), dict(tensors.unneeded)  # names in the file; {name in the file: reason}
        if prefix:
            self._select(prefix)
        quantized = [name for name, _ in self._places.values() if name in tensors.quantized]
        if quantized:
            self.notes.append(f"{len(quantized)} tensors are integers of 8 bits in the file and were dequantized to float32")

    def names(self):
        """The names of all tensors, in the order of the file, also of those that were taken; not of those outside the prefix."""
        return list(self._places)

    def __contains__(self, name):
        return name in self._places

    def shape(self, name):
        """The shape of a tensor, a tuple of ints. Raises ValueError if there is no such tensor."""
        original, axes = self._place(name)
        shape = self._tensors.shapes[original]
        return tuple(shape[axis] for axis in axes) if axes else tuple(shape)

    def take(self, name, shape=None):
        """Reads a tensor and marks it as used; it may be taken again.

        Args:
          name: of the tensor.
          shape: the shape that it must have; None for any.

        Returns:
          A NumPy array of the caller's own: float32 for a tensor of floats, else of its integers.

        Raises:
          ValueError: names the file and the tensor, which is missing, has another shape, cannot be read or is not finite.
        """
        original, axes = self._place(name)
        if shape is not None and self.shape(name) != tuple(shape):
            raise self._error(name, f"has the shape {list(self.shape(name))}; it must be {list(shape)}")
        try:
            value = self._tensors.read(original)
        except ValueError as error:
            raise self.refusal(error) from error
        if axes:
            value = np.ascontiguousarray(value.transpose(axes))
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise self._error(name, f"has {np.count_nonzero(~np.isfinite(value))} values that are NaN or infinite")
        self._taken.add(original)
        return value

    def drop(self, pattern, reason):
        """Marks tensors as not needed, also ones that were taken for a check.

        Args:
          pattern: of their names, as of fnmatch: "*.position_ids"; or a set of names. None needs to match.
          reason: for the table.

        Returns:
          The names that match.
        """
        if isinstance(pattern, str):
            matching = fnmatch.filter(self._places, pattern)
        else:
            matching = [name for name in self._places if name in pattern]
        self._dropped |= {self._places[name][0]: reason for name in matching}
        return matching

    def rename(self, function):
        """Gives tensors the names, and if need be the layouts, that the caller expects.

        Args:
          function: of a name that returns another name; or (name, permutation of the axes as of np.transpose), such as
            ("query.weight", (1, 0)); or None for a tensor that stays as it is.

        Raises:
          ValueError: two tensors with the same new name, or a permutation for another number of axes.
        """
        places = {}
        for name, (original, axes) in self._places.items():
            new = function(name)
            new, turn = (name, None) if new is None else (new, None) if isinstance(new, str) else new
            if new in places:
                raise self.refusal(f"{self._file(original)}: {places[new][0]!r} and {original!r} are the same tensor, {new}")
            if turn is not None and sorted(turn) != list(range(len(self.shape(name)))):
                raise self._error(name, f"has the shape {list(self.shape(name))}; it must have {len(turn)} axes")
            if turn is not None:
                axes = tuple(axes[axis] for axis in turn) if axes else tuple(turn)
            places[new] = (original, axes)
        self._places = places

    def finish(self):
        """The table of what became of every tensor.

        Returns:
          List of Rows in the order of the file.

        Raises:
          ValueError: names tensors that were neither taken nor dropped.
        """
        shapes = self._tensors.shapes
        unused = [name for name in shapes if name not in self._taken and name not in self._dropped]
        if unused:
            files = ", ".join(dict.fromkeys(str(self._file(name)) for name in unused))
            raise self.refusal(f"{files} has tensors that this model has no place for: {listed(unused)}")
        return [
            Row(name, str(list(shapes[name])), "dropped", self._dropped[name])
            if name in self._dropped
            else Row(name, str(list(shapes[name])), "loaded")
            for name in shapes
        ]

    def refusal(self, reason):
        """A ValueError that says what is wrong with this source, in the project's form."""
        return ValueError(f"{self._setting}={self.given!r} is not allowed: {reason}")

    def _select(self, prefix):
        start = prefix.replace("/", ".").rstrip(".") + "."
        inside = {name: place for name, place in self._places.items() if name.replace("/", ".").startswith(start)}
        if not inside:
            tops = dict.fromkeys(name.replace("/", ".").rpartition(".")[0] or name for name in self._places)
            raise self.refusal(f"{self.path} has no tensors in {prefix}{_nearest(prefix, tops)}; it has {listed(tops)}")
        outside = [name for name in self._places if name not in inside]
        self._dropped |= dict.fromkeys(outside, f"outside {prefix}")
        self._places = {name[len(start) :]: place for name, place in inside.items()}

    def _place(self, name):
        if name not in self._places:
            raise self.refusal(f"{self.path} has no tensor {name!r}{_nearest(name, self._places)}")
        return self._places[name]

    def _file(self, original):
        return self._tensors.files[original]

    def _error(self, name, wrong):
        """A ValueError that names a tensor, also as it is called in the file if that is something else."""
        original = self._places[name][0]
        alias = "" if original == name else f" ({name})"
        return self.refusal(f"{self._file(original)}: {original!r}{alias} {wrong}")


def is_source(path):
    """Whether a path is what `open_source` reads or refuses for a reason of its own; decided without an error, by names.

    A SavedModel, a workdir and a checkpoint of TensorFlow 2 are not sources.
    """
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str) or not os.fspath(path):
        return False
    place = pathlib.Path(path)
    try:
        if place.is_dir():
            return _is_folder(place)
        reader = _reader(place)
        return is_tensorflow_1(place) if reader is TensorFlowCheckpoint else reader is not None or bool(refused(place))
    except (OSError, ValueError):  # a path that the system does not take
        return False


def open_source(path, setting="source", prefix=None):
    """Opens a model that was made elsewhere. Its tensors are read later, one by one.

    Args:
      path: a folder of Hugging Face, with config.json and model.safetensors, shards with their index or an .onnx; one of Google
        with bert_config.json or albert_config.json and a checkpoint of TensorFlow 1; or a file .safetensors, .onnx or .npz or
        the prefix of such a checkpoint. The config is looked for beside a file.
      setting: what the user calls the path, for messages.
      prefix: as of Source.

    Returns:
      A Source.

    Raises:
      ValueError: names the setting, the file and what is wrong: not there, of a form that is not read, damaged or cut short.
    """
    given = os.fspath(path)
    place = pathlib.Path(path)
    try:
        if not given:
            raise ValueError(f"{ALLOWED}; it is empty")
        place = _file_in(place) if place.is_dir() else pathlib.Path(re.sub(CHECKPOINT_FILES, "", given))
        reader = _reader(place)
        if reader is None and refused(place):
            raise ValueError(refused(place))
        if reader is None or not (place.is_file() or reader is TensorFlowCheckpoint):
            raise ValueError(ALLOWED if place.exists() else f"{ALLOWED}; {ABSENT}")
        tensors = reader(place)
        if not tensors.shapes:
            raise ValueError(f"{place} has no tensors")
        folder = place.parent
        if folder.name == ONNX_FOLDER and not (folder / CONFIGS[0]).is_file():
            folder = folder.parent
        config = next((read_json(folder / name) for name in CONFIGS if (folder / name).is_file()), {})
    except (OSError, ValueError) as error:
        raise ValueError(f"{setting}={given!r} is not allowed: {error}") from error
    return Source(given, place, folder, config, tensors, setting, prefix)


def tensor_table(rows):
    """Rows as text, those of all blocks in one line: "encoder.layer.0..5.output.dense.bias".

    Args:
      rows: of `Source.finish`.
    """
    groups = {}  # {(name without its first number, the rest of the row): the numbers, as text}
    for row in rows:
        start, number, end = re.fullmatch(r"(\D*)(\d*)(.*)", row.weight, re.DOTALL).groups()
        groups.setdefault((start, end, *row[1:]), []).append(number)
    table = text_table([Row(start + _ranges(numbers) + end, *rest) for (start, end, *rest), numbers in groups.items()])
    return printable(table)  # the names come from the file


def print_account(rows, notes):
    """Prints what became of every tensor, then the notes as sentences.

    Args:
      rows: of `Source.finish`.
      notes: list of strings without a capital letter and a full stop.
    """
    print(tensor_table(rows))
    print_notes(notes)


def print_notes(notes):
    """Prints notes as sentences; as of `print_account`."""
    for note in notes:
        print(printable(note[0].upper() + note[1:] + "."))


def _ranges(numbers):
    """Numbers in their order, such as "0..2, 5"; "" for no number."""
    runs = []
    for number in numbers:
        if runs and number and int(number) == int(runs[-1][1]) + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(first if first == last else f"{first}..{last}" for first, last in runs)


def listed(names):
    """The first of some names, and how many more there are."""
    names = [repr(name) for name in names]
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _reader(place):
    """The class that reads a file, an index or a prefix; None if there is none."""
    for ending, reader in READERS.items():
        if place.name.endswith(ending):
            return reader
    return TensorFlowCheckpoint if place.with_name(place.name + CHECKPOINT_INDEX).is_file() else None


def _is_folder(place):
    names = {path.name for path in place.iterdir()}
    if names & OF_THIS_PROJECT:
        return False
    if any(name.endswith((SAFETENSORS, INDEX, ONNX)) or name.startswith("pytorch_model") for name in names):
        return True
    if names & set(CONFIGS[1:]):
        return True
    return CONFIGS[0] in names and bool({"model_type", "architectures"} & read_json(place / CONFIGS[0]).keys())


def _file_in(folder):
    """The file with the tensors, the index of several or the prefix of a checkpoint, in a folder."""
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        raise ValueError(f"{ALLOWED}; the folder is empty")
    if f"model{SAFETENSORS}" in names:
        return folder / f"model{SAFETENSORS}"
    if (folder / ONNX_FOLDER).is_dir():
        names += sorted(f"{ONNX_FOLDER}/{path.name}" for path in (folder / ONNX_FOLDER).iterdir())
    for ending in (INDEX, SAFETENSORS, ONNX, CHECKPOINT_INDEX):
        choice = [name for name in names if name.endswith(ending)]
        best = [name for name in choice if name.rpartition("/")[2] == f"model{ending}"] or choice
        if len(best) == 1:
            return folder / best[0].removesuffix(CHECKPOINT_INDEX)
        if choice:
            without = " and no index of them" if ending == SAFETENSORS else ""
            raise ValueError(f"{ALLOWED}; the folder has {', '.join(choice)}{without}: name one of them")
    for name in names:
        if refused(folder / name):
            raise ValueError(refused(folder / name))
    if KERAS_WEIGHTS in names:
        raise ValueError(f"{KERAS_WEIGHTS}: weights of TensorFlow in this form are not read; {INSTEAD}")
    if set(names) & OF_THIS_PROJECT:
        raise ValueError(f"{ALLOWED}; the folder has a run or a SavedModel, which is converted with --to=huggingface only")
    raise ValueError(f"{ALLOWED}; the folder has no weights")


def _nearest(name, names):
    near = difflib.get_close_matches(name, list(names), n=1)
    return f" (the nearest is {near[0]!r})" if near else ""
