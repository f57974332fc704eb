"""What the arguments of several commands have in common."""

import argparse


def positive(text):
    """The type of an argument that counts something."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: it must be a whole number, at least 1")
    return int(text)


def parse_with_settings(parser, fixed):
    """Parses a command line with settings of a recipe besides, which end it with an error where they are not allowed.

    Args:
      fixed: {setting: why}, of settings that the command gives itself, such as {"train.seed": "the seeds are 0 to 4"}.

    Returns:
      (the parsed arguments, list of "--config.SETTING=VALUE").
    """
    given, settings = parser.parse_known_args()
    for setting in settings:
        if not setting.startswith("--config.") or "=" not in setting:
            parser.error(f"{setting} is not allowed: settings are given as --config.SETTING=VALUE")
        why = fixed.get(setting.removeprefix("--config.").partition("=")[0])
        if why:
            parser.error(f"{setting} is not allowed: {why}")
    return given, settings
