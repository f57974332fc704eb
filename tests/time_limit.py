"""Fails a test without a marker that takes over 30 seconds, so that `make test` stays short: a pytest plugin.

Set-up and call count separately, and a fixture that several tests share counts for the first of them, except what is made inside
`uncounted`. What counts is processor time, of this process and of those that it waited for, since a busy machine stretches the
time on the clock.
"""

import contextlib
import os

import pytest

SECONDS = 30  # the heaviest set-ups take 20 on a quiet machine, and machines differ by half and more
MARKERS = ("process", "train", "convert", "kill", "size", "further")
SPENT = pytest.StashKey()  # of a test: {"setup" or "call": seconds of processor time}


def pytest_addoption(parser):
    parser.addini("time_limit", "seconds of processor time that a test without a marker may take", default=str(SECONDS))


_uncounted = [0.0]  # seconds


def _processor_time():
    """Seconds, of this process and of those that it waited for."""
    return sum(os.times()[:4]) - _uncounted[0]


@contextlib.contextmanager
def uncounted():
    """What is done inside does not count for any test, such as a run that tests of several files share."""
    begin = _processor_time()
    try:
        yield
    finally:
        _uncounted[0] += _processor_time() - begin


def _measured(item, when):
    begin = _processor_time()
    yield
    item.stash.setdefault(SPENT, {})[when] = _processor_time() - begin


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
    for when, spent in item.stash.get(SPENT, {}).items():
        if spent > limit:
            report.outcome = "failed"
            report.longrepr = (
                f"{item.nodeid} took {spent:.0f} s of processor time in its {when}. A test over {limit:g} s needs one of the "
                f"markers {', '.join(MARKERS)} (pyproject.toml), or less work."
            )
