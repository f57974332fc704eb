"""What the configs of all recipes have in common: tables of settings, their checks, and config.json."""

import copy
import functools
import json
import math
import numbers
import pathlib
import re
from typing import Any, NamedTuple

from ml_collections import ConfigDict, config_dict

from official.files.checked_json import read_json
from official.zoo import override

# Settings that must stay the same when a run is resumed; every other setting may change.
FIXED = (
    "init",
    "task",
    "distillation",
    "model",
    "data",
    "train.optimizer",
    "train.momentum",
    "train.layer_decay",
    "train.ema_decay",
    "train.frozen",
    "train.batch_size",
    "train.seed",
)
# Exceptions: they do not change what is trained on.
FREE = ("data.dir", "data.bad_examples", "data.max_pixels")
# What a setting may be whose default is of a type, in Python and in words.
TYPES = {
    bool: ((bool,), "True or False"),
    int: ((numbers.Integral,), "a whole number"),
    float: ((numbers.Real,), "a number"),
    str: ((str, type(None)), "text"),
    tuple: ((tuple, list), "a list"),
    type(None): ((), "anything"),
}
# Defaults of settings that older config.json files lack.
LATER = {
    "init": "",
    "train.schedule": "cosine",
    "train.best": "",
    "train.epochs": 0.0,
    "train.warmup_epochs": 0.0,
    "train.restart": False,
    "train.background_checkpoints": False,
    "train.accumulate": 1,
    "train.recompute": False,
    "train.log_norms": False,
    "train.profile_steps": "",
    "train.data_service": "",
}
# Settings of `train` that say the same in two units; only one of a pair may be given.
EPOCHS_OF = {"steps": "epochs", "warmup_steps": "warmup_epochs"}

OPTIMIZERS = ("lamb", "adamw", "sgd")
SCHEDULES = ("cosine", "linear")
PRECISIONS = ("float32", "mixed_bfloat16", "float64", "auto")
SERVER = re.compile(r"grpc://[^\s,/:]+:(\d{1,5})")
# What every config.json must have (official.files.checked_json.check_keys), besides the settings that its task checks.
SHAPE = {
    "name": str,
    "init?": str,
    "task": str,
    "model?": dict,
    "data?": dict,
    "train": dict,
    "train.batch_size": int,
    "train.precision": str,
    "train.ema_decay?": (int, float),
    "train.best?": str,
}


class Setting(NamedTuple):
    """One setting of a section of a recipe. A section is documented by a table of them, {name: Setting}, such as TRAIN.

    Attributes:
      default: its value where a recipe does not give one.
      meaning: one line of plain text, at most 100 characters, without its default: what a list of settings prints beside it.
    """

    default: Any
    meaning: str


TRAIN = {
    "steps": Setting(1000, "length of the run, in steps (0: given by epochs)"),
    "epochs": Setting(0.0, "length of the run, in epochs: passes over the training data (0: given by steps)"),
    "batch_size": Setting(128, "examples in a step, over all replicas"),
    "accumulate": Setting(1, "equal parts of a batch, computed one after another in the memory of one, for one update"),
    "recompute": Setting(False, "keep only the inputs of a model's blocks and compute them again: less memory, more time"),
    "lr": Setting(0.01, "peak learning rate"),
    "warmup_steps": Setting(0, "steps of linear warm-up from 0 to lr"),
    "warmup_epochs": Setting(0.0, "the same in epochs (0: given by warmup_steps)"),
    "schedule": Setting("cosine", f"decay of the learning rate from its peak to 0 at the last step: {', '.join(SCHEDULES)}"),
    "optimizer": Setting("lamb", f"one of {', '.join(OPTIMIZERS)}"),
    "beta_1": Setting(0.9, "decay of the first moment, of lamb and adamw"),
    "beta_2": Setting(0.999, "decay of the second moment, of lamb and adamw"),
    "epsilon": Setting(1e-6, "added to the square root of the second moment, of lamb and adamw"),
    "weight_decay": Setting(0.1, "decoupled weight decay; biases and norm parameters have none"),
    "clip_norm": Setting(1.0, "largest global norm of the gradients; larger ones are scaled down to it"),
    "momentum": Setting(0.9, "momentum of sgd"),
    "layer_decay": Setting(1.0, "factor on the updates for every layer below the last (1: the same for all layers)"),
    "ema_decay": Setting(0.0, "decay of the moving average of the weights that is evaluated and exported (0: no average)"),
    "frozen": Setting((), "names of the model's layers whose weights are not trained"),
    "eval_every": Setting(100, "steps between evaluations"),
    "checkpoint_every": Setting(0, "steps between checkpoints besides those after evaluations (0: only those)"),
    "keep_checkpoints": Setting(2, "number of newest checkpoints that are kept"),
    "background_checkpoints": Setting(False, "write checkpoints while training continues, from a copy in memory"),
    "best": Setting("", "validation metric whose best checkpoint is kept, exported and reported ('': the last one is)"),
    "restart": Setting(False, "start again at step 0 where none of the run's checkpoints is whole, which is refused otherwise"),
    "seed": Setting(0, "seed of initial weights, data order, augmentation and dropout"),
    "strategy": Setting("default", "default (one device), mirrored, multi_worker or tpu"),
    "tpu": Setting("", "name of the TPU, for strategy='tpu'"),
    "data_service": Setting("", "servers that make the training batches: 'grpc://HOST:PORT' and commas ('': the run itself)"),
    "precision": Setting("float32", f"one of {', '.join(PRECISIONS)} (auto: the faster of the first two here)"),
    "jit_compile": Setting(False, "compile the whole training step with XLA"),
    "steps_per_execution": Setting(1, "steps the device makes before it returns to Python; raise it on TPUs"),
    "log_norms": Setting(False, "log norms of gradients and updates, and the share of the machine's peak that the model uses"),
    "profile_steps": Setting("", "first and last step of a profile for TensorBoard, such as '100,110' ('': none)"),
}


def train_settings(**overrides):
    """The `train` settings of a recipe, a ConfigDict: the defaults of TRAIN, some of them overridden.

    Where `epochs` are given and `steps` are not, `steps` is 0.

    Raises:
      ValueError: an override that is not in TRAIN.
    """
    if overrides.get("epochs"):
        overrides = {"steps": 0, **overrides}
    settings = section_settings("train", defaults_of(TRAIN), overrides)
    # A recipe's epochs=3 may become 0.5 on the command line.
    return ConfigDict({**settings, **{epochs: float(settings[epochs]) for epochs in EPOCHS_OF.values()}})


def defaults_of(table):
    """{name: default} of a table of settings, {name: Setting}."""
    return {name: setting.default for name, setting in table.items()}


def meanings_of(table):
    """{name: meaning} of a table of settings, {name: Setting}."""
    return {name: setting.meaning for name, setting in table.items()}


def section_settings(section, defaults, overrides):
    """The settings of a section of a recipe, a dict: its defaults, some of them overridden.

    Args:
      section: its name in the recipe.
      defaults: {name: value}, as of `defaults_of`.
      overrides: {name: value}.

    Raises:
      ValueError: naming the first override that is not a setting of the section, the nearest setting, and all of them.
    """
    return override(section, defaults, overrides)


def check_section(section, settings, allowed):
    """Refuses settings out of range.

    Args:
      section: its name in the recipe.
      settings: its settings, a dict or ConfigDict.
      allowed: {setting: (whether its value is allowed, what is allowed)}.

    Raises:
      ValueError: naming the first wrong setting, its value and what is allowed.
    """
    for setting, (is_allowed, what) in allowed.items():
        if not is_allowed:
            raise ValueError(f"{section}.{setting}={settings[setting]!r} is not allowed: it must be {what}")


def check_types(section, settings, table):
    """Refuses settings of another type than their default's, as a config.json from elsewhere may have them.

    Args:
      section: its name in the recipe.
      settings: its settings, a dict or ConfigDict.
      table: {name: Setting}. A setting whose default is None may have any type, and one whose default is text may be None.

    Raises:
      ValueError: naming the first setting that is missing or of another type, and what is allowed.
    """
    for name, setting in table.items():
        if name not in settings:
            raise ValueError(f"{section}.{name} is missing: {section} must have the settings {', '.join(table)}")
        kinds, what = TYPES[type(setting.default)]
        value = settings[name]
        value = value.to_dict() if isinstance(value, ConfigDict) else value
        if kinds and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
            raise ValueError(f"{section}.{name}={value!r} is not allowed: it must be {what}")


def data_name(data):
    """What a run calls its data: the data set's name, or that of the user's folder or file, with other characters than ASCII
    letters, digits, dot and hyphen replaced by underscores.

    Args:
      data: the `data` settings of a recipe. Its `dir` counts where the name is "folder", and `train_file` where it is "file" or
        "lines".

    Returns:
      A string, "" for data without a name.
    """
    name, folder, file = (str(data.get(setting) or "") for setting in ("name", "dir", "train_file"))
    own = ""
    if name == "folder" and folder:
        own = pathlib.Path(folder).resolve().name
    elif name in ("file", "lines") and file:
        path = pathlib.Path(folder, file).resolve()
        own = path.parent.name if path.stem.lower() in ("train", "training") else path.stem
    return re.sub(r"[^A-Za-z0-9.-]+", "_", own).strip("_.-") or re.sub(r"[^A-Za-z0-9_.-]+", "_", name)


def literal_settings(settings):
    """A ConfigDict whose values the command line may replace by any Python literal, such as 2, None or (0, 3), or by a bare word.

    For settings that may hold values of several types, such as those of a model.
    """
    return ConfigDict({key: config_dict.FieldReference(value, field_type=object) for key, value in settings.items()})


def _is_server(address):
    found = SERVER.fullmatch(address)
    return found is not None and 0 < int(found[1]) < 2**16  # a larger number would wrap around to another port


def check_train_settings(train):
    """Refuses train settings out of range.

    Raises:
      ValueError: naming the setting, its value and what is allowed.
    """
    allowed = {
        "steps": (train.steps >= (0 if train.epochs else 1), "at least 1, unless train.epochs is given"),
        **{epochs: _epochs_check(train, steps, epochs) for steps, epochs in EPOCHS_OF.items()},
        "batch_size": (train.batch_size >= 1, "at least 1"),
        "accumulate": (train.accumulate >= 1, "at least 1"),
        "lr": (train.lr >= 0, "at least 0"),
        "warmup_steps": (train.warmup_steps >= 0, "at least 0"),
        "schedule": (train.schedule in SCHEDULES, f"one of {', '.join(SCHEDULES)}"),
        "optimizer": (train.optimizer in OPTIMIZERS, f"one of {', '.join(OPTIMIZERS)}"),
        "beta_1": (0 <= train.beta_1 < 1, "from 0 up to, not including, 1"),
        "beta_2": (0 <= train.beta_2 < 1, "from 0 up to, not including, 1"),
        "epsilon": (train.epsilon > 0, "above 0"),
        "weight_decay": (train.weight_decay >= 0, "at least 0"),
        "clip_norm": (train.clip_norm > 0, "above 0"),
        "momentum": (0 <= train.momentum < 1, "from 0 up to, not including, 1"),
        "layer_decay": (0 < train.layer_decay <= 1, "above 0 and at most 1"),
        "ema_decay": (0 <= train.ema_decay < 1, "from 0 up to, not including, 1"),
        "frozen": (all(isinstance(name, str) for name in train.frozen), "a tuple of names of the model's layers"),
        "eval_every": (train.eval_every >= 1, "at least 1"),
        "checkpoint_every": (train.checkpoint_every >= 0, "at least 0"),
        "keep_checkpoints": (train.keep_checkpoints >= 1, "at least 1"),
        "steps_per_execution": (train.steps_per_execution >= 1, "at least 1"),
        "precision": (train.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
        "profile_steps": _profile_check(train),
        "data_service": (
            not train.data_service or all(map(_is_server, train.data_service.split(","))),
            "'' or 'grpc://HOST:PORT' of each server, with commas between them",
        ),
    }
    check_section("train", train, allowed)


def _epochs_check(train, steps, epochs):
    if train[epochs] and train[steps]:
        return False, f"0 beside train.{steps}={train[steps]}"
    return 0 <= train[epochs] < math.inf, "at least 0, and finite"


def profiled_steps(train):
    """(first, last) step of `train.profile_steps`, counted from 1; None if it is ''."""
    return tuple(map(int, train.profile_steps.split(","))) if train.profile_steps else None


def _profile_check(train):
    first, last = 1, 1
    is_pair = re.fullmatch(r"[0-9]{1,12},[0-9]{1,12}", train.profile_steps)
    if is_pair:
        first, last = profiled_steps(train)
    end = f" <= train.steps={train.steps}" if train.steps else ""  # 0 where epochs are given
    is_allowed = bool(is_pair or not train.profile_steps) and 1 <= first <= last <= (train.steps or math.inf)
    return is_allowed, f"'' or 'FIRST,LAST' with 1 <= FIRST <= LAST{end}"


def in_steps(train, examples):
    """The `train` settings with length and warm-up in steps, where they are given in epochs; these become 0.

    An epoch is one pass over the training data, examples / batch_size steps; parts of a step count as one.

    Args:
      train: the `train` settings, a ConfigDict, which stays as it is.
      examples: number of training examples; None where it is not known.

    Raises:
      ValueError: epochs where `examples` is None.
    """
    train = train.copy_and_resolve_references()
    for steps, epochs in EPOCHS_OF.items():
        if train[epochs]:
            if examples is None:
                why = "the task does not say how many training examples it has"
                raise ValueError(f"train.{epochs}={train[epochs]} is not allowed: it must be 0, with train.{steps}, since {why}")
            train[steps] = math.ceil(round(train[epochs] * examples / train.batch_size, 6))
            train[epochs] = 0.0
    return train


def to_plain(config):
    """A config as nested dicts and lists of JSON's types: tuples become lists."""
    return json.loads(config.to_json())


def read_config(path):
    """The config in a file that official.train or an export has written, `completed`.

    Args:
      path: a pathlib.Path.

    Returns:
      Nested dicts and lists. Only what all recipes have in common is checked: the task checks its own settings.

    Raises:
      ValueError: as official.files.checked_json.read_json; or a value of another type than a config's. Names the file.
      OSError: the file cannot be read.
    """
    plain = read_json(path, keys=SHAPE)
    if plain["train"]["precision"] not in PRECISIONS:
        raise ValueError(f"{path} is not allowed: train.precision must be one of {', '.join(PRECISIONS)}")
    return completed(plain)


def to_config_dict(plain, path):
    """The ConfigDict of a plain config; raises ValueError that names its file for names of settings that it cannot have."""
    try:
        return ConfigDict(plain)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not allowed: {error}") from error


def completed(plain):
    """A plain config that an older version may have written, with the defaults of settings that were added since (LATER)."""
    plain = copy.deepcopy(plain)
    for key, value in LATER.items():
        *sections, setting = key.split(".")
        section = functools.reduce(dict.__getitem__, sections, plain)
        section.setdefault(setting, value)
    return plain


def flat(plain, prefix=""):
    """Yields (dotted key, value) of the settings of a plain config."""
    for key, value in plain.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def changes(before, after, prefix=""):
    """{dotted key: (value before, value after)} of the settings in which two plain configs differ."""
    differences = {}
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            differences |= changes(old, new, f"{prefix}{key}.")
        elif old != new:
            differences[prefix + key] = (old, new)
    return differences


def is_fixed(key):
    """Whether a setting, by its dotted key, must stay the same when a run is resumed."""
    return key not in FREE and any(key == fixed or key.startswith(fixed + ".") for fixed in FIXED)


def came_later(key, before):
    """Whether a dotted key is a setting of the model that a run's plain config lacks, since it was added after the run began."""
    section, _, setting = key.partition(".")
    return section == "model" and setting not in before.get(section, {})
