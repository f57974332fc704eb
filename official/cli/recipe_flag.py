"""The flags --config and --data_dir of commands that read a recipe, and a parser that explains mistakes in them."""

import inspect
import pathlib
import runpy
import sys

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from official.config import EPOCHS_OF, data_name
from official.files.checked_json import read_json
from official.files.layout import CONFIG_JSON, printable
from official.zoo import did_you_mean

CONFIG = config_flags.DEFINE_config_file("config", None, "The recipe: a Python file with get_config().", lock_config=True)
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data set: the same as --config.data.dir.")
PACKAGES = pathlib.Path(__file__).parents[2]  # the checkout, or the environment's site-packages


def given_recipe(init=None, workdir=None):
    """The ConfigDict that --config and --data_dir give; None without --config.

    Epochs on the command line take the place of the recipe's steps, and steps that of its epochs. A recipe whose `get_config` has
    an argument `init` gets that of the command line, to choose the size of its model. The data of the command line take the place
    of the recipe's in `name`. A run that is resumed keeps its size and its name, also where `init` is gone.

    Args:
      init: in place of the recipe's `init`; None keeps it.
      workdir: folder of a run that may be resumed, or None.

    Raises:
      ValueError: --data_dir for a recipe without data.dir.
      OSError: `init` is the handle of a model in a repository that cannot be read.
    """
    config = CONFIG.value
    if config is None:
        return None
    given = dict(config_flags.get_override_values(flags.FLAGS["config"]))
    if init is not None:
        given["init"] = init
    path, _, argument = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    get_config = runpy.run_path(path)["get_config"]
    arguments = [argument] if argument else []
    before = _saved_config(workdir)
    if given.get("init") and "init" in inspect.signature(get_config).parameters:
        config = get_config(*arguments, init=str(workdir) if before else given["init"]).lock()
    of_recipe = data_name(get_config(*arguments).get("data", {}))
    config.update_from_flattened_dict(given)
    for pair in EPOCHS_OF.items():
        for new, old in (pair, pair[::-1]):
            if given.get(f"train.{new}") and f"train.{old}" not in given:
                config.train[old] = type(config.train[old])()
    if DATA_DIR.value is not None:
        if "dir" not in config.get("data", {}):
            raise ValueError(f"--data_dir={DATA_DIR.value} is not allowed: the recipe has no data.dir")
        config.data.dir = DATA_DIR.value
    if "name" not in given:
        if "name" in before:
            config.name = before["name"]
        elif of_recipe and config.name.endswith(f"_{of_recipe}"):
            config.name = config.name.removesuffix(of_recipe) + data_name(config.get("data", {}))
    return config


def _saved_config(workdir):
    """The config.json of a workdir, as nested dicts; {} where there is none that can be read."""
    try:
        return read_json(pathlib.Path(workdir) / CONFIG_JSON, keys={"name?": str})
    except (TypeError, OSError, ValueError):  # official.train then says what is wrong
        return {}


HELP = ("--help", "-help", "--helpshort", "-h", "-?")


def parse_flags(arguments, meanings=None):
    """Parses the command line by absl. A mistake in it is answered by one sentence, and help ends the process with 0.

    Args:
      arguments: the command line, as list of strings.
      meanings: function of the recipe's ConfigDict that returns {section: {setting: one line}}. With it, --help beside --config
        also prints the settings of the recipe.

    Returns:
      The name of the program, in a list.
    """
    problem = problem_with(arguments)
    if problem:
        sys.exit(f"error: {problem}")
    found = _with_found_recipe(arguments)
    asked = [given for given in found if given not in HELP]
    try:
        rest = flags.FLAGS(asked)
    except SystemExit:  # absl ends --helpfull and --helpxml with 1
        sys.exit(0)
    except flags.Error as error:
        sys.exit(printable(f"error: {error}"))
    if asked != found:
        _print_help(meanings)
        sys.exit(0)
    if rest[1:]:
        sys.exit(f"error: {rest[1]} is not allowed: arguments must be given as --NAME=VALUE")
    return rest


def _print_help(meanings):
    app.usage(shorthelp=True, writeto_stdout=True)
    if meanings and CONFIG.value is None:
        print("Together with --config=RECIPE, --help prints the settings of that recipe.")
    elif meanings:
        _print_settings(meanings)


def check_given(*holders):
    """Ends the process with one sentence if a flag of these absl.flags.FlagHolders is not given."""
    missing = [f"--{holder.name}" for holder in holders if holder.value is None]
    if missing:
        sys.exit(f"error: {' and '.join(missing)} must be given; --help prints all arguments")


def find_recipe(path):
    """The pathlib.Path of a recipe's file: as given, or otherwise in the folder of this project's packages.

    So a recipe has one name in the checkout and installed, in any working directory: vision/configs/digits.py.
    """
    given, own = pathlib.Path(path), PACKAGES / path
    return own if own.is_file() and not given.is_file() else given


def _with_found_recipe(arguments):
    """The command line with the path of `find_recipe`, which ml_collections then opens."""
    recipe = _value_of("config", arguments)
    if recipe is None:
        return arguments
    path, colon, argument = recipe.partition(":")
    found = f"{find_recipe(path)}{colon}{argument}"
    own = (recipe, f"config={recipe}")
    return [given.removesuffix(recipe) + found if given.lstrip("-") in own else given for given in arguments]


def _print_settings(meanings):
    from official.cli.recipe_help import settings_text  # which only --help needs

    try:
        config = given_recipe()
        text = settings_text(config, meanings(config))
    except (ValueError, OSError) as error:
        sys.exit(printable(f"error: {error}"))
    print(f"\nSettings of {flags.FLAGS['config'].config_filename}, each to be changed by --config.SETTING=VALUE:\n\n{text}")


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
    file = find_recipe(path)
    if not file.is_file():
        return f"--config={path}: no such file"
    get_config = runpy.run_path(str(file)).get("get_config")
    if get_config is None:
        return f"--config={path}: it is not a recipe, which has a function get_config()"
    given = [argument] if argument else []
    try:
        inspect.signature(get_config).bind(*given)
    except TypeError as error:
        return f"--config={recipe}: get_config: {error}"
    try:
        config = get_config(*given)
    except ValueError as error:
        return f"--config={recipe}: {error}"
    known = list(_dotted_keys(config))
    for given in arguments:
        key = given.lstrip("-").split("=", 1)[0].removeprefix("config.")
        if given.startswith("-") and given.lstrip("-").startswith("config.") and key not in known:
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
            return value if "=" in given else following
    return None


def _dotted_keys(config, prefix=""):
    for key in config:
        if isinstance(config[key], ConfigDict):
            yield from _dotted_keys(config[key], f"{prefix}{key}.")
        else:
            yield prefix + key
