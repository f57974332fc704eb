"""Fails a test without a marker that takes over 20 seconds, so that `make test` stays short: a pytest plugin.

Set-up and call count separately, and a fixture that several tests share counts for the first of them. What counts is processor
time, of this process and of those that it waited for, since a busy machine stretches the time on the clock. The clock counts for
tests that mostly wait, which have used less than a sixth of it, unless the machine is overloaded.
"""

import os
import time

import pytest

SECONDS = 20
MOSTLY_WAITING = 6
MARKERS = ("process", "train", "convert", "kill", "size")
SPENT = pytest.StashKey()  # of a test: {"setup" or "call": (seconds of processor time, seconds by the clock)}


def pytest_addoption(parser):
    parser.addini("time_limit", "seconds of processor time that a test without a marker may take", default=str(SECONDS))


def _is_overloaded():
    """Whether over twice as many tasks as processors want to run: then any test mostly waits."""
    return os.getloadavg()[0] > 2 * os.cpu_count()


def _now():
    return sum(os.times()[:4]), time.perf_counter()


def _measured(item, when):
    begin = _now()
    yield
    item.stash.setdefault(SPENT, {})[when] = tuple(end - start for start, end in zip(begin, _now(), strict=True))


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_setup(item):
    yield from _measured(item, "setup")


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_call(item):
    yield from _measured(item, "call")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """The last report of a test, that of its teardown, becomes an error: set-up and call have been reported as they were."""
    outcome = yield
    report = outcome.get_result()
    if not report.passed:
        item.stash[SPENT] = {}  # one report is enough
    if report.when != "teardown" or any(map(item.get_closest_marker, MARKERS)):
        return
    limit = float(item.config.getini("time_limit"))
    for when, (processors, clock) in item.stash.get(SPENT, {}).items():
        if processors > limit or (clock > limit and processors < clock / MOSTLY_WAITING and not _is_overloaded()):
            report.outcome = "failed"
            report.longrepr = (
                f"{item.nodeid} took {processors:.0f} s of processor time and {clock:.0f} s by the clock in its {when}. "
                f"A test over {limit:g} s needs one of the markers {', '.join(MARKERS)} (pyproject.toml), or less work."
            )
