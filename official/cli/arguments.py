"""Arguments that several commands share."""

import argparse


def add_model(parser, text, aliases=(), required=True, several=False):
    """Adds --model, the trained model that a command works on; it is `model` of the parsed arguments.

    Args:
      parser: an argparse.ArgumentParser.
      text: for --help.
      aliases: older spellings, such as "--handle", which do the same and are not in --help.
      required: whether the command needs it.
      several: whether it may be given more than once; then `model` is a list.
    """
    _add(parser, "--model", text, aliases, required, action="append" if several else "store")


def add_data_dir(parser, text, aliases=(), required=False):
    """Adds --data_dir, the folder of the data set; it is `data_dir` of the parsed arguments. Arguments as of `add_model`."""
    _add(parser, "--data_dir", text, aliases, required)


def _add(parser, name, text, aliases, required, action="store"):
    group = parser.add_mutually_exclusive_group(required=required)
    group.add_argument(name, help=text, action=action)
    for alias in aliases:
        group.add_argument(alias, dest=name.lstrip("-"), metavar=name.lstrip("-").upper(), help=argparse.SUPPRESS)


def add_task_modules(parser):
    """Adds --task_module; `task_modules` of the parsed arguments is a list of module names."""
    parser.add_argument(
        "--task_module",
        dest="task_modules",
        metavar="MODULE",
        action="append",
        default=[],
        help="module that may define the task; runs its code",
    )


def positive(text):
    """The argparse type of a whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: it must be a whole number, at least 1")
    return int(text)


def parse_with_settings(parser, fixed):
    """Parses a command line that may also override settings of a recipe; exits with an error for one that is not allowed.

    Args:
      fixed: {setting: reason}, of settings that the command chooses itself, such as {"train.seed": "the seeds are 0 to 4"}.

    Returns:
      (the parsed arguments, list of "--config.SETTING=VALUE").
    """
    given, settings = parser.parse_known_args()
    for setting in settings:
        if not setting.startswith("--config.") or "=" not in setting:
            parser.error(f"{setting} is not allowed: settings are given as --config.SETTING=VALUE")
        reason = fixed.get(setting.removeprefix("--config.").partition("=")[0])
        if reason:
            parser.error(f"{setting} is not allowed: {reason}")
    return given, settings


def parse_with_data(parser, arguments=None):
    """Parses a command line that may also override the `data` settings of a model's recipe; says so in --help.

    Args:
      arguments: list of strings; None for those of this process.

    Returns:
      (the parsed arguments, {setting: text} of its arguments --config.data.SETTING=VALUE).
    """
    parser.epilog = "Settings of the recipe's data may be changed: --config.data.SETTING=VALUE"
    given, more = parser.parse_known_args(arguments)
    data = {}
    for argument in more:
        key, is_setting, value = argument.lstrip("-").partition("=")
        section, _, setting = key.rpartition(".")
        if not is_setting or section != "config.data":
            parser.error(f"unrecognized arguments: {' '.join(more)}")
        data[setting] = value
    return given, data
