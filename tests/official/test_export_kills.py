"""Exports in place of others, by processes that are killed or have no space left."""

import pytest

from tests.official.killed_exports import export
from tests.official.kills import found_after_kills
from tests.official.tiny import full_disk


@pytest.mark.kill
def test_killed_at_random():
    """By SIGKILL, twenty times: the old model or the new one, whole."""
    found = found_after_kills("at_random", "tests.official.killed_exports:exporting", timeout=1200)
    assert len(found) == 21
    assert "old" in found[:-1]
    assert found[-1] == "new"


def test_full_disk(tmp_path):
    """One sentence, and nothing is left of the new model."""
    with full_disk(), pytest.raises(OSError, match=r"/saved_model could not be written: .*saved_model\.partial"):
        export(tmp_path / "saved_model", 2.0)
    assert not list(tmp_path.iterdir())
