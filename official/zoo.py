"""Tables of models by name: what every zoo answers to a name or a setting that it does not have."""

import difflib


def check_model(name, models):
    """Refuses a name that is not among `models`.

    Raises:
      ValueError: naming the nearest one, and all.
    """
    if name not in models:
        raise ValueError(f"name={name!r} is not a model{_did_you_mean(name, models)}; known: {', '.join(models)}")


def override(name, settings, overrides):
    """The settings of a model with some of them changed.

    Args:
      name: of the model.
      settings: dict of all its settings.
      overrides: dict of some of them.

    Raises:
      ValueError: for the first override that is not among the settings, naming the nearest one, and all.
    """
    for key, value in overrides.items():
        if key not in settings:
            known = ", ".join(sorted(settings))
            raise ValueError(f"{key}={value!r} is not a setting of {name}{_did_you_mean(key, settings)}; known: {known}")
    return {**settings, **overrides}


def _did_you_mean(word, known):
    near = difflib.get_close_matches(str(word), list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
