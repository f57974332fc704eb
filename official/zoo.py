"""Unknown names: refusals that name the nearest known one, for models, settings and handles."""

import difflib


def check_model(name, models):
    """Refuses the name of a model that is not among `models`.

    Raises:
      ValueError: naming the nearest one, and all.
    """
    if name not in models:
        raise ValueError(f"name={name!r} is not a model{did_you_mean(name, models)}; known: {', '.join(models)}")


def override(name, settings, overrides):
    """Settings with some of them changed.

    Args:
      name: of what they belong to: a model, or a section of a recipe.
      settings: dict of all of them.
      overrides: dict of some of them.

    Raises:
      ValueError: for the first override that is not among the settings, naming the nearest one, and all.
    """
    for key, value in overrides.items():
        if key not in settings:
            known = ", ".join(sorted(settings))
            raise ValueError(f"{key}={value!r} is not a setting of {name}{did_you_mean(key, settings)}; known: {known}")
    return {**settings, **overrides}


def did_you_mean(word, known):
    """Text such as " (did you mean depth?)", with the nearest of the known words; "" where none is near."""
    near = difflib.get_close_matches(str(word), list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
