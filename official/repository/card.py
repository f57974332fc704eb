"""Model cards: what a published model is, what it is worth and how it came about, as a page and in Markdown."""

import json
import os
import pathlib
import re
from html import escape
from typing import NamedTuple

from official.files.saved_model_layout import CONFIG_FILE, FACTS_FILE
from official.files.workdir import CONFIG_JSON, CURVES_PNG, EVALUATION, METRICS_JSON
from official.repository import html as pages

MOST_CLASSES = 50  # names of classes that a card tells
LONGEST = 300  # characters of a value, such as a list of a thousand classes
HEADLINES = 2  # metrics that an index tells
NOT_IN_HEADLINES = ("loss", "balance", "dropped")


class Evaluation(NamedTuple):
    """A model's evaluation on a split of its data, as official.evaluate leaves it.

    Attributes:
      split: "test".
      examples: how many.
      metrics: {name: number}.
      pictures: list of pathlib.Path.
    """

    split: str
    examples: int
    metrics: dict
    pictures: list


class Facts(NamedTuple):
    """What is known of a SavedModel, and where nothing is known, empty.

    Attributes:
      model: {name: value} of FACTS_FILE.
      recipe: {name: value} of CONFIG_FILE, its run's config.
      evaluations: a list of Evaluation.
      pictures: list of pathlib.Path, of the run, of its evaluations, and what was given besides.
    """

    model: dict
    recipe: dict
    evaluations: list
    pictures: list


def find_facts(folder, plots=()):
    """The Facts of a SavedModel, from its own files and, where it lies in a run's workdir, from those beside it.

    Args:
      folder: a pathlib.Path.
      plots: more pictures, a list of paths.

    Raises:
      ValueError: a plot that is no picture, or a file that is not JSON.
    """
    facts, recipe = (_read(folder / name) if (folder / name).exists() else {} for name in (FACTS_FILE, CONFIG_FILE))
    evaluations = [_evaluation(file) for file in sorted(folder.parent.glob(f"{folder.name}_evaluation/*/{METRICS_JSON}"))]
    pictures, step = [], facts.get("step")
    if step is not None and (folder.parent / CONFIG_JSON).exists():  # it lies in its run's workdir
        for file in sorted(folder.parent.glob(f"{EVALUATION}/*/{METRICS_JSON}")):
            if _read(file).get("step") == step:  # another one is of other weights
                evaluations.append(_evaluation(file))
        pictures = [path for path in [folder.parent / CURVES_PNG] if path.exists()]
    for plot in map(pathlib.Path, plots):
        if plot.suffix.lower() not in (".png", ".jpg", ".jpeg") or not plot.is_file():
            raise ValueError(f"--plots={str(plot)!r} is not allowed: it must be the file of a PNG or JPEG picture")
    pictures += [picture for evaluation in evaluations for picture in evaluation.pictures]
    return Facts(facts, recipe, evaluations, [*pictures, *map(pathlib.Path, plots)])


def _evaluation(file):
    written = _read(file)
    pictures = sorted(file.parent.glob("*.png"))
    return Evaluation(written.get("split", file.parent.name), written.get("examples", 0), written.get("metrics", {}), pictures)


def _read(path):
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} is not allowed: it must hold an object of JSON")
    return value


def headline_metrics(facts):
    """{name: number} of the few metrics that tell most: of an evaluation on the test split, or else of what there is."""
    by_split = {evaluation.split: evaluation.metrics for evaluation in facts.evaluations}
    split = next((split for split in ("test", "validation", *by_split) if split in by_split), None)
    if split:
        told = {f"{split} {name}": value for name, value in by_split[split].items() if name not in NOT_IN_HEADLINES}
    else:
        of_run = {name[4:]: value for name, value in facts.model.get("metrics", {}).items() if name.startswith("val_")}
        told = {f"validation {name}": value for name, value in of_run.items() if name not in NOT_IN_HEADLINES}
    return dict([(name, value) for name, value in told.items() if isinstance(value, (int, float))][:HEADLINES])


class Table(NamedTuple):
    """A part of a card: rows of (name, text); folded where few want to read it."""

    title: str
    rows: list
    folded: bool = False


def card_tables(entry, facts):
    """The Tables of a card, without those that would be empty.

    Args:
      entry: an official.repository.index.Entry.
      facts: the Facts.
    """
    model, recipe = facts.model, facts.recipe
    classes = model.get("class_names") or []
    left_out = len(classes) - MOST_CLASSES
    tables = [
        Table(
            "Model",
            [
                ("model", entry.model or "not stated"),
                ("task", _text(model.get("kind") or recipe.get("task") or "not stated")),
                ("parameters", "not stated" if entry.parameters is None else f"{entry.parameters:,}"),
                ("licence", entry.licence or "not stated"),
                ("published", entry.published),
                ("archive", f"{pages.size(entry.bytes)}, {pages.size(entry.unpacked_bytes)} unpacked"),
                ("SHA-256 of the archive", entry.sha256),
            ],
        ),
        *(
            Table(f"Evaluation, {evaluation.split} split", _rows({"examples": evaluation.examples, **evaluation.metrics}))
            for evaluation in facts.evaluations
        ),
        Table("Metrics of the run", _rows(model.get("metrics") or {})),
        Table("Data", _rows(recipe.get("data") or {})),
        Table("Signatures", _rows(model.get("signatures") or {})),
        Table(
            "Classes",
            [(str(number), str(name)) for number, name in enumerate(classes[:MOST_CLASSES])]
            + ([("...", f"{left_out:,} more")] if left_out > 0 else []),
            folded=True,
        ),
        Table("Recipe", _rows({key: value for key, value in recipe.items() if key != "data"}), folded=True),
        Table("Versions", _rows(model.get("versions") or {}), folded=True),
    ]
    return [table for table in tables if table.rows]


def _rows(values):
    """(dotted name, text) of nested dicts. Paths of the machine that trained are nobody's business."""
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
        return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def _usage(handle):
    return (
        "import official.hub\n\n"
        f'model = official.hub.load("{handle}")\n'
        f'layer = tensorflow_hub.KerasLayer("{handle}", trainable=True)  # of a model that can be trained'
    )


def html_card(entry, facts, pictures):
    """A card as a page, a string.

    Args:
      entry: an official.repository.index.Entry.
      facts: the Facts.
      pictures: {text: relative address}.
    """
    body = [
        f"<p>{pages.link('../' * entry.handle.count('/') + 'index.html', 'All models')}. {_address(entry, pages.link)}</p>",
        f"<pre>{escape(_usage(entry.handle))}</pre>",
    ]
    for title, rows, folded in card_tables(entry, facts):
        content = pages.table([(escape(name), escape(text)) for name, text in rows])
        if folded:
            body.append(f"<details><summary>{escape(title)}</summary>{content}</details>")
        else:
            body.append(f"<h2>{escape(title)}</h2>{content}")
    for text, address in pictures.items():
        body.append(f'<h2>{escape(text)}</h2><img src="{escape(address)}" alt="{escape(text)}">')
    return pages.page(entry.handle, *body)


def markdown_card(entry, facts, pictures):
    """The same as Markdown."""
    lines = [f"# {_markdown(entry.handle)}", "", _address(entry, lambda address, text: f"[{_markdown(text)}]({address})")]
    lines += ["", *(f"    {line}".rstrip() for line in _usage(entry.handle).splitlines())]
    for title, rows, _ in card_tables(entry, facts):
        lines += ["", f"## {_markdown(title)}", "", "| | |", "|---|---|"]
        lines += [f"| {_markdown(name)} | {_markdown(text)} |" for name, text in rows]
    for text, address in pictures.items():
        lines += ["", f"## {_markdown(text)}", "", f"![{_markdown(text)}]({address})"]
    return "\n".join([*lines, ""])


def _address(entry, link):
    return f"The SavedModel is a tar.gz: {link(entry.handle.rpartition('/')[2], 'archive')}."


def _markdown(text):
    """Text that Markdown shows as it is, in one line."""
    return re.sub(r"([\\`*_{}\[\]()#!|<>~&])", r"\\\1", " ".join(text.split()))
