"""What a SavedModel of ours holds besides what TensorFlow wrote, by the paths in its folder. Imports no TensorFlow."""

EXTRA = "assets.extra"  # a folder inside a SavedModel that TensorFlow leaves to others
CONFIG_FILE = f"{EXTRA}/config.json"  # its run's config
FACTS_FILE = f"{EXTRA}/model.json"  # what it is, and what it is worth
