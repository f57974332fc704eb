"""What a SavedModel of this project holds besides what TensorFlow wrote, by paths in its folder. Imports no TensorFlow."""

EXTRA = "assets.extra"  # a folder inside a SavedModel that TensorFlow leaves to others
CONFIG_FILE = f"{EXTRA}/config.json"  # the config of its run
FACTS_FILE = f"{EXTRA}/model.json"  # what the model is, and its metrics


def locate_assets(config, directory):
    """The plain config of CONFIG_FILE, with the present paths of the asset files that it names.

    Args:
      config: nested dicts and lists.
      directory: a pathlib.Path, the SavedModel's folder.
    """
    return map_strings(config, lambda value: str(directory / value) if value.startswith(f"{EXTRA}/") else value)


def map_strings(value, function):
    """Nested dicts and lists with every string replaced by the function of it."""
    if isinstance(value, dict):
        return {key: map_strings(item, function) for key, item in value.items()}
    if isinstance(value, list):
        return [map_strings(item, function) for item in value]
    return function(value) if isinstance(value, str) else value
