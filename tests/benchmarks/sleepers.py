"""Cases with known times."""

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
