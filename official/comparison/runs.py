"""Runs as a report reads them: config, tables and summary of a workdir, finished or not; runs that differ only in their seed."""

import json
import math
import os
import pathlib
import statistics
from typing import NamedTuple

from official import config as configs
from official.evaluation.curves import expert_shares
from official.files.checked_json import read_json
from official.files.layout import CONFIG_JSON, EVALUATION, EXPERT_LOAD_CSV, METRICS_CSV, METRICS_JSON, PRECISION_TXT, SUMMARY_JSON
from official.files.tables import columns_by_block, read_table

NOT_COMPARED = ("balance", "dropped")  # metrics of the experts, of which the page has figures of its own


class Run(NamedTuple):
    """What the files of a workdir say.

    Attributes:
      workdir: a pathlib.Path.
      label: what the page calls the run: the part of its path that tells it from the other runs.
      config: its plain config.
      rows: list of {column: number}, the rows of metrics.csv; values that are not numbers are left out.
      load: (steps [S], each expert's share of the assignments [S, blocks, E]) in training, or None.
      summary: of a finished run; {} of another one.
      evaluations: {split: {metric: number}} of official.evaluate, of the model that the run exported.
      precision: the run's precision, with what "auto" chose.
    """

    workdir: pathlib.Path
    label: str
    config: dict
    rows: list
    load: tuple
    summary: dict
    evaluations: dict
    precision: str

    @property
    def train(self):
        """The `train` settings."""
        return _dict(self.config.get("train"))

    @property
    def seed(self):
        return self.train.get("seed")

    @property
    def rate(self):
        """The column with the speed in examples: "images_per_second"; None if there is none."""
        rates = [
            key for key in (self.rows[-1] if self.rows else ()) if key.endswith("_per_second") and key != "tokens_per_second"
        ]
        return rates[0] if rates else None

    def seconds(self):
        """Training time at the end of each row, [rows]: without evaluation, from each row's speed; [] if that is not known."""
        size, rate = self.train.get("batch_size"), self.rate
        if not rate or not is_number(size) or any(not row.get(rate, 0) > 0 for row in self.rows):
            return []
        times, step, time = [], 0, 0.0
        for row in self.rows:
            time += (row["step"] - step) * size / row[rate]
            step = row["step"]
            times.append(time)
        return times

    def result(self):
        """{metric: number} of the exported model, or of the last evaluation so far: "validation loss", "test accuracy"."""
        last = _numbers(self.summary.get("metrics")) or (self.rows[-1] if self.rows else {})
        found = {f"validation {key.removeprefix('val_')}": value for key, value in last.items() if key.startswith("val_")}
        by_block = {f"validation {column}" for columns in columns_by_block(strip_validation(last)).values() for column in columns}
        kept = {key: value for key, value in found.items() if key not in by_block and key.split()[1] not in NOT_COMPARED}
        return kept | {f"{split} {key}": value for split, values in self.evaluations.items() for key, value in values.items()}


def strip_validation(names):
    """Names of metrics, those of the validation split without its prefix, each once."""
    return list(dict.fromkeys(name.removeprefix("val_") for name in names))


def is_number(value):
    """Whether a value of JSON is a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _dict(value):
    return value if isinstance(value, dict) else {}


def _numbers(values):
    return {key: float(value) for key, value in _dict(values).items() if is_number(value)}


def read_runs(workdirs):
    """The Runs of workdirs, paths as strings; one that is given twice counts once.

    Raises:
      ValueError: a path that is not a run's workdir, or a file in it that is not what it should be.
    """
    paths = list(dict.fromkeys(pathlib.Path(os.path.abspath(path)) for path in workdirs))
    for path in paths:
        if not (path / CONFIG_JSON).is_file():
            why = f"has no {CONFIG_JSON}" if path.is_dir() else "is not a folder"
            raise ValueError(f"--workdir={str(path)!r} is not allowed: it must be the workdir of a run, and it {why}")
    common = os.path.commonpath([path.parent for path in paths])
    return [_read_run(path, os.path.relpath(path, common)) for path in paths]


def _read_run(workdir, label):
    config = read_json(workdir / CONFIG_JSON)
    if isinstance(config.get("train"), dict):
        config = configs.completed(config)
    rows = [row for row in map(_row, _table(workdir / METRICS_CSV)) if row.get("step", math.nan) >= 0]
    summary = read_json(workdir / SUMMARY_JSON) if (workdir / SUMMARY_JSON).exists() else {}
    step = summary.get("exported_step", summary.get("step"))  # runs made before `exported_step` existed only have `step`
    found = [read_json(file) for file in sorted((workdir / EVALUATION).glob(f"*/{METRICS_JSON}"))] if summary else []
    # Integers are counts of examples.
    evaluations = {
        str(one.get("split")): {key: value for key, value in _dict(one.get("metrics")).items() if isinstance(value, float)}
        for one in found
        if one.get("step") == step
    }
    auto = workdir / PRECISION_TXT
    precision = auto.read_text(errors="replace").strip() if auto.exists() else _dict(config.get("train")).get("precision", "")
    return Run(workdir, label, config, rows, _load(workdir / EXPERT_LOAD_CSV), summary, evaluations, str(precision))


def _table(path):
    """The rows of a table that are whole; [] without the file."""
    return [row for row in read_table(path) if None not in row.values() and None not in row] if path.exists() else []


def _row(row):
    """{column: number} of a row of strings."""
    numbers = {}
    for key, text in row.items():
        try:
            numbers[key] = float(text)
        except ValueError:  # an empty cell, where a metric had no value
            continue
    return numbers


def _load(path):
    """Of expert_load.csv: steps [S] and shares [S, blocks, E] of the training split, without steps that lack blocks; or None."""
    rows = [row for row in _table(path) if row.get("split") == "train"]
    blocks = {row.get("block") for row in rows}
    steps = [row.get("step") for row in rows]
    rows = [row for row in rows if steps.count(row["step"]) == len(blocks)]
    if not rows:
        return None
    try:
        return expert_shares(rows)[:2]
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a table of shares by step and block: {error}") from error


class Group(NamedTuple):
    """Runs that differ only in `train.seed`.

    Attributes:
      label: what the page calls them.
      runs: list of Run.
    """

    label: str
    runs: list

    def counted(self):
        """The runs of which the results are: the finished ones, or all if none is."""
        return [run for run in self.runs if run.summary] or self.runs


def grouped(runs):
    """List of Group, in the order of the first run of each."""
    found = {}
    for run in runs:
        config = {**run.config, "train": {key: value for key, value in run.train.items() if key != "seed"}}
        found.setdefault(json.dumps(config, sort_keys=True), []).append(run)
    return [Group(_joint_label([run.label for run in members]), members) for members in found.values()]


def _joint_label(labels):
    if len(labels) <= 2:
        return ", ".join(labels)
    return f"{labels[0]} to {labels[-1]}, {len(labels)} runs"


class Spread(NamedTuple):
    """Of the values of several seeds."""

    mean: float
    least: float
    largest: float
    count: int


def spread(values):
    """The Spread of numbers, of which there is at least one."""
    values = list(values)
    return Spread(statistics.fmean(values), min(values), max(values), len(values))


def setting_differences(groups):
    """{dotted setting: [text of its value in each group]} of the settings in which groups differ, without the seed.

    A group that lacks the setting has "".
    """
    values = [dict(configs.flat(group.runs[0].config)) | {"train.seed": None} for group in groups]
    texts = [{key: value if isinstance(value, str) else repr(value) for key, value in own.items()} for own in values]
    names = sorted({name for own in texts for name in own})
    found = {name: [own.get(name, "") for own in texts] for name in names}
    return {name: of_groups for name, of_groups in found.items() if len(set(of_groups)) > 1}
