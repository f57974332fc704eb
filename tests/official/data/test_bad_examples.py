"""Bad examples: refused by name, or skipped and counted once."""

import threading

import pytest
from absl import logging

from official.data.bad_examples import MAX_WARNINGS, BadExamples


def test_refuse():
    """One sentence: which example, what is wrong, and how to go on; it stays that of the first."""
    bad_examples = BadExamples("refuse")
    assert bad_examples.refusal is None
    with pytest.raises(ValueError, match=r"^cat/1\.jpg: it is empty \(data\.bad_examples='skip' leaves such examples out"):
        bad_examples.add("cat/1.jpg", "it is empty")
    with pytest.raises(ValueError, match=r"^cat/2\.jpg: it is empty"):
        bad_examples.add("cat/2.jpg", "it is empty")
    assert bad_examples.refusal.startswith("cat/1.jpg: it is empty")
    assert bad_examples.facts() == {"count": 0, "first": {}}


def test_skip_counts_once(monkeypatch):
    """Over all epochs; the first ones are told of as they are found, the others only counted."""
    warnings = []
    monkeypatch.setattr(logging, "warning", lambda message, *values: warnings.append(message % values))
    bad_examples = BadExamples("skip")
    for _ in range(3):
        for i in range(MAX_WARNINGS + 5):
            bad_examples.add(f"{i}.jpg", "it is empty")
    facts = bad_examples.facts()
    assert facts["count"] == MAX_WARNINGS + 5
    assert facts["first"] == {f"{i}.jpg": "it is empty" for i in range(MAX_WARNINGS)}
    assert warnings == [f"skipped {i}.jpg: it is empty" for i in range(MAX_WARNINGS)]
    assert bad_examples.refusal is None


def test_threads():
    """Input pipelines call from several; none is lost and none counts twice."""
    bad_examples = BadExamples("skip")

    def add():
        for i in range(200):
            bad_examples.add(str(i), "it is empty")

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bad_examples.facts()["count"] == 200


def test_unknown_policy():
    with pytest.raises(ValueError, match=r"^data\.bad_examples='ignore' is not allowed: it must be one of refuse, skip$"):
        BadExamples("ignore")
