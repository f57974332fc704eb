"""The comparison of pretrained and from scratch, by hand, and that both get the same and no finished run is done again."""

import json
import math

import pytest

from benchmarks import pretrained


def test_compared_by_hand():
    """Differences 0.1, 0.3 and 0.2: the mean 0.2, the sample standard deviation 0.1. A seed without its pair does not count."""
    accuracies = {("pretrained", 0): 0.6, ("pretrained", 1): 0.9, ("pretrained", 2): 0.7, ("pretrained", 3): 0.0}
    accuracies |= {("from scratch", 0): 0.5, ("from scratch", 1): 0.6, ("from scratch", 2): 0.5}
    runs = [dict(start=start, seed=seed, accuracy=accuracy) for (start, seed), accuracy in accuracies.items()]
    found = pretrained.compared(runs[::-1])
    assert found["paired"] == {"pretrained": [0.6, 0.9, 0.7], "from scratch": [0.5, 0.6, 0.5]}
    assert found["difference"] == pytest.approx(0.2)
    assert found["standard_error"] == pytest.approx(0.1 / math.sqrt(3))
    assert found["means"]["from scratch"] == pytest.approx(1.6 / 3)
    assert pretrained.compared(runs[3:4]) == {}


def test_majority():
    assert pretrained.majority(["pos", "neg", "pos", "pos"]) == 0.75


def test_command(tmp_path, monkeypatch, capsys):
    """Killed in the third run: the finished ones stay; both starts get the settings and the seed, one of them the model.

    Texts may have ends of lines in them that JSON does not count as such.
    """
    done = []

    def train_and_evaluate(config, workdir, arguments, split, cores):
        if len(done) == 2 and not killed:
            raise KeyboardInterrupt
        done.append((config, workdir.name, arguments, split))
        folder = workdir / "evaluation" / split
        folder.mkdir(parents=True)
        labels = [
            ("one\x85and", "a"),
            ("two\u2028lines", "b"),
            ("", "a"),
            ("", "a"),
        ]
        lines = [json.dumps(dict(text=text, label=label), ensure_ascii=False) for text, label in labels]
        (folder / "predictions.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        accuracy = 0.75 if "pretrained" in workdir.name else 0.5
        return dict(step=3, wall_seconds=60.0, git_commit="0123456"), dict(accuracy=accuracy)

    file = tmp_path / "results" / "pretrained.json"
    given = [f"--init={tmp_path / 'run'}", f"--workdir={tmp_path / 'runs'}", f"--json={file}", "--seeds=2"]
    monkeypatch.setattr("sys.argv", ["pretrained", "--config=recipe.py", *given, "--config.data.vocabulary=v.txt"])
    monkeypatch.setattr(pretrained, "train_and_evaluate", train_and_evaluate)
    killed = []
    with pytest.raises(KeyboardInterrupt):
        pretrained.main()
    killed.append(True)
    pretrained.main()
    names = [name for _, name, *_ in done]
    assert names == ["pretrained-0", "from_scratch-0", "pretrained-1", "from_scratch-1"]
    both = ["--config.data.vocabulary=v.txt"]
    assert done[2] == ("recipe.py", "pretrained-1", [f"--config.init={tmp_path / 'run'}", "--config.train.seed=1", *both], "test")
    assert done[3] == ("recipe.py", "from_scratch-1", ["--config.train.seed=1", *both], "test")
    found = json.loads(file.read_text())
    assert (found["difference"], found["standard_error"], found["majority"]) == (0.25, 0.0, 0.75)
    assert "+0.2500, its standard error 0.0000" in capsys.readouterr().out


@pytest.mark.parametrize("argument", ["--learning_rate=1", "--config.train.seed=7", "--config.init=other"])
def test_refuses_other_arguments(argument, monkeypatch, capsys):
    """What is no setting, and what would make the two runs of a pair alike or all pairs the same."""
    monkeypatch.setattr("sys.argv", ["x", "--config=a", "--init=b", "--workdir=c", "--json=d", argument])
    with pytest.raises(SystemExit):
        pretrained.main()
    assert f"{argument} is not allowed" in capsys.readouterr().err
