"""The harness, on cases that sleep."""

import json
import sys

import numpy as np
import pytest

from benchmarks import harness
from benchmarks.harness import Case, CaseFailed, measure, ratio_interval, table, write_json
from benchmarks.peers import environments
from benchmarks.scaling import TOKENS, exponent
from benchmarks.step import shares_of_peak

FILE = "tests/benchmarks/sleepers.py"


def sleepers():
    return [
        Case("short", FILE, "sleeper", dict(seconds=0.01)),
        Case("long", FILE, "sleeper", dict(seconds=0.03), note="three times as long"),
    ]


@pytest.fixture(scope="module")
def rows():
    return measure(sleepers(), rounds=5, warmup=1)


def test_ratio_to_the_first(rows):
    """sleep never returns early: a step takes at least its time, and the long one is the slower one in every round."""
    short, long = rows
    assert [row["name"] for row in rows] == ["short", "long"]
    assert len(short["seconds"]) == len(long["seconds"]) == 5
    assert min(short["seconds"]) >= 0.01 and min(long["seconds"]) >= 0.03
    assert short["ratio"] == 1 and short["ratio_interval"] == [1, 1]
    assert long["ratio"] == pytest.approx(long["median_seconds"] / short["median_seconds"])
    low, high = long["ratio_interval"]
    assert 1 < low <= long["ratio"] <= high


def test_facts_are_those_of_the_end(rows):
    """One warm-up step and five rounds."""
    assert [row["facts"] for row in rows] == [{"kept": 1.0, "steps": 6}] * 2
    assert all(row["peak_bytes"] > 2**20 for row in rows)


def test_table_and_json(rows, tmp_path, capsys):
    text = table(rows, ("kept", "steps"))
    lines = text.splitlines()
    assert lines[0].split() == ["median", "ms", "ratio", "95", "%", "peak", "MiB", "kept", "steps"]
    assert lines[2].startswith("long") and lines[2].endswith("6")
    assert lines[3] == "  long: three times as long"
    write_json(tmp_path / "folder" / "results.json", rows=rows)
    written = json.loads((tmp_path / "folder" / "results.json").read_text())
    assert written["rows"] == rows
    assert written["machine"].keys() == {"cpu", "cores", "python", "git_commit"}


@pytest.mark.parametrize(("function", "words"), [("stumbler", "the step failed"), ("unready", "there is no such library")])
def test_failed_case_is_named_with_its_last_output(function, words):
    with pytest.raises(CaseFailed, match=f"(?s)^bad one ended with code 1.*{words}"):
        measure([*sleepers(), Case("bad one", FILE, function)], rounds=1)


def test_rounds_rotate(monkeypatch):
    """Each case is first in turn, so that none always follows the same one."""
    order = []

    class Recorder:
        def __init__(self, case):
            self.case = case

        def step(self):
            order.append(self.case.name)
            return 1.0

        def finish(self):
            return {"facts": {}, "peak_bytes": 0}

        def kill(self):
            pass

    monkeypatch.setattr(harness, "_Process", Recorder)
    measure([Case(name, FILE, "sleeper") for name in "abc"], rounds=3, warmup=0)
    assert order == list("abcbcacab") or order == list("abccabbca")


def test_interval_of_equal_and_of_twice_the_time():
    """The interval covers the true ratio of noisy rounds and shrinks with their number."""
    random = np.random.default_rng(1)
    noise = 1 + 0.1 * random.random((2, 400))
    low, high = ratio_interval(2 * noise[0], noise[1])
    assert low < 2 < high and high - low < 0.06
    wide_low, wide_high = ratio_interval(2 * noise[0, :20], noise[1, :20])
    assert wide_high - wide_low > high - low


def test_exponent_of_a_power_law():
    assert exponent([3 * tokens**0.9 for tokens in TOKENS]) == pytest.approx(0.9)


def test_memory_is_that_of_the_case():
    """Not that of a parent that holds much more when it starts the case."""
    held = b"x" * (400 << 20)
    (row,) = measure([Case("small", FILE, "sleeper", dict(seconds=0.0))], rounds=1)
    assert 2**20 < row["peak_bytes"] < len(held) / 2


@pytest.mark.parametrize("python, isolated", [(None, True), (sys.executable, True), (sys.executable, False)])
def test_another_python_sees_this_checkout_if_it_may(monkeypatch, python, isolated):
    """None takes over this process's choice of Keras, which may be that of another TensorFlow."""
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "of this process")
    (row,) = measure([Case("other", FILE, "environment", python=python, isolated=isolated)], rounds=1)
    assert row["facts"]["sees"] == (python is None or not isolated)
    assert row["facts"]["keras"] != "of this process"


def test_share_of_peak_by_hand():
    """A model of 6 FLOP in 3 s where the peak does 10 in 1 s: a fifth. Half of 4 of them dropped: 4 FLOP, 4 / 30."""
    rows = [
        {"facts": {"kept": 1.0}, "median_seconds": 1.0},
        {"facts": {"flops": 6.0, "kept": 1.0}, "median_seconds": 3.0},
        {"facts": {"flops": 6.0, "expert flops": 4.0, "kept": 0.5}, "median_seconds": 3.0},
        {"facts": {"flops": 10.0, "kept": 1.0}, "median_seconds": 1.0},
    ]
    assert shares_of_peak(rows) == {"peak GFLOP/s": 10 / 1e9}
    assert rows[1]["facts"]["share of peak"] == pytest.approx(0.2)
    assert rows[2]["facts"]["share of peak"] == pytest.approx(4 / 30)
    assert "share of peak" not in rows[0]["facts"]


def test_a_peer_without_its_environment_is_left_out_and_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    peer = environments.GARDEN
    ours, theirs = Case("ours", FILE, "sleeper"), Case("theirs", peer.file, "moe_layer", python=str(peer.python))
    assert environments.available([ours, theirs]) == [ours]
    assert "sh benchmarks/peers/setup.sh garden" in capsys.readouterr().err
