"""The table of variants, by hand, and that no finished run is done again."""

import json
import os
import threading

import pytest

from benchmarks import variants


def test_rows_by_hand():
    runs = [
        dict(variant="", seed=1, accuracy=0.9, parameters=10, minutes=3.0),
        dict(variant="", seed=0, accuracy=0.8, parameters=10, minutes=5.0),
        dict(variant="vit", seed=0, accuracy=0.5, parameters=20, minutes=4.0),
    ]
    recipe, vit = variants.rows_of(runs, ["", "no_moe", "vit"])
    assert recipe["accuracies"] == [0.8, 0.9]
    assert (recipe["mean"], recipe["spread"]) == (pytest.approx(0.85), pytest.approx(0.1))
    assert (recipe["variant"], recipe["minutes"]) == ("the recipe", 4.0)
    assert (vit["mean"], vit["spread"], vit["parameters"]) == (0.5, 0, 20)


def test_goes_on_where_it_was(tmp_path, monkeypatch, capsys):
    """Killed in the third run: the two finished ones stay as they are, and only the others are done."""
    done = []

    def result(config, seed, workdir, cores):
        if len(done) == 2 and not killed:
            raise KeyboardInterrupt
        done.append((config, seed, workdir.name))
        return dict(accuracy=0.5 + 0.1 * seed, loss=1.0, parameters=7, minutes=1.0)

    file = tmp_path / "results" / "variants.json"
    arguments = ["variants", "--config=recipe.py:15", f"--workdir={tmp_path}", f"--json={file}", "--variants=,vit", "--seeds=2"]
    monkeypatch.setattr("sys.argv", arguments)
    monkeypatch.setattr(variants, "result", result)
    killed = []
    with pytest.raises(KeyboardInterrupt):
        variants.main()
    killed.append(True)
    variants.main()
    assert done == [
        ("recipe.py:15", 0, "recipe-0"),
        ("recipe.py:15,vit", 0, "vit-0"),
        ("recipe.py:15", 1, "recipe-1"),
        ("recipe.py:15,vit", 1, "vit-1"),
    ]
    rows = json.loads(file.read_text())["variants"]
    assert [row["mean"] for row in rows] == pytest.approx([0.55, 0.55])
    assert "vit" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize(
    "content, said", [("", "is not JSON: it is empty"), ("[" * 100_000, "is not JSON: it is nested"), ("3", "is not allowed")]
)
def test_a_damaged_file_of_results(tmp_path, monkeypatch, content, said):
    """It stays as it is, and nothing is run."""
    file = tmp_path / "variants.json"
    file.write_text(content)
    monkeypatch.setattr("sys.argv", ["variants", "--config=recipe.py", f"--workdir={tmp_path}", f"--json={file}"])
    monkeypatch.setattr(variants, "result", None)
    with pytest.raises(SystemExit, match=f"^error: {file} {said}"):
        variants.main()
    assert file.read_text() == content


def test_two_at_a_time(tmp_path, monkeypatch):
    """Each waits for the other to be there, on half of the cores."""
    barrier = threading.Barrier(2, timeout=60)

    def result(config, seed, workdir, cores):
        assert cores == max(1, os.cpu_count() // 2)
        barrier.wait()
        return dict(accuracy=0.5, loss=1.0, parameters=7, minutes=1.0)

    file = tmp_path / "variants.json"
    arguments = ["variants", "--config=recipe.py", f"--workdir={tmp_path}", f"--json={file}", "--variants=", "--seeds=4"]
    monkeypatch.setattr("sys.argv", [*arguments, "--parallel=2"])
    monkeypatch.setattr(variants, "result", result)
    variants.main()
    assert sorted(run["seed"] for run in json.loads(file.read_text())["runs"]) == [0, 1, 2, 3]
