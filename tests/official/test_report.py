"""The page that compares runs: figures by hand, runs of any age and state, and nothing in it that would run or be loaded."""

import html.parser
import json
import sys

import pytest

from official import config as configs
from official import report
from official.comparison.page import warnings
from official.comparison.runs import grouped, read_runs, setting_differences
from official.files.tables import Table

VOID = {"meta", "img", "br", "line", "circle", "polyline", "image"}


def write_run(workdir, accuracy=0.5, finished=True, summary=None, experts=0, rows=2, **settings):
    """A run of `rows` evaluations, one each 100 steps of 8 images at 40 images a second: 20 seconds each."""
    workdir.mkdir(parents=True)
    train = {**configs.defaults_of(configs.TRAIN), "batch_size": 8, "steps": 200, **settings}
    config = dict(name="the_model", init="", task="a.b:C", model=dict(width=16), data=dict(name="digits"), train=train)
    (workdir / "config.json").write_text(json.dumps(config))
    if rows:
        table, load = Table(workdir / "metrics.csv"), Table(workdir / "expert_load.csv")
        for number in range(1, rows + 1):
            values = dict(loss=1 / number, accuracy=accuracy, val_loss=2 / number, val_accuracy=accuracy * number / rows)
            table.append([dict(step=100 * number, epoch=number, **values, lr=0.1, images_per_second=40.0)])
            for block in range(2 if experts else 0):
                shares = {f"expert_{e}": float(e == 0) for e in range(experts)}
                load.append([dict(step=100 * number, split="train", block=block, **shares, dropped=0.0, balance=1.0)])
    if finished:
        metrics = dict(val_loss=1.0, val_accuracy=accuracy)
        facts = dict(step=200, exported_step=200, metrics=metrics, parameters=1234, unit="images", wall_seconds=65.0)
        (workdir / "summary.json").write_text(json.dumps({**facts, **(summary or {})}))
    return workdir


class Page(html.parser.HTMLParser):
    """Checks that the elements of a page are closed, and collects its text and its attributes."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def page_of(tmp_path, *workdirs):
    output = tmp_path / "pages/page.html"
    report.write_report(workdirs, output)
    text = output.read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    addresses = [value for name, value in page.attributes if name in ("src", "href", "srcset", "action")]
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    return text, page


def test_seeds_are_one_row(tmp_path):
    """The mean, the least and the largest of the finished runs, by hand; the settings that differ; time from the speed."""
    seeds = [write_run(tmp_path / f"seed-{seed}", accuracy=value, seed=seed) for seed, value in enumerate([0.5, 0.8, 0.95])]
    unfinished = write_run(tmp_path / "seed-3", accuracy=0.1, seed=3, finished=False, rows=1)
    other = write_run(tmp_path / "other", accuracy=0.6, lr=0.5, experts=2)
    text, page = page_of(tmp_path, *seeds, unfinished, other)
    assert "seed-0 to seed-3, 4 runs" in page.text
    assert "<td>3 of 4</td><td>200</td>" in text
    assert '<td>0.75<div class="faint">0.5 to 0.95</div></td>' in text
    groups = grouped(read_runs([*seeds, unfinished, other]))
    assert setting_differences(groups) == {"train.lr": ["0.01", "0.5"]}
    assert groups[0].runs[0].seconds() == [20, 40]
    assert [warnings(run) for run in groups[0].runs[:3]] == [[], [], []]
    assert warnings(groups[1].runs[0]) == [
        "2 of 4 experts, 2 in each of 2 blocks, got less than a tenth of the balanced share 0.5 in training at the end: "
        "of block 0, expert 1 got 0"
    ]
    (warning,) = warnings(groups[0].runs[3])
    assert warning.startswith("unfinished: the last evaluation is that of step 100 of 200 steps, from 2")
    # loss and accuracy over steps and over time, learning rate, speed; the load of one run
    assert page.tags.count("svg") == 7
    assert [title for title in page.text if title.endswith(" of training")] == ["seconds of training"] * 2


def test_evaluations_of_the_exported_step(tmp_path):
    workdir = write_run(tmp_path / "run")
    for split, step in (("test", 200), ("validation", 100)):
        folder = workdir / "evaluation" / split
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps(dict(split=split, step=step, metrics=dict(f1=0.25, examples=3))))
    (run,) = read_runs([workdir])
    assert run.result() == {"validation loss": 1.0, "validation accuracy": 0.5, "test f1": 0.25}


def test_what_may_be_wrong_with_a_run(tmp_path):
    bad = dict(count=3, first={"a<b>.jpg": "not an image"})
    workdir = write_run(tmp_path / "run", summary=dict(bad_examples=bad), rows=4)
    table = Table(workdir / "metrics.csv", 400)
    table.append([dict(step=500, loss=1.0, dropped=0.3, val_loss=0.6, images_per_second=10.0)])  # `dropped` is no column
    (run,) = read_runs([workdir])
    assert warnings(run) == [
        "3 images were skipped as bad, such as a<b>.jpg: not an image",
        "the validation loss has risen from 0.5 at step 400 to 0.6",
        "the last steps were slow: 10 a second, and 40 in the median",
    ]
    run.rows[-1].update(dropped=0.3, loss=float("nan"))
    assert "30% of the assignments to experts were dropped in training at the end" in warnings(run)
    assert "the loss is not finite from step 500 on" in warnings(run)
    twice = write_run(tmp_path / "again")
    text, _ = page_of(tmp_path, twice, write_run(tmp_path / "twice"), twice)
    assert "<b>again, twice</b>: some of these runs have the same settings and the same seed" in text


def test_runs_of_any_age_and_state(tmp_path):
    """A run that has only begun, one with rows that were cut off, and one of a version without most of the settings and facts."""
    begun = write_run(tmp_path / "begun", finished=False, rows=0)
    torn = write_run(tmp_path / "torn", finished=False, experts=3)
    metrics, load = (torn / name for name in ("metrics.csv", "expert_load.csv"))
    metrics.write_bytes(metrics.read_bytes() + b"300,3,0.4")
    load.write_bytes(load.read_bytes() + b"300,train,0,1.0,0.0,0.0,0.0,1.0\n300,train,1,0.5")
    old = write_run(tmp_path / "old", summary=dict(wall_seconds=None))
    config = json.loads((old / "config.json").read_text())
    for setting in configs.LATER:
        if setting.startswith("train."):
            del config["train"][setting.removeprefix("train.")]
    (old / "config.json").write_text(json.dumps(config))
    runs = read_runs([begun, torn, old])
    assert [len(run.rows) for run in runs] == [0, 2, 2]
    assert runs[1].load[0] == [100, 200]
    assert warnings(runs[0]) == ["unfinished, and not evaluated yet"]
    page_of(tmp_path, begun)
    text, _ = page_of(tmp_path, begun, torn, old)
    assert "train." not in text.partition("Settings that differ")[2]  # what `old` lacks has the defaults


def test_text_of_a_run_stays_text(tmp_path):
    """Names, settings, metrics and reasons come from files: none of them becomes markup."""
    attack = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    workdir = write_run(tmp_path / "<img src=x onerror=alert(2)>", summary=dict(unit=attack, git_commit=attack, precision=attack))
    for file in ("config.json", "summary.json"):
        content = json.loads((workdir / file).read_text()) | {
            "name": attack,
            "bad_examples": dict(count=1, first={attack: attack}),
        }
        content.setdefault("train", {})["optimizer"] = attack
        content["versions"] = dict(tensorflow=attack)
        (workdir / file).write_text(json.dumps(content))
    metrics = workdir / "metrics.csv"
    metrics.write_text(metrics.read_text().replace("accuracy", '"a<b onload=""x"">&amp;"').replace("lr", attack.replace('"', "")))
    for workdirs in ([workdir], [workdir, write_run(tmp_path / "other")]):
        text, page = page_of(tmp_path, *workdirs)
        assert "img" not in page.tags
        assert "&lt;script&gt;" in text


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "it must be the workdir of a run, and it has no config.json"),
        ("{", "config.json is not JSON"),
        ("[" * 100_000, "config.json is not JSON"),
        ("[]", "config.json is not allowed: it must hold a JSON object"),
    ],
    ids=["empty", "cut off", "deep", "list"],
)
def test_wrong_workdir_is_one_sentence(tmp_path, monkeypatch, content, message):
    good = write_run(tmp_path / "good")
    (tmp_path / "bad").mkdir()
    if content is not None:
        (tmp_path / "bad/config.json").write_text(content)
    monkeypatch.setattr(sys, "argv", ["report", f"--workdir={good}", str(tmp_path / "bad"), f"--output={tmp_path / 'page.html'}"])
    with pytest.raises(SystemExit) as ended:
        report.main()
    assert ended.value.code.startswith("error: ") and message in ended.value.code and str(tmp_path / "bad") in ended.value.code
    assert not (tmp_path / "page.html").exists()


def test_command(tmp_path, monkeypatch, capsys):
    """Workdirs follow --workdir or are given again; an own page is replaced, another file is not."""
    runs = [str(write_run(tmp_path / name, lr=lr)) for name, lr in (("a[1]", 0.1), ("b", 0.2), ("c", 0.3))]
    output = tmp_path / "page.html"
    for arguments in ([f"--workdir={runs[0]}", *runs[1:]], [f"--workdir={run}" for run in runs]):
        monkeypatch.setattr(sys, "argv", ["report", *arguments, f"--output={output}"])
        report.main()
        assert capsys.readouterr().out == f"{output}\n"
        assert "<title>3 runs</title>" in output.read_text()
    output.write_text("mine")
    with pytest.raises(SystemExit, match="is not allowed: it must be a new path or a page of this command"):
        report.main()
    assert output.read_text() == "mine"
