"""The flag that names a recipe, and its parser: what every command that takes --config shares."""

import sys

from absl import app
from ml_collections import config_flags

from official.config import problem_with

CONFIG = config_flags.DEFINE_config_file("config", None, "The recipe: a Python file with get_config().", lock_config=True)


def parse_flags(arguments):
    """absl's flag parser, with one sentence instead of a traceback for a wrong recipe or setting."""
    problem = problem_with(arguments)
    if problem:
        sys.exit(f"error: {problem}")
    return app.parse_flags_with_usage(arguments)
