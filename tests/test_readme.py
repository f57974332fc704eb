"""What the README shows is what a user gets."""

import importlib
import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import tensorflow as tf

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def run(arguments, cwd):
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env={**ENVIRONMENT}, capture_output=True, text=True, timeout=600)


ENVIRONMENT = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}


@pytest.mark.process
def test_keras_script_is_short_and_runs(tmp_path):
    """The script of at most 25 lines, as it stands there, on the arrays that it loads."""
    script = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    assert len(script.splitlines()) <= 25
    (tmp_path / "script.py").write_text(script)
    finished = run(["script.py"], tmp_path)
    assert finished.returncode == 0, finished.stderr
    predicted, labels = re.search(r"predicted \[(.*)\] labels \[(.*)\]", finished.stdout).groups()
    right = sum(p == t for p, t in zip(predicted.split(), labels.split(), strict=True))
    # Of eight training images after ten epochs; guessing gets one.
    assert right >= 6
    assert (tmp_path / "runs/my_widenet/saved_model.pb").exists()


def test_backbone():
    """The script with features_only, as it stands there; in a graph, where no weights are allocated."""
    (script,) = (script for script in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "features_only" in script)
    names = {"tf": tf, "vision": importlib.import_module("vision")}
    with tf.Graph().as_default():
        exec(script, names)
    assert names["model"].output_shape == (None, 14, 20, 21)
    assert "[batch, 14, 20, 21]" in script


def table_rows(text):
    """{model name: cells} of the zoo's table in a Markdown text."""
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in rows}


@pytest.mark.process
@pytest.mark.parametrize("folder", ["vision", "bert"])
def test_zoo_table_is_what_the_command_prints(folder):
    names = importlib.import_module(folder).list_models()
    printed = run(["-m", folder], ROOT)
    assert printed.returncode == 0, printed.stderr
    shown = {name: cells for name, cells in table_rows(README).items() if name in names}
    assert list(shown) == names
    lines = {
        line.split()[0]: line.split() for line in printed.stdout.splitlines() if line.split()[:1] and line.split()[0] in names
    }
    for name, cells in shown.items():
        assert lines[name][1:3] == cells[:2], name


def row(first):
    """The cells of the README's only table row whose first cell begins with `first`."""
    (found,) = (line for line in README.splitlines() if line.startswith(f"| {first}"))
    return [cell.strip() for cell in found.strip("|").split("|")]


def percentages(cells):
    return re.findall(r"([\d.]+) %", " ".join(cells))


def test_figures_of_the_demo_are_those_of_its_summary():
    """The caption under the curve and the summary of the run that drew it."""
    summary = json.loads((ROOT / "docs/results/digits/summary.json").read_text())
    caption = r"WideNet of ([\d,]+) parameters.*?reached ([\d.]+) %.*?in ([\d,]+) steps and (\d+) seconds"
    parameters, accuracy, steps, seconds = re.search(caption, README, re.DOTALL).groups()
    assert float(accuracy) == round(100 * summary["metrics"]["val_accuracy"], 1)
    assert int(parameters.replace(",", "")) == summary["parameters"]
    assert int(steps.replace(",", "")) == summary["step"] == summary["config"]["train"]["steps"]
    assert int(seconds) == round(summary["wall_seconds"])
    assert summary["metrics"]["val_accuracy"] >= 0.97
    assert summary["git_modified"] is False


def test_figures_of_speed_are_those_of_the_benchmarks():
    """The ratios of the tables, rounded, from the files that the benchmarks wrote."""

    def ratios(name):
        found = json.loads((ROOT / f"docs/results/benchmarks/{name}.json").read_text())
        return {row["name"]: row["ratio"] for row in found["rows"]}

    found = {"`widenet_b16`, no token dropped": [], "TF Model Garden": [], "Hugging Face Switch": [], "Hugging Face Mixtral": []}
    for precision in ("float32", "bfloat16"):
        step, layer = ratios(f"step-train-{precision}"), ratios(f"layer-train-{precision}")
        found["`widenet_b16`, no token dropped"].append(f"{step['widenet_b16, none dropped']:.2f}")
        found["TF Model Garden"].append(f"{layer['Model Garden MoeLayer']:.2f}")
        for peer in ("Hugging Face Switch", "Hugging Face Mixtral"):
            measured = [ratio for name, ratio in layer.items() if name.startswith(peer)]
            found[peer].append(f"{min(measured):.2f} to {max(measured):.2f}")
    for name, cells in found.items():
        assert row(name)[2:] == cells, name


# The folders of docs/results with a run, and what it is a run of.
RUNS = {
    "digits": ("vision.configs.digits", ()),
    "fashion_mnist_40": ("vision.configs.fashion_mnist", ("40",)),
    "cifar10_40": ("vision.configs.cifar10", ("40",)),
    "cifar10_finetune_frozen": ("vision.configs.finetune", ("frozen",)),
    "cifar10_finetune_last": ("vision.configs.finetune", ("last",)),
    "pretraining_small": ("bert.configs.pretraining_small", ()),
    "rotten_tomatoes_modern": ("bert.configs.rotten_tomatoes", ()),
    "rotten_tomatoes_minilm": ("bert.configs.sentiment_small", ("rotten_tomatoes",)),
    "rotten_tomatoes_widenet": ("bert.configs.sentiment_small", ("rotten_tomatoes,distil",)),
    "sst2_minilm": ("bert.configs.sentiment_small", ("sst2",)),
    "sst2_widenet": ("bert.configs.sentiment_small", ("sst2,distil",)),
}
# Of text models whose size and name are not in the recipe, with the beginning of their row in the README.
FROM_MINILM = {
    "rotten_tomatoes_minilm": "Rotten Tomatoes, `bert/configs/sentiment_small.py`, from all-MiniLM-L6-v2",
    "rotten_tomatoes_widenet": "Rotten Tomatoes, a WideNet grown out of that",
    "sst2_minilm": "SST-2, `bert/configs/sentiment_small.py`, from all-MiniLM-L6-v2",
    "sst2_widenet": "SST-2, a WideNet grown out of that",
}


PATHS = ("init", "distillation.teacher", "data.dir", "data.vocabulary", "data.word_vectors")


def settings_of(config, prefix=""):
    """{"section.setting": value} of nested dicts."""
    found = {}
    for key, value in config.items():
        found |= settings_of(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def test_every_run_has_its_recipe():
    assert sorted(RUNS) == sorted(path.parent.name for path in (ROOT / "docs/results").glob("*/summary.json"))


@pytest.mark.parametrize("name", RUNS)
def test_summary_is_of_the_recipe_as_it_stands(name):
    """A changed recipe needs a new run. What it leaves open the run has filled in; where the data are is the user's."""
    from bert.models import EMBEDDING
    from official.config import completed, to_plain
    from widenet.zoo import ARCHITECTURE

    module, arguments = RUNS[name]
    recipe = settings_of(to_plain(importlib.import_module(module).get_config(*arguments)))
    summary = json.loads((ROOT / "docs/results" / name / "summary.json").read_text())
    is_from_elsewhere = name in FROM_MINILM or "finetune" in name
    sizes = *ARCHITECTURE, *EMBEDDING, "patch_size", "image_size", "position_cubic"
    taken = ("name", *(f"model.{size}" for size in sizes)) if is_from_elsewhere else ()
    for setting, value in settings_of(completed(summary["config"])).items():
        assert recipe[setting] in (value, None) or setting in (*PATHS, *taken), setting


def test_accuracies_are_those_of_the_runs():
    """Of image models on two cores: what the README says, as the evaluations have it."""
    variants = json.loads((ROOT / "docs/results/benchmarks/variants-fashion-mnist.json").read_text())["variants"]
    found = [variants[0]["mean"]]
    for name in ("fashion_mnist_40", "cifar10_40", "cifar10_finetune_last"):
        found.append(json.loads((ROOT / "docs/results" / name / "evaluation.json").read_text())["metrics"]["top_1"])
    shown = ["fashion_mnist.py:15", "fashion_mnist.py:40", "cifar10.py:40", "finetune.py:last"]
    names = ["Fashion-MNIST", "Fashion-MNIST", "CIFAR-10", "CIFAR-10"]
    for name, recipe, accuracy in zip(names, shown, found, strict=True):
        assert percentages(row(f"{name}, `vision/configs/{recipe}`")) == [f"{100 * accuracy:.1f}"], recipe


def test_accuracies_from_minilm_are_those_of_the_runs():
    """Means over the seeds; the evaluation beside a summary is that of seed 0."""
    titles = {"minilm": "dense", "widenet": "WideNet, one attention and four experts"}
    for name, shown in FROM_MINILM.items():
        data, _, model = name.rpartition("_")
        variants = json.loads((ROOT / f"docs/results/benchmarks/grown-{data}.json").read_text())["variants"]
        (found,) = (variant for variant in variants if variant["variant"] == titles[model])
        evaluated = json.loads((ROOT / "docs/results" / name / "evaluation.json").read_text())["metrics"]
        assert evaluated["accuracy"] == found["accuracies"][0], name
        assert percentages(row(shown)) == [f"{100 * found['mean']:.1f}"], name
        assert {1: "one seed", 3: "mean of three seeds"}[len(found["accuracies"])] in row(shown)[1], name


def test_figures_of_text_are_those_of_the_runs():
    """Of pretraining on held-out documents, and of fine-tuning with and without it on the test split."""
    evaluated = json.loads((ROOT / "docs/results/pretraining_small/evaluation.json").read_text())["metrics"]
    reviews = json.loads((ROOT / "docs/results/benchmarks/rotten-tomatoes.json").read_text())
    for what, names, scale in (
        ("accuracy", ("masked_accuracy", "most_frequent_accuracy"), "{:.1%}"),
        ("loss in nats", ("masked_loss", "unigram_entropy"), "{:.2f}"),
    ):
        shown = row(f"masked words of held-out documents, {what}")
        assert [cell.partition(" (")[0].replace(" %", "%") for cell in shown[1:]] == [scale.format(evaluated[n]) for n in names]
    means = [f"{100 * value:.1f}" for value in reviews["means"].values()]
    assert percentages(row("Rotten Tomatoes' test split")) == [*means, f"{100 * reviews['majority']:.1f}"]
    recipe = "Rotten Tomatoes, `bert/configs/rotten_tomatoes.py`, after pretraining"
    assert percentages([*row(recipe), *row("Rotten Tomatoes, the same from scratch")]) == means
    gain, error = re.search(r"gains ([\d.]+) ± ([\d.]+) percentage points", README).groups()
    assert [gain, error] == [f"{100 * reviews[name]:.1f}" for name in ("difference", "standard_error")]
    assert len(reviews["paired"]["pretrained"]) == 5
    assert reviews["difference"] > reviews["standard_error"]


def test_links_and_commands_lead_somewhere():
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
        for recipe in re.findall(r"--config=([\w/]+\.py)", text):
            assert (ROOT / recipe).exists(), f"{page.name}: {recipe}"
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make (demo-text|demo|test-all|test|zoo|lint|lock|clean)\b", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


FASHION_MNIST = pathlib.Path("/usr/share/datasets/fashion-mnist")
FEW_STEPS = """--config.train.steps=4 --config.train.eval_every=4 --config.train.warmup_steps=1 --config.train.batch_size=16
    --config.data.train_split=train[:64] --config.data.validation_split=train[64:96]""".split()
FEW_EXAMPLES = {
    "official.train": FEW_STEPS,
    "vision.contact_sheet": FEW_STEPS,
    "vision.prepare": [f"--manual-dir={FASHION_MNIST}"],
}


@pytest.mark.process
@pytest.mark.skipif(not FASHION_MNIST.exists(), reason=f"no {FASHION_MNIST}: Debian's package dataset-fashion-mnist")
def test_commands_on_fashion_mnist(tmp_path):
    """All commands on Fashion-MNIST from data to published model, as they stand there, but for fewer steps and examples."""
    blocks = re.findall(r"((?:    \.venv/bin/python -m .*fashion.*\n){3,})", README)
    lines = [line for block in blocks for line in block.splitlines()]
    assert len(lines) == 8
    (tmp_path / "photos").mkdir()
    for grey in (0, 255):
        tf.io.write_file(f"{tmp_path}/photos/{grey}.png", tf.io.encode_png(tf.fill([40, 30, 3], tf.constant(grey, tf.uint8))))
    for line in lines:
        arguments = shlex.split(re.sub(r"(runs|photos)/", rf"{tmp_path}/\1/", line))[1:]
        done = subprocess.run(
            [sys.executable, *arguments, *FEW_EXAMPLES.get(arguments[1], [])],
            cwd=ROOT,
            env={**ENVIRONMENT, "HOME": str(tmp_path)},  # where TensorFlow Datasets looks for its folder
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, (line, done.stderr)
        if arguments[1] == "official.train":  # the other runs that the report compares are of other data
            for other in ("digits", "vit"):
                shutil.copytree(tmp_path / "runs/fashion", tmp_path / "runs" / other)
    metrics = json.loads((tmp_path / "runs/fashion/evaluation/test/metrics.json").read_text())
    assert metrics["examples"] == 10_000
    assert (tmp_path / "runs/serving/fashion/1/saved_model.pb").exists()
    answers = [json.loads(line) for line in (tmp_path / "runs/answers.jsonl").read_text().splitlines()]
    assert [pathlib.Path(answer["input"]).name for answer in answers] == ["0.png", "255.png"]
    assert all(len(answer["probabilities"]) == 10 for answer in answers)
    assert "me/vision/fashion/1" in (tmp_path / "runs/models/index.html").read_text()
    report = (tmp_path / "runs/report.html").read_text()
    assert all(name in report for name in ("digits", "vit", "fashion"))
    for picture in ("fashion/evaluation/test/expert_share_per_class.png", "sheet.png"):
        assert (tmp_path / "runs" / picture).stat().st_size > 10_000


TWO_STEPS = "--config.train.steps=2 --config.train.eval_every=2 --config.train.warmup_steps=1 --config.train.batch_size=4".split()
FEW_TEXTS = {
    "bert.vocabulary": ["--size=600"],
    "bert.prepare": ["--shards=2"],
    "bert.word_vectors": ["--epochs=1"],
    "pretraining_small.py": [*TWO_STEPS, "--config.data.validation_examples=8"],
    "rotten_tomatoes.py": TWO_STEPS,
}


@pytest.mark.process
def test_commands_on_text(tmp_path):
    """Vocabulary, data, pretraining and fine-tuning as they stand there, but on the Wikipedia sample alone and for two steps."""
    section = README.partition("## Text")[2].partition("\n## ")[0].replace("\\\n", " ")
    commands = re.findall(r"^    \.venv/bin/python (-m .*)$", section, re.MULTILINE)
    assert len(commands) == 5
    for line in commands:
        arguments = line.replace("--corpus=imdb ", "").replace("runs/", f"{tmp_path}/runs/").split()
        fewer = [more for key, more in FEW_TEXTS.items() if key in line]
        assert len(fewer) == 1
        done = run([*arguments, *fewer[0]], ROOT)
        assert done.returncode == 0, (line, done.stderr)
    summary = json.loads((tmp_path / "runs/rotten_tomatoes/summary.json").read_text())
    assert summary["metrics"]["val_accuracy"] > 0
    assert (tmp_path / "runs/rotten_tomatoes/saved_model/saved_model.pb").exists()


def test_security_page_names_tests_that_exist():
    """Every file of tests that docs/security.md names, and in a row that names tests every one of them in these files."""
    for row in re.findall(r"^\|.*\|$", (ROOT / "docs/security.md").read_text(), re.MULTILINE):
        names = re.findall(r"`([\w/]*test_\w+)(\.py)?`", row)
        files = [path for name, ending in names if ending for path in (ROOT / "tests").rglob(f"{name.rpartition('/')[2]}.py")]
        assert len(files) >= sum(bool(ending) for _, ending in names), row
        functions = [name for name, ending in names if not ending]
        found = "".join(path.read_text() for path in files)
        assert all(f"def {name}(" in found for name in functions), row
