"""Exports in place of others, by processes that are killed."""

import pytest

from tests.official.kills import found_after_kills


@pytest.mark.kill
def test_killed_at_random():
    """By SIGKILL, twenty times: the old model or the new one, whole."""
    found = found_after_kills("at_random", "tests.official.killed_exports:exporting", timeout=1200)
    assert len(found) == 21
    assert "old" in found[:-1]
    assert found[-1] == "new"
