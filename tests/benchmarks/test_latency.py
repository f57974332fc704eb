"""What the cases of benchmarks.latency compute, and the command."""

import json
import sys

import numpy as np
import pytest

from benchmarks import latency
from benchmarks.runtime_cases import FILES, KINDS, _inputs, _opened, write_files

IMAGES = dict(depth=2, width=16, heads=2, ffn_dim=32, expert_dim=32, image_size=16, patch_size=8, classes=3)
TEXTS = dict(depth=2, width=16, heads=2, ffn_dim=32, expert_dim=32, vocab_size=100, max_length=16)


@pytest.mark.convert
@pytest.mark.further_cases
@pytest.mark.parametrize("name, settings", [("widenet_ti16", IMAGES), ("widenet_base_e4", TEXTS)])
def test_all_runtimes_compute_the_same(name, settings, tmp_path):
    """Of the same weights and inputs, float32 but for rounding; weights in int8 move the answers, by a few hundredths of them."""
    write_files(tmp_path, name, **settings)
    assert {path.name for path in tmp_path.iterdir()} == set(FILES.values())
    answers = []
    for kind in KINDS:
        call, specs = _opened(kind, tmp_path, name, settings)
        found = call(_inputs(specs, 5, 7))
        answers.append(found if isinstance(found, np.ndarray) else found["output_0"])
    expected, *same, quantized = answers
    assert expected.shape == (5, settings.get("classes", 2))
    for answer in same:
        np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-5)  # float32 rounds otherwise in every runtime
    assert 0 < np.abs(quantized - expected).max() < 0.05 * np.abs(expected).max()


def test_all_are_measured_and_written(tmp_path, monkeypatch, capsys):
    """The command with cases that sleep: a group for each model and batch, of all runtimes, the Keras call first."""
    monkeypatch.setattr(latency, "write_files", lambda folder, name, **settings: None)
    asked = []

    def sleepers(*arguments):
        asked.append(arguments[1:4])
        return [
            latency.Case(kind, "tests/benchmarks/sleepers.py", "sleeper", dict(seconds=0.001 * (1 + i)))
            for i, kind in enumerate(KINDS)
        ]

    real = latency.cases("folder", "widenet_b16", 32, 128, {})
    assert [row.name for row in real] == list(KINDS)
    monkeypatch.setattr(latency, "cases", sleepers)
    arguments = ["--models", "a", "b", "--batches", "1", "3", "--rounds=2", f"--json={tmp_path}/latency.json"]
    monkeypatch.setattr(sys, "argv", ["latency", *arguments])
    latency.main()
    assert asked == [("a", 1, 128), ("a", 3, 128), ("b", 1, 128), ("b", 3, 128)]
    written = json.loads((tmp_path / "latency.json").read_text())
    assert [(group["model"], group["batch"]) for group in written["latencies"]] == [("a", 1), ("a", 3), ("b", 1), ("b", 3)]
    assert [row["name"] for row in written["latencies"][-1]["rows"]] == list(KINDS)
    assert ([group["rounds"] for group in written["latencies"]], written["length"]) == ([2, 2, 2, 2], 128)
    assert "b, batch 3: 2 rounds" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["latency", *arguments, "--models", "b", "c", "--minutes=0"])
    latency.main()
    assert asked[4:] == [("c", 1, 128), ("c", 3, 128)]  # the others stand in the file
    written = json.loads((tmp_path / "latency.json").read_text())
    assert [group["rounds"] for group in written["latencies"]] == [2, 2, 2, 2, 1, 1]
    monkeypatch.setattr(sys, "argv", ["latency", *arguments, "--length=64"])
    with pytest.raises(SystemExit, match="has results for texts of 128 tokens"):
        latency.main()
