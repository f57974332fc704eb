"""The settings of a recipe as text, for --help."""

from ml_collections import ConfigDict

MEANINGS_FROM = 34  # column in which the meanings begin, unless a value is longer
GENERAL = {
    "name": "name of the model in reports and exports",
    "init": "trained model to start from: a run, checkpoint, SavedModel or handle ('': fresh weights)",
    "task": "the class that implements the task, module:Class",
}


def settings_text(config, meanings):
    """All settings of a recipe with their values and meanings, a line each, so that grep finds all of one.

    Args:
      config: the recipe's ConfigDict, with what the command line has changed.
      meanings: {section of the recipe: {setting: one line}}.
    """
    sections = [key for key in config if isinstance(config[key], ConfigDict)]
    general = {key: config[key] for key in config if key not in sections}
    parts = [_lines("", general, GENERAL)]
    for section in _in_order(sections, meanings):
        values = {key: config[section][key] for key in config[section]}
        parts.append(_lines(f"{section}.", values, meanings.get(section, {})))
    return "\n\n".join(parts)


def _in_order(names, known):
    """The names, those that are known first and in that order."""
    return [*(name for name in known if name in names), *(name for name in names if name not in known)]


def _lines(prefix, values, meanings):
    named = ((f"{prefix}{key}={_literal(values[key])}", meanings.get(key, "")) for key in _in_order(values, meanings))
    return "\n".join(_line(*line) for line in named)


def _literal(value):
    return repr(value.to_dict() if isinstance(value, ConfigDict) else value)


def _line(setting, meaning):
    return f"  {setting:{MEANINGS_FROM - 4}}  {meaning}".rstrip()
