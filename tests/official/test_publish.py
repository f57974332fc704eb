"""Publishing: the files in a repository, and what is refused."""

import html.parser
import json
import re
import subprocess
import sys

import pytest

from official import publish as publishing
from official.publish import publish, read_repository
from official.repository.archives import sha256_of
from official.repository.html import index_page
from official.repository.index import Entry, index_text, parse_index
from tests.official.kills import found_after_kills
from tests.official.model_repository import HANDLE, make_model
from tests.official.published import check_repository, files, make_old, page_of
from tests.official.tiny import ROOT, environment, files_and_digests

NAME = HANDLE.removesuffix("/1")
COMMAND = [sys.executable, "-m", "official.publish"]


@pytest.fixture
def model(tmp_path):
    return make_model(tmp_path / "model")


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def pictures_of(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"picture {path.name}".encode())


@pytest.fixture
def exported(tmp_path):
    """A SavedModel in its run's workdir, with every fact that a card can have, some of them with markup."""
    run = tmp_path / "run"
    model = make_model(run / "saved_model")
    config = {
        "name": "small",
        "data": {"name": "digits|", "dir": "/home/somebody/data", "crop": "none", "classes": ["class"] * 1000},
        "train": {"lr": 0.001, "steps": 20_000},
    }
    facts = {
        "model": "small <script>alert(1)</script>",
        "parameters": 190954,
        "step": 90,
        "kind": "image classification",
        "class_names": ["<b>zero</b> ö", *map(str, range(1, 60))],
        "metrics": {
            "epoch": 4.0,
            "loss": 0.3,
            "accuracy": 0.93,
            "val_accuracy": 0.98,
            "val_loss": 0.1,
            "lr": 0.00125,
            "images_per_second": 8765.4,
        },
        "licence": None,
        "signatures": {"serve": {"inputs": {"images": "float32 [?, 8, 8, 1]"}, "outputs": {"output_0": "float32 [?, 10]"}}},
        "versions": {"tensorflow": "2.15.1"},
    }
    write_json(model / "assets.extra" / "config.json", config)
    write_json(model / "assets.extra" / "model.json", facts)
    write_json(run / "config.json", config)
    write_json(
        run / "evaluation" / "test" / "metrics.json",
        {"split": "test", "examples": 1360, "step": 90, "metrics": {"total": 1234, "top_1": 0.975}},
    )
    write_json(
        run / "evaluation" / "validation" / "metrics.json",
        {"split": "validation", "examples": 99, "step": 100, "metrics": {"top_1": 0.5}},
    )
    pictures_of(run / "curves.png", run / "evaluation" / "test" / "confusion_matrix.png")
    pictures_of(run / "evaluation" / "validation" / "confusion_matrix.png")
    return model


class Page(html.parser.HTMLParser):
    """The tags of a page and their attributes, its text, and whether each tag is closed."""

    VOID = ("meta", "img", "br")

    def __init__(self, path):
        super().__init__()
        self.tags, self.open, self.text = [], [], []
        self.feed(path.read_text())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def values(self, tag, attribute):
        return [attributes.get(attribute) for name, attributes in self.tags if name == tag]


def test_first(model, tmp_path):
    """The archive is under the handle itself, as clients of TF Hub's protocol expect it; the index has its SHA-256."""
    repository = tmp_path / "new" / "repository"
    entry = publish(model, repository, NAME, licence="Apache-2.0")
    assert entry.handle == HANDLE
    assert files(repository) == ["index.html", "index.json", *(f"{HANDLE}{ending}" for ending in ("", ".html", ".md"))]
    assert read_repository(repository) == [entry]
    assert entry.sha256 == sha256_of(repository / HANDLE)
    assert entry.bytes == (repository / HANDLE).stat().st_size
    assert entry.unpacked_bytes == sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
    assert entry.licence == "Apache-2.0"


def test_next_versions(model, tmp_path):
    """The number after the largest one, or any free number that is given."""
    handles = [publish(model, tmp_path / "repository", handle).handle for handle in (NAME, NAME, f"{NAME}/7", NAME, f"{NAME}/3")]
    assert handles == [f"{NAME}/{version}" for version in (1, 2, 7, 8, 3)]
    assert publish(model, tmp_path / "repository", "me/vision").handle == "me/vision/1"
    listed = [entry.handle for entry in read_repository(tmp_path / "repository")]
    assert listed == ["me/vision/1", *(f"{NAME}/{version}" for version in (8, 7, 3, 2, 1))]


def test_immutable(model, tmp_path):
    """A version cannot be replaced, not even by the same model; nothing changes."""
    repository = tmp_path / "repository"
    publish(model, repository, HANDLE)
    publish(model, repository, NAME)
    before = files_and_digests(repository)
    with pytest.raises(ValueError) as error:
        publish(model, repository, HANDLE)
    assert str(error.value) == (
        f"{HANDLE} is already published, and published versions never change; published versions of {NAME}: 1, 2; publish the "
        f"next one with --handle={NAME}"
    )
    assert files_and_digests(repository) == before


def test_same_bytes(model, tmp_path):
    """The archive of a model has the same bytes wherever it is published."""
    first = publish(model, tmp_path / "a", HANDLE)
    second = publish(model, tmp_path / "b", "other/x")
    assert first.sha256 == second.sha256


def test_file_in_the_way(model, tmp_path):
    """Files that are not of a killed publication, for example because the index was deleted, are not overwritten."""
    repository = tmp_path / "repository"
    publish(model, repository, HANDLE)
    (repository / "index.html").unlink()
    (repository / "index.json").unlink()
    before = files_and_digests(repository)
    with pytest.raises(ValueError, match=f"{HANDLE} exists, but .*index.json does not list it"):
        publish(model, repository, HANDLE)
    assert files_and_digests(repository) == before


def test_another_site(model, tmp_path):
    """The root of a site."""
    (tmp_path / "index.html").write_text("<html>Welcome</html>")
    with pytest.raises(ValueError, match="index.html is not the page of a model repository"):
        publish(model, tmp_path, HANDLE)
    assert (tmp_path / "index.html").read_text() == "<html>Welcome</html>"
    assert not (tmp_path / "me").exists()


def test_repository_of_version_0_1(model, tmp_path):
    """Its index is inside index.html. Reading leaves it alone; publishing gives it an index.json."""
    repository = tmp_path / "repository"
    first = publish(model, repository, HANDLE)
    make_old(repository)
    before = files_and_digests(repository)
    assert read_repository(repository) == [first]
    with pytest.raises(ValueError, match="is already published"):
        publish(model, repository, HANDLE)
    assert files_and_digests(repository) == before
    second = publish(model, repository, NAME)
    assert read_repository(repository) == [second, first]
    assert "<script" not in (repository / "index.html").read_text()
    (repository / "index.html").unlink()  # nothing depends on it any more
    assert read_repository(repository) == [second, first]


def test_page_of_a_killed_publication(model, tmp_path, monkeypatch):
    """The index is in place, and the page is not: the next publication places it, even if that one is refused."""
    repository = tmp_path / "repository"
    publish(model, repository, HANDLE)
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(publishing, "_settle", lambda repository, entries: entries[1:] and sys.exit())
        publish(model, repository, NAME)
    assert page_of(repository) == [HANDLE]
    with pytest.raises(ValueError, match="is already published"):
        publish(model, repository, HANDLE)
    assert page_of(repository) == [f"{NAME}/2", HANDLE]
    assert sorted(path.name for path in repository.iterdir()) == ["index.html", "index.json", "me"]


@pytest.mark.parametrize("failing", ["_stage", "_place", "index_page"])
def test_failure_leaves_nothing(model, tmp_path, monkeypatch, failing):
    """Such as a full disk: early, and after the files were moved to their places."""
    repository = tmp_path / "repository"
    publish(model, repository, HANDLE)
    before = files_and_digests(repository)
    whole = getattr(publishing, failing)

    def fail(*arguments):
        whole(*arguments) if failing != "_place" else (arguments[0] / "index.json").unlink() or whole(*arguments)
        raise OSError("No space left on device")

    monkeypatch.setattr(publishing, failing, fail)
    with pytest.raises(OSError):
        publish(model, repository, "you/text/other")
    assert files_and_digests(repository) == before
    assert sorted(path.name for path in repository.iterdir()) == ["index.html", "index.json", "me"]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"handle": "digits"}, "--handle='digits' is not allowed: a handle is publisher/.../name/version"),
        ({"handle": "me/../x"}, "--handle='me/../x' is not allowed"),
        ({"licence": " "}, "--licence=' ' is not allowed: it must be one line of text"),
        ({"licence": "a\nb"}, "--licence='a\\nb' is not allowed"),
        ({"plots": ["nothing.png"]}, "--plots='nothing.png' is not allowed: it must be a PNG or JPEG file"),
        ({"plots": [__file__]}, f"--plots={__file__!r} is not allowed"),
        ({"model": "."}, ". is not a SavedModel: it has no saved_model.pb"),
    ],
)
def test_refused_settings(model, tmp_path, settings, message):
    """Before anything is written."""
    with pytest.raises(ValueError) as error:
        publish(**{"model": model, "repository": tmp_path / "repository", "handle": HANDLE, **settings})
    assert str(error.value).startswith(message)
    assert files(tmp_path / "repository") == [] if (tmp_path / "repository").exists() else True


@pytest.mark.parametrize(
    "path",
    ["curves.png", "evaluation/test/confusion_matrix.png", "evaluation", "saved_model/assets.extra/model.json", "mine.png"],
)
def test_links(exported, tmp_path, path):
    """They might lead to any file of this machine: nothing of it is published, whether the run or the user names it."""
    link, target = exported.parent / path, tmp_path / "secret"
    if link.exists():
        link.rename(target)
    else:
        target.write_bytes(b"a secret")
    link.symlink_to(target)
    plots = [link] if path == "mine.png" else []
    with pytest.raises(ValueError, match="not a link") as refused:
        publish(exported, tmp_path / "repository", HANDLE, plots=plots)
    assert str(link) in str(refused.value)
    assert not (tmp_path / "repository" / "me").exists()


@pytest.mark.parametrize(
    "path", ["saved_model/assets.extra/model.json", "saved_model/assets.extra/config.json", "evaluation/test/metrics.json"]
)
@pytest.mark.parametrize("content", ["", "[" * 100_000, "[]", "\xff", '{"metrics": [1], "data": 3}'], ids=lambda text: text[:3])
def test_damaged_facts(exported, tmp_path, path, content):
    (exported.parent / path).write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match=f"^{exported.parent / path} is not (JSON|allowed): "):
        publish(exported, tmp_path / "repository", HANDLE)
    assert not (tmp_path / "repository").exists()


def test_card_that_would_steer_a_terminal(exported, tmp_path):
    """People read Markdown there."""
    facts = exported / "assets.extra" / "model.json"
    escape = "\x1b]0;title\x07\u202e"
    write_json(facts, {**json.loads(facts.read_text()), "model": escape, "class_names": [escape], "kind": escape})
    entry = publish(exported, tmp_path / "repository", HANDLE)
    for ending in (".md", ".html"):
        card = (tmp_path / "repository" / f"{entry.handle}{ending}").read_text()
        assert card.replace("\n", "").isprintable()
        assert "x1b" in card
    (found,) = read_repository(tmp_path / "repository")
    assert found.model.isprintable()


def test_card(exported, tmp_path):
    """Parameters, metrics of the exported step, data, licence and plots are on both cards, escaped."""
    extra = tmp_path / "a plot, mine.JPG"
    pictures_of(extra)
    publish(exported, tmp_path / "repository", HANDLE, licence="MIT <b>", plots=[extra])
    page = Page(tmp_path / "repository" / f"{HANDLE}.html")
    text = "\n".join(page.text)
    markdown = (tmp_path / "repository" / f"{HANDLE}.md").read_text()
    for fact in (
        HANDLE,
        "190,954",
        "image classification",
        "MIT <b>",
        "0.975",
        "small <script>alert(1)</script>",
        "<b>zero</b> ö",
    ):
        assert fact in text
    for fact in (r"MIT \<b\>", r"digits\|", "0.975", r"small \<script\>alert\(1\)\</script\>"):
        assert fact in markdown
    assert "script" not in [tag for tag, _ in page.tags]
    assert "b" not in [tag for tag, _ in page.tags]
    for card in (text, markdown):
        assert "/home/somebody" not in card
        assert "20,000" in card
        assert len(card) < 10_000
        assert "Evaluation, validation split" not in card  # of another step
    names = ["curves", "test-confusion_matrix", "a_plot__mine"]
    sources = page.values("img", "src")
    assert sources == [f"1.plots/{name}" for name in ("curves.png", "test-confusion_matrix.png", "a_plot__mine.jpg")]
    assert page.values("img", "alt") == names
    for source in sources:
        assert (tmp_path / "repository" / NAME / source).read_bytes().startswith(b"picture ")
        assert f"]({source})" in markdown


def tables(markdown):
    """{title: {first cell: second cell}} of the sections of a Markdown card."""
    sections = [section.partition("\n") for section in markdown.split("\n## ")[1:]]
    rows = {title: re.findall(r"^\| (.+?) \| (.+) \|$", text, re.MULTILINE) for title, _, text in sections}
    return {title.replace("\\", ""): {name.replace("\\", ""): value for name, value in found} for title, found in rows.items()}


def test_metrics_of_a_card(exported, tmp_path):
    """Only what measures the model: counts, rates and the learning rate are not among them."""
    publish(exported, tmp_path / "repository", HANDLE)
    found = tables((tmp_path / "repository" / f"{HANDLE}.md").read_text())
    assert {title: rows for title, rows in found.items() if re.match("Evaluation|Metrics", title)} == {
        "Evaluation, test split, 1,360 examples": {"top_1": "0.975"},
        "Metrics of the run, validation split": {"accuracy": "0.98", "loss": "0.1"},
        "Metrics of the run, training split": {"accuracy": "0.93", "loss": "0.3"},
    }
    assert found["Model"]["trained for"] == "90 steps"
    (entry,) = read_repository(tmp_path / "repository")
    assert entry.metrics == {"test top_1": 0.975}


def test_card_of_a_bare_model(model, tmp_path):
    """Only a SavedModel: unknown facts are "not stated"."""
    publish(model, tmp_path / "repository", HANDLE)
    text = "\n".join(Page(tmp_path / "repository" / f"{HANDLE}.html").text)
    assert text.count("not stated") == 4  # model, task, parameters, licence
    assert "img" not in [tag for tag, _ in Page(tmp_path / "repository" / f"{HANDLE}.html").tags]


def test_licence_of_the_model(exported, tmp_path):
    """It comes from the model, unless another is given."""
    facts = exported / "assets.extra" / "model.json"
    write_json(facts, {**json.loads(facts.read_text()), "licence": "BSD-3-Clause"})
    assert publish(exported, tmp_path / "repository", NAME).licence == "BSD-3-Clause"
    assert publish(exported, tmp_path / "repository", NAME, licence="MIT").licence == "MIT"


def test_index(exported, model, tmp_path):
    """A row for each name, newest version first; every link leads to a file in the repository."""
    repository = tmp_path / "repository"
    for folder, handle in ((exported, NAME), (exported, NAME), (model, "other/x")):
        publish(folder, repository, handle)
    page = Page(repository / "index.html")
    links = page.values("a", "href")
    assert links == [f"{NAME}/2.html", f"{HANDLE}.html", f"{NAME}/2", "other/x/1.html", "other/x/1"]
    for place in (repository / "index.html", *(repository / link for link in links if link.endswith(".html"))):
        for attribute in ("href", "src"):
            for tag in ("a", "img", "link", "script"):
                for address in filter(None, Page(place).values(tag, attribute)):
                    assert (place.parent / address).resolve().is_relative_to(repository.resolve())
                    assert (place.parent / address).is_file()
    text = "\n".join(page.text)
    assert "test top_1 0.975" in text
    assert "190,954" in text
    assert "script" not in [tag for tag, _ in page.tags]


ENTRY = Entry("a/b/1", "0" * 64, 10, 20, None, "2026-01-31", "model", None, {})


def test_page_that_never_ends(tmp_path):
    """The index in a page of version 0.1 is looked for once, however often one seems to begin: each time costs the whole page."""
    (tmp_path / "index.html").write_text('<script type="application/json" id="models">' * 100_000)
    with pytest.raises(ValueError, match=r"index\.html is not the page of a model repository"):
        read_repository(tmp_path)


def test_index_of_hostile_text():
    """No text becomes a tag of the page, and the index gives it back."""
    entry = ENTRY._replace(
        model="</script><script>alert(1)</script><!--", licence="<img src=x onerror=alert(1)>", metrics={"<": 1.0}
    )
    page = index_page([entry])
    assert "<script" not in page
    assert "<img" not in page
    assert parse_index(index_text([entry]), "here") == [entry]


@pytest.mark.parametrize(
    "change",
    [
        {"handle": "../x/1"},
        {"sha256": "0" * 63},
        {"sha256": "../" + "0" * 61},
        {"bytes": -1},
        {"bytes": "10"},
        {"unpacked_bytes": 1 << 60},
        {"unpacked_bytes": True},
        {"handle": ["a/b/1"]},
        {"sha256": 3},
        {"licence": {}},
        {"model": None},
        {"parameters": "5"},
        {"metrics": ["a"]},
        {"metrics": {"a.b": "<b>"}},
    ],
)
def test_index_that_cannot_be_right(change):
    """It is refused as a whole."""
    text = json.dumps({"format": 1, "models": [{**ENTRY._asdict(), **change}]})
    with pytest.raises(ValueError, match=r"https://here/index\.json is not a valid index"):
        parse_index(text, "https://here/index.json")


@pytest.mark.parametrize(
    "data",
    [
        "{",
        "[]",
        "",
        "[" * 100_000,
        '{"format": 1, "models": {"a": 1}}',
        '{"format": 1, "models": [3]}',
        '{"format": 2, "models": []}',
        '{"format": 1}',
        '{"format": 1, "models": [{"x": 1}]}',
    ],
)
def test_index_of_another_kind(data):
    with pytest.raises(ValueError, match="here is not a valid index"):
        parse_index(data, "here")


@pytest.mark.further_cases
@pytest.mark.parametrize("case", ["publishing", "upgrading"])
def test_killed_at_every_step(case):
    """Before each operation on files: not published, and from some step on published; the next publication cleans up."""
    found = found_after_kills("at_every_step", f"tests.official.published:{case}")
    assert found == sorted(found, reverse=True)
    assert set(found) == {"old", "new"}


def test_killed_at_random():
    """By SIGKILL, twenty times."""
    found = found_after_kills("at_random", "tests.official.published:publishing")
    assert len(found) == 21
    assert "old" in found[:-1]
    assert found[-1] == "new"


def test_two_processes_at_once(tmp_path):
    """Both are published, as versions 1 and 2 in some order, and a third elsewhere."""
    models = [make_model(tmp_path / f"model-{seed}", seed) for seed in range(3)]
    picture = tmp_path / "plot.png"
    picture.write_bytes(b"a picture")
    repository = tmp_path / "repository"
    started = [
        subprocess.Popen(
            [*COMMAND, f"--model={model}", f"--repository={repository}", f"--handle={name}", "--plots", str(picture)],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.DEVNULL,
        )
        for model, name in zip(models, (NAME, NAME, "other/x"), strict=True)
    ]
    assert [process.wait(timeout=100) for process in started] == [0, 0, 0]
    assert check_repository(repository) == [f"{NAME}/2", f"{NAME}/1", "other/x/1"]


def test_command(model, tmp_path):
    """In a process: what was published and where to look."""
    settings = [f"--model={model}", f"--repository={tmp_path / 'repository'}", f"--handle={HANDLE}", "--licence=Apache-2.0"]
    done = subprocess.run([*COMMAND, *settings], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    (entry,) = read_repository(tmp_path / "repository")
    assert done.stdout.splitlines() == [
        f"Published {HANDLE}, {entry.bytes:,} bytes of SHA-256 {entry.sha256}",
        f"  {tmp_path / 'repository' / HANDLE}.html: its model card",
        f"  {tmp_path / 'repository' / 'index.html'}: all models",
    ]


def test_refused_by_the_command(model, tmp_path):
    """With one sentence: a handle that is taken, and a file where the repository should be."""
    publish(model, tmp_path / "repository", HANDLE)
    (tmp_path / "file").touch()
    for repository, said in (("repository", f"error: {HANDLE} is already published"), ("file", "error: ")):
        with pytest.raises(SystemExit) as stopped:
            publishing.main([f"--model={model}", f"--repository={tmp_path / repository}", f"--handle={HANDLE}"])
        assert stopped.value.code.startswith(said)
        assert len(stopped.value.code.splitlines()) == 1


def test_imports():
    """Looking a handle up needs neither TensorFlow nor the pages; publishing does not need TensorFlow."""
    code = """
import sys, official.repository.lookup
assert not {"tensorflow", "official.repository.html", "official.repository.card"} & set(sys.modules)
import official.publish
assert "tensorflow" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
