"""What every recipe's config has in common, and its life on disk."""

import copy
import difflib
import functools
import json
import pathlib
import runpy

from ml_collections import ConfigDict, config_dict

# Of one run, so that a run may not go on under another value of these; any other setting may change when it does.
FIXED = (
    "init",
    "task",
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
# But for what does not change what is trained on.
FREE = ("data.dir", "data.bad_examples", "data.max_pixels")
# Settings that recipes did not have from the start, with what holds for a run whose config.json lacks them.
LATER = {"init": "", "train.schedule": "cosine", "train.best": ""}


def train_settings(**overrides):
    """The `train` settings of a recipe, with this project's defaults.

    steps: length of the run; lr: peak learning rate; warmup_steps: of linear warm-up, before decay to 0 at `steps`; schedule: one
    of SCHEDULES, how it decays; batch_size: examples a step, over all replicas; optimizer: one of OPTIMIZERS, LAMB and AdamW with
    beta_1, beta_2 and epsilon, SGD with momentum, each with weight_decay and clip_norm (global gradient norm); layer_decay: by
    what a weight's updates are multiplied for every layer that it lies below the last (1: by nothing); ema_decay: of the
    exponential moving average of the weights that is evaluated and exported (0: none); frozen: names of the model's layers whose
    weights stay as they are; eval_every: steps from one evaluation to the next, which is what logs and plots call an epoch;
    checkpoint_every: steps between checkpoints, besides one after every evaluation (0: no others); keep_checkpoints: how many;
    best: metric of the validation split, such as "accuracy", whose best evaluation's checkpoint is kept besides, exported and
    reported ("": the last one is); seed: of initial values, data order and augmentation; strategy:
    official.strategies.STRATEGIES, with tpu: the TPU's name; precision: "float32", "mixed_bfloat16", "float64", or "auto" for the
    faster of the first two on the machine where the run begins; jit_compile: whether XLA compiles the whole step;
    steps_per_execution: how many steps the device does before Python sees it again, which is what a TPU wants.
    """
    defaults = dict(
        steps=1000,
        batch_size=128,
        lr=0.01,
        warmup_steps=0,
        schedule="cosine",
        optimizer="lamb",
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-6,
        weight_decay=0.1,
        clip_norm=1.0,
        momentum=0.9,
        layer_decay=1.0,
        ema_decay=0.0,
        frozen=(),
        eval_every=100,
        checkpoint_every=0,
        keep_checkpoints=2,
        best="",
        seed=0,
        strategy="default",
        tpu="",
        precision="float32",
        jit_compile=False,
        steps_per_execution=1,
    )
    return ConfigDict(section_settings("train", defaults, overrides))


def section_settings(section, defaults, overrides):
    """The settings of a section of a recipe, a dict: its defaults, some of them overridden.

    Raises:
      ValueError: overrides that are no settings of the section.
    """
    unknown = set(overrides) - set(defaults)
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))}: no {section} setting; known: {', '.join(defaults)}")
    return {**defaults, **overrides}


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


def literal_settings(settings):
    """A ConfigDict whose values the command line may replace by any Python literal: 2, None, (0, 3) or a bare word.

    For settings that are now a number, now None, now a word, such as those of a model.
    """
    return ConfigDict({key: config_dict.FieldReference(value, field_type=object) for key, value in settings.items()})


def check_train_settings(train):
    """Refuses train settings out of range.

    Raises:
      ValueError: naming the setting, its value and what is allowed.
    """
    allowed = {
        "steps": (train.steps >= 1, "at least 1"),
        "batch_size": (train.batch_size >= 1, "at least 1"),
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
    }
    check_section("train", train, allowed)


OPTIMIZERS = ("lamb", "adamw", "sgd")
SCHEDULES = ("cosine", "linear")
PRECISIONS = ("float32", "mixed_bfloat16", "float64", "auto")


def to_plain(config):
    """A config as plain dicts and lists, as JSON has them."""
    return json.loads(config.to_json())


def completed(plain):
    """A plain config, which a run may have written before some settings were there, with what they would have been."""
    plain = copy.deepcopy(plain)
    for key, value in LATER.items():
        *sections, setting = key.split(".")
        section = functools.reduce(dict.__getitem__, sections, plain)
        section.setdefault(setting, value)
    return plain


def changes(before, after, prefix=""):
    """{dotted key: (before, after)} of two plain configs, only where they differ."""
    differences = {}
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            differences |= changes(old, new, f"{prefix}{key}.")
        elif old != new:
            differences[prefix + key] = (old, new)
    return differences


def is_fixed(key):
    """Whether a dotted key must not change during a run."""
    return key not in FREE and any(key == fixed or key.startswith(fixed + ".") for fixed in FIXED)


def came_later(key, before):
    """Whether a dotted key is a setting of the model that a run's plain config lacks, since it was added after the run began."""
    section, _, setting = key.partition(".")
    return section == "model" and setting not in before.get(section, {})


def problem_with(arguments):
    """One sentence about what is wrong with a command line's recipe or its overrides, or None.

    The flags' own parser answers a recipe that is not there, refuses its argument or lacks a setting with a traceback.

    Args:
      arguments: the command line, as list of strings.
    """
    recipe = _value_of("config", arguments)
    if recipe is None:
        return None
    path, _, argument = recipe.partition(":")
    if not pathlib.Path(path).is_file():
        return f"--config={path}: there is no such recipe"
    get_config = runpy.run_path(path)["get_config"]
    try:
        config = get_config(argument) if argument else get_config()
    except ValueError as error:
        return f"--config={recipe}: {error}"
    known = list(_dotted_keys(config))
    sections = {key.rpartition(".")[0] for key in known}
    for given in arguments:
        key = given.lstrip("-").split("=", 1)[0].removeprefix("config.")
        if given.startswith("-") and given.lstrip("-").startswith("config.") and key not in {*known, *sections}:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean --config.{near[0]}? " if near else ""
            section = key.partition(".")[0]
            beside = [k for k in known if k.startswith(section + ".")] or known
            return f"--config.{key} is not a setting of {path}; {hint}Its settings there: {', '.join(beside)}"
    return None


def _value_of(flag, arguments):
    """The value given to a flag as --flag=value or --flag value, or None."""
    for given, following in zip(arguments, [*arguments[1:], None], strict=True):
        name, _, value = given.lstrip("-").partition("=")
        if given.startswith("-") and name == flag:
            return value or following
    return None


def _dotted_keys(config, prefix=""):
    for key in config:
        if isinstance(config[key], ConfigDict):
            yield from _dotted_keys(config[key], f"{prefix}{key}.")
        else:
            yield prefix + key
