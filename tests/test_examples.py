"""The scripts of examples/, in a folder that has nothing of ours, with an installed wheel."""

import json
import re

import pytest

from tests.installed import install, run
from tests.official.tiny import ROOT


@pytest.fixture
def printed_by(wheel, venv, tmp_path):
    """Function of an example's name: runs it in the folder `tmp_path`/work and returns what it prints."""
    install(venv, wheel)
    work = tmp_path / "work"
    work.mkdir()

    def printed_by(name):
        assert re.findall(r"^# %% (\S)", (ROOT / "examples" / name).read_text(), re.MULTILINE)
        return run(venv / "bin/python", ROOT / "examples" / name, cwd=work).stdout

    return printed_by


def percentage(text, printed):
    return float(re.search(rf"([\d.]+)% {text}", printed)[1])


@pytest.mark.process
def test_photos(printed_by, tmp_path):
    """It learns, where guessing gets a tenth; all test photos are answered, and the nearest photos are mostly of one class."""
    printed = printed_by("photos.py")
    assert percentage("of 360 test photos are right", printed) > 70
    answers = (tmp_path / "work/runs/photos/answers.jsonl").read_text().splitlines()
    assert len(answers) == 360
    assert len(json.loads(answers[0])["probabilities"]) == 10
    nearest = dict(re.findall(r"'(digit_\d)': (\d)", printed.splitlines()[-1]))
    assert max(map(int, nearest.values())) >= 3
    assert (tmp_path / "work/runs/photos/evaluation/test/confusion_matrix.png").exists()


@pytest.mark.process
def test_keras_script(printed_by):
    """Chance is a tenth, and a half for even or odd; the exported model answers as trained."""
    printed = printed_by("keras_script.py")
    assert percentage("of the digits are right after loading", printed) > 70
    assert percentage("are even or odd as they should", printed) > 70
    assert percentage("of the digits are like their neighbors", printed) > 70
    predicted, labels = re.search(r"predicted \[(.*)\] labels \[(.*)\]", printed).groups()
    assert sum(p == label for p, label in zip(predicted.split(), labels.split(), strict=True)) >= 6


@pytest.mark.process
def test_reviews(printed_by, tmp_path):
    """The words decide, and both new texts have them."""
    printed = printed_by("reviews.py")
    metrics = json.loads((tmp_path / "work/runs/reviews/evaluation/test/metrics.json").read_text())
    assert metrics["examples"] == 112
    assert metrics["metrics"]["accuracy"] > 0.9
    assert re.search(r"^new\.csv:2 positive \{", printed, re.MULTILINE)
    assert re.search(r"^new\.csv:3 negative \{", printed, re.MULTILINE)
    assert (tmp_path / "work/models/reviews/1/saved_model.pb").exists()
    assert "{'labels': 'negative'" in printed.splitlines()[-1]
