"""Model cards: what a published model is, how good it is and how it was trained, as HTML and as Markdown."""

import json
import os
import pathlib
import re
from html import escape
from typing import NamedTuple

from official.cli.status_line import format_bytes
from official.files.checked_json import NUMBER, check_values, read_json
from official.files.layout import CONFIG_FILE, CONFIG_JSON, CURVES_PNG, EVALUATION, FACTS_FILE, METRICS_JSON, printable
from official.files.summary import read_facts
from official.repository import html
from official.repository.index import PAGE
from official.repository.usage import usage

MAX_CLASSES = 50  # class names on a card
MAX_VALUE_CHARS = 300  # of a setting, such as a list of a thousand classes
HEADLINES = 2  # metrics of a model in the index
NOT_IN_HEADLINES = ("loss", "balance", "dropped")
USE = "To use it, set the environment variable WIDENET_HUB to the folder or the address of this model repository:"
EVALUATED = {"split?": str, "examples?": int, "step?": int, "metrics?": dict}  # of METRICS_JSON (official.files.checked_json)
SPLITS = {"val_": "validation", "": "training"}  # {prefix of a metric of the run: its split}


class SplitResult(NamedTuple):
    """The files of an evaluation that official.evaluate wrote.

    Attributes:
      split: name of the evaluated split, "test".
      examples: number of examples.
      metrics: {name: number}.
      pictures: list of pathlib.Path.
    """

    split: str
    examples: int
    metrics: dict
    pictures: list


class Facts(NamedTuple):
    """What is known about a SavedModel. Fields are empty where nothing is known.

    Attributes:
      model: {name: value} of FACTS_FILE.
      recipe: {name: value} of CONFIG_FILE, the config of its run.
      evaluations: list of SplitResult.
      pictures: list of pathlib.Path: of the run, of its evaluations, and those that the user added.
    """

    model: dict
    recipe: dict
    evaluations: list
    pictures: list


def find_facts(folder, plots=()):
    """The Facts of a SavedModel, from its own files and, if it lies in its run's workdir, from those of the run.

    Args:
      folder: a pathlib.Path.
      plots: paths of more pictures.

    Raises:
      ValueError: a plot that is not a picture, or a file that is not JSON.
    """
    for name in (FACTS_FILE, CONFIG_FILE):
        _check_no_link(folder / name, folder)
    facts = read_facts(folder)
    recipe = read_json(folder / CONFIG_FILE, keys={"name?": str, "data?": dict}) if (folder / CONFIG_FILE).exists() else {}
    evaluations = [_evaluation(file) for file in sorted(folder.parent.glob(f"{folder.name}_evaluation/*/{METRICS_JSON}"))]
    pictures, step = [], facts.get("step")
    if step is not None and (folder.parent / CONFIG_JSON).exists():  # in its run's workdir
        for file in sorted(folder.parent.glob(f"{EVALUATION}/*/{METRICS_JSON}")):
            if read_json(file, keys=EVALUATED).get("step") == step:  # of these weights
                evaluations.append(_evaluation(file))
        pictures = [path for path in [folder.parent / CURVES_PNG] if path.exists()]
    for plot in map(pathlib.Path, plots):
        if plot.suffix.lower() not in (".png", ".jpg", ".jpeg") or not plot.is_file() or plot.is_symlink():
            raise ValueError(f"--plots={str(plot)!r} is not allowed: it must be a PNG or JPEG file, and not a link to one")
    pictures += [picture for evaluation in evaluations for picture in evaluation.pictures]
    for picture in pictures:
        _check_no_link(picture, folder.parent)
    return Facts(facts, recipe, evaluations, [*pictures, *map(pathlib.Path, plots)])


def _evaluation(file):
    result = read_json(file, keys=EVALUATED)
    check_values(result.get("metrics") or {}, f"{file}, metric", NUMBER)
    pictures = sorted(file.parent.glob("*.png"))
    split, examples = result.get("split") or file.parent.name, result.get("examples") or 0
    return SplitResult(split, examples, result.get("metrics") or {}, pictures)


def _check_no_link(path, root):
    """Refuses a link, which may lead to any file of this machine, at a path or in the folders between it and `root`."""
    for place in (path, *path.parents):
        if place == root:
            return
        if place.is_symlink():
            raise ValueError(f"{place} cannot be published: it must be a file or a folder, not a link")


def headline_metrics(facts):
    """{name: number} of the few most important metrics: of the test split, or else of another split, or else of the run."""
    by_split = {evaluation.split: evaluation.metrics for evaluation in facts.evaluations}
    split = next((split for split in ("test", "validation", *by_split) if split in by_split), None)
    if split:
        metrics = _without_counts(by_split[split])
    else:
        split = "validation"
        metrics = _metrics_of_run(facts.model, "val_")
    numbers = [(f"{split} {name}", value) for name, value in metrics.items() if name not in NOT_IN_HEADLINES]
    return dict(numbers[:HEADLINES])


def _without_counts(metrics):
    """The metrics of an evaluation that are floats: its integers count examples."""
    return {name: value for name, value in metrics.items() if isinstance(value, float)}


def _metrics_of_run(model, prefix):
    """{name: number} of a row of metrics.csv, for a prefix of SPLITS.

    Metrics are what was evaluated on the validation split, too; other columns are counts, rates and the learning rate.
    """
    metrics = model.get("metrics") or {}
    names = [name[4:] for name in metrics if name.startswith("val_")]
    return {name: metrics[prefix + name] for name in names if isinstance(metrics.get(prefix + name), (int, float))}


class Section(NamedTuple):
    """A section of a card.

    Attributes:
      title: text.
      rows: list of (name, text).
      folded: whether HTML shows the title only, until it is clicked.
    """

    title: str
    rows: list
    folded: bool = False


def card_sections(entry, facts):
    """The Sections of a card that are not empty.

    Args:
      entry: an official.repository.index.Entry.
      facts: the Facts.
    """
    model, recipe = facts.model, facts.recipe
    classes = model.get("class_names") or []
    left_out = len(classes) - MAX_CLASSES
    sections = [
        Section(
            "Model",
            [
                ("model", entry.model or "not stated"),
                ("task", _text(model.get("kind") or recipe.get("task") or "not stated")),
                ("parameters", "not stated" if entry.parameters is None else f"{entry.parameters:,}"),
                *([("trained for", f"{model['step']:,} steps")] if isinstance(model.get("step"), int) else []),
                ("licence", entry.licence or "not stated"),
                ("published", entry.published),
                ("archive", f"{format_bytes(entry.bytes)}, {format_bytes(entry.unpacked_bytes)} unpacked"),
                ("SHA-256 of the archive", entry.sha256),
            ],
        ),
        *(
            Section(f"Evaluation, {split} split, {examples:,} examples", _rows(_without_counts(metrics)))
            for split, examples, metrics, _ in facts.evaluations
        ),
        *(Section(f"Metrics of the run, {name} split", _rows(_metrics_of_run(model, key))) for key, name in SPLITS.items()),
        Section("Data", _rows(recipe.get("data") or {})),
        Section("Signatures", _rows(model.get("signatures") or {})),
        Section(
            "Classes",
            [(str(number), str(name)) for number, name in enumerate(classes[:MAX_CLASSES])]
            + ([("...", f"{left_out:,} more")] if left_out > 0 else []),
            folded=True,
        ),
        Section("Recipe", _rows({key: value for key, value in recipe.items() if key != "data"}), folded=True),
        Section("Versions", _rows(model.get("versions") or {}), folded=True),
    ]
    return [
        Section(printable(title), [(printable(name), printable(text)) for name, text in rows], folded)
        for title, rows, folded in sections
        if rows
    ]


def _rows(values):
    """(dotted name, text) of the values of nested dicts. Absolute paths of the training machine are omitted."""
    rows = []
    for key, value in values.items():
        if isinstance(value, dict):
            rows += [(f"{key}.{inner}", text) for inner, text in _rows(value)]
        elif value not in ("", None) and not (isinstance(value, str) and os.path.isabs(value)):
            rows.append((str(key), _text(value)))
    return rows


def _text(value):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return text if len(text) <= MAX_VALUE_CHARS else f"{text[:MAX_VALUE_CHARS]}..."
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def html_card(entry, facts, pictures):
    """A card as an HTML page.

    Args:
      entry: an official.repository.index.Entry.
      facts: the Facts.
      pictures: {title: relative address}.
    """
    body = [
        f"<p>{html.link('../' * entry.handle.count('/') + PAGE, 'All models')}. {_address(entry, html.link)}</p>",
        f"<p>{escape(USE)}</p>",
        f"<pre>{escape(usage(entry.handle, facts))}</pre>",
    ]
    for title, rows, folded in card_sections(entry, facts):
        content = html.table([(escape(name), escape(text)) for name, text in rows])
        if folded:
            body.append(f"<details><summary>{escape(title)}</summary>{content}</details>")
        else:
            body.append(f"<h2>{escape(title)}</h2>{content}")
    for text, address in pictures.items():
        body.append(f'<h2>{escape(text)}</h2><img src="{escape(address)}" alt="{escape(text)}">')
    return html.page(entry.handle, *body)


def markdown_card(entry, facts, pictures):
    """The same card as Markdown, for places that show no HTML. Arguments as of `html_card`."""
    lines = [f"# {_markdown(entry.handle)}", "", _address(entry, lambda address, text: f"[{_markdown(text)}]({address})")]
    lines += ["", _markdown(USE), "", "```python", usage(entry.handle, facts), "```"]
    for title, rows, _ in card_sections(entry, facts):
        lines += ["", f"## {_markdown(title)}", "", "| | |", "|---|---|"]
        lines += [f"| {_markdown(name)} | {_markdown(text)} |" for name, text in rows]
    for text, address in pictures.items():
        lines += ["", f"## {_markdown(text)}", "", f"![{_markdown(text)}]({address})"]
    return "\n".join([*lines, ""])


def _address(entry, link):
    return f"The SavedModel is a tar.gz: {link(entry.handle.rpartition('/')[2], 'archive')}."


def _markdown(text):
    """Escapes a text for Markdown, in one line."""
    return re.sub(r"([\\`*_{}\[\]()#!|<>~&])", r"\\\1", " ".join(text.split()))
