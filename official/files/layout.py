"""Names of what runs and exported models consist of, and what a command may replace. Imports no TensorFlow."""

import os
import re

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")

# In the workdir of a run.
CONFIG_JSON = "config.json"  # the recipe, as it was given
LOCK = ".lock"  # while a process trains there; of several workers the chief has it, and the others ".lock-worker-1" and so on
WORKER = ".worker-"  # and a number, a folder: what another worker than the chief writes
PRECISION_TXT = "precision.txt"  # what train.precision="auto" chose
METRICS_CSV = "metrics.csv"  # one row an evaluation
EXPERT_LOAD_CSV = "expert_load.csv"  # named after the metric "expert_load", as the table of every metric that has one
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"  # in every checkpoint of TensorFlow 2 and none of TensorFlow 1
SUMMARY_JSON = "summary.json"  # of a finished run
CURVES_PNG = "curves.png"
TENSORBOARD = "tensorboard"
CHECKPOINTS = "checkpoints"
BEST_CHECKPOINT = "checkpoints-best"  # with train.best
SAVED_MODEL = "saved_model"  # what the run exports at its end
EVALUATION = "evaluation"  # evaluation/SPLIT/ has what official.evaluate wrote
METRICS_JSON = "metrics.json"  # in a folder that official.evaluate wrote

# In the folder of a SavedModel, besides what TensorFlow wrote.
EXTRA = "assets.extra"  # a folder inside a SavedModel that TensorFlow leaves to others
CONFIG_FILE = f"{EXTRA}/config.json"  # the config of its run
FACTS_FILE = f"{EXTRA}/model.json"  # what the model is, and its metrics
# What TensorFlow writes into a SavedModel, and our folder beside it.
SAVED_MODEL_FILES = {"saved_model.pb", "fingerprint.pb", "keras_metadata.pb", "variables", "assets", EXTRA}


def check_output(path, is_own, allowed, setting="--output"):
    """Refuses an output that would replace something else.

    Args:
      path: a pathlib.Path; a new path and an empty folder are always allowed.
      is_own: whether what is at the path may be replaced.
      allowed: what may be at the path, for the message.
      setting: what the user calls the path, for messages.

    Raises:
      ValueError: names the path.
    """
    is_new = not os.path.lexists(path) or (path.is_dir() and not any(path.iterdir()))
    if not (is_new or is_own):
        raise ValueError(f"{setting}={printable(path)} is not allowed: it must be a new path or {allowed}")


def is_export(folder):
    """Whether a folder holds a SavedModel of this project and nothing else."""
    return (folder / FACTS_FILE).is_file() and {path.name for path in folder.iterdir()} <= SAVED_MODEL_FILES


def printable(text):
    """A path or a text from elsewhere as text that any terminal and file can take, and that cannot steer a terminal.

    Bytes that are not UTF-8 become escapes such as \\udcff, and so do control characters other than tab and line end, and the
    marks that reverse the direction of writing.
    """
    text = os.fspath(text).encode("utf-8", "backslashreplace").decode()
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


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
