"""Cases with known times."""

import importlib.util
import os
import time


def sleeper(seconds):
    facts = {"kept": 1.0, "steps": 0}

    def step():
        print("what a library prints does not disturb the answers")
        facts["steps"] += 1
        time.sleep(seconds)

    return step, facts


def stumbler():
    def step():
        raise RuntimeError("the step failed")

    return step, {}


def unready():
    raise ImportError("there is no such library")


def environment():
    """Does nothing; its facts are whether this checkout can be imported, and the choice of Keras."""
    keras = os.environ.get("TF_USE_LEGACY_KERAS")
    return lambda: None, {"sees": importlib.util.find_spec("widenet") is not None, "keras": keras}
