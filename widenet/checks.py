"""Refusals of wrong settings: each names the setting, the value and what is allowed."""

import difflib
import math


def refuse(setting, value, allowed):
    """Raises the one error of this package for a wrong setting.

    Raises:
      ValueError: always, saying "setting=value is not allowed: it must be allowed".
    """
    raise ValueError(f"{setting}={value!r} is not allowed: it must be {allowed}")


def check_count(setting, value, minimum=1, maximum=None, why=""):
    """Refuses anything but a Python int in [minimum, maximum]; `why` is added to the message."""
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if not is_integer or value < minimum or (maximum is not None and value > maximum):
        allowed = f"an integer of at least {minimum}" if maximum is None else f"an integer from {minimum} to {maximum}"
        refuse(setting, value, allowed + why)


def check_rate(setting, value):
    """Refuses anything but a probability in [0, 1)."""
    if not is_number(value) or not 0 <= value < 1:
        refuse(setting, value, "a number from 0 up to, not including, 1")


def check_not_negative(setting, value):
    """Refuses anything but a finite number of at least 0."""
    if not is_number(value) or not (math.isfinite(value) and value >= 0):
        refuse(setting, value, "a finite number of at least 0")


def check_positive(setting, value, or_none=""):
    """Refuses anything but a finite number above 0; `or_none` is added to the message if the caller allows something else."""
    if not is_number(value) or not (math.isfinite(value) and value > 0):
        refuse(setting, value, "a finite number above 0" + or_none)


def check_switch(setting, value):
    """Refuses anything but True and False."""
    if not isinstance(value, bool):
        refuse(setting, value, "True or False")


def check_choice(setting, value, allowed):
    """Refuses anything but one of `allowed`."""
    if value not in allowed:
        refuse(setting, value, "one of " + ", ".join(map(repr, allowed)))


def check_known(given, known, what):
    """Refuses the first key of the dict `given` that is not in `known`, and names the nearest one.

    Raises:
      ValueError: naming the key, its value and all known keys.
    """
    for key, value in given.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f"{key}={value!r} is not a {what}{hint}; known: {', '.join(known)}")


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)
