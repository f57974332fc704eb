"""The flags --config and --data_dir of commands that read a recipe, and a parser that explains mistakes in them."""

import pathlib
import runpy
import sys

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from official.zoo import did_you_mean

CONFIG = config_flags.DEFINE_config_file("config", None, "The recipe: a Python file with get_config().", lock_config=True)
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data set: the same as --config.data.dir.")


def given_recipe():
    """The ConfigDict that --config and --data_dir give; None without --config.

    Raises:
      ValueError: --data_dir for a recipe without data.dir.
    """
    config = CONFIG.value
    if config is not None and DATA_DIR.value is not None:
        if "dir" not in config.get("data", {}):
            raise ValueError(f"--data_dir={DATA_DIR.value} is not allowed: the recipe has no data.dir")
        config.data.dir = DATA_DIR.value
    return config


def parse_flags(arguments):
    """absl's flag parser, with one sentence instead of a traceback for a wrong recipe or setting."""
    problem = problem_with(arguments)
    if problem:
        sys.exit(f"error: {problem}")
    return app.parse_flags_with_usage(arguments)


def problem_with(arguments):
    """A sentence on why a command line's recipe or an override of it is invalid; None where both are valid.

    ml_collections answers a missing recipe, a refused argument and an unknown setting with a traceback.

    Args:
      arguments: the command line, as list of strings.
    """
    recipe = _value_of("config", arguments)
    if recipe is None:
        return None
    path, _, argument = recipe.partition(":")
    if not pathlib.Path(path).is_file():
        return f"--config={path}: no such file"
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
            section = key.partition(".")[0]
            beside = [k for k in known if k.startswith(section + ".")] or known
            near = did_you_mean(key, known)
            return f"--config.{key} is not a setting of {path}{near}; its settings there: {', '.join(beside)}"
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
