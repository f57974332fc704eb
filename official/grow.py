"""Grows a model with experts out of a dense one: python -m official.grow --model=runs/bert --output=grown \\
    --config.model.moe_blocks=all --config.model.num_experts=4 --config.model.renormalize=True

--model is a run, a checkpoint or an exported model of this project. The grown model has its settings, but for those that are
changed by --config.model.SETTING=VALUE, and computes the same function, or begins near it (docs/weights.md). It is written as an
exported model, which official.train takes as --config.init, and every other command as --model.

Blocks that share experts but had feed-forward layers of their own (ffn_groups) need a router that knows them from their inputs.
It is fitted to batches of the training data of the model's recipe, which --data_dir and --config.data.SETTING=VALUE change.
"""

import argparse
import ast
import copy
import functools
import pathlib
import sys

from ml_collections import ConfigDict

from official.cli import quiet

with quiet.startup():
    import tensorflow as tf

from official import config as configs
from official.checkpoints.trained_models import fill_in, find_model, restore_weights
from official.checkpoints.weights import plain_name, read_weights
from official.cli.arguments import add_data_dir, add_model, add_task_modules, parse_with_settings
from official.files.layout import check_output, printable
from official.files.summary import run_facts
from official.files.tables import text_table
from official.serving.saved_models import keep_weights, write_saved_model
from official.task import create_task, task_class
from official.zoo import did_you_mean

# Settings that a grown model has from its parent.
FIXED = {
    "task": "a model is grown for the task that it was trained for",
    "init": "--model is what the model grows out of",
}


def grow(model, output, settings, experts=None, attention=None, data_dir=None, averaged=True, task_modules=()):
    """Grows a model and exports it. Everything is checked before anything is written.

    Args:
      model: the dense model, as of official.checkpoints.trained_models.find_model.
      output: the folder to write, a new path or an empty folder.
      settings: {setting: text} of the grown model, such as {"model.num_experts": "4"}, in place of those of `model`; parsed as
        Python literals where `model` has no text.
      experts, attention: lists of blocks, as of widenet.grow_model; None for its choice.
      data_dir: in place of the recipe's data.dir.
      averaged: whether the averages of the weights are taken where a checkpoint has them (`train.ema_decay`).
      task_modules: names of modules outside this project that may define the task (official.task.create_task).

    Returns:
      (the content of the export's official.files.layout.FACTS_FILE, what the task's `grow` returns, number of parameters of
      `model`).

    Raises:
      ValueError: no model at the path, a setting that is not allowed, an output that holds something, or a model that cannot be
        grown so.
      OSError: the output cannot be written.
    """
    folder = pathlib.Path(output)
    check_output(folder, False, "an empty folder")
    found = find_model(model, setting="--model")
    before = found.config
    if not found.is_saved_model:
        fill_in(before, found.evaluations.parent)
    if data_dir is not None:
        settings = {**settings, "data.dir": str(data_dir)}
    known = task_class(before, task_modules).setting_meanings().get("model", {})
    # The data are changed for both models: the same batches go through both.
    _change(before, {key: text for key, text in settings.items() if key.startswith("data.")}, known)
    precision = before.train.precision
    wide = "float64" if precision == "float64" else "float32"
    tf.keras.mixed_precision.set_global_policy(wide)
    source = create_task(before, task_modules)
    config = copy.deepcopy(before)
    _change(config, settings, known)
    config.init = ""
    task = create_task(config, task_modules)

    parent = source.create_model()
    restore_weights(parent, found, averaged)
    child = task.create_model()
    growth = task.grow(child, parent, experts=experts, attention=attention, inputs=_inputs(task))
    tf.keras.mixed_precision.set_global_policy(config.train.precision)
    spec = task.part(task.parts[0])
    grown = {plain_name(weight.name): weight for weight in child.weights}
    for weight in spec.model.weights:
        weight.assign(grown[plain_name(weight.name)])
    if found.is_saved_model:
        own = {plain_name(weight.name) for weight in parent.weights}
        kept = {name: value for name, value in read_weights(found.path).items() if name not in own}
        spec = keep_weights(spec, kept)
    folder.parent.mkdir(parents=True, exist_ok=True)
    facts = run_facts(config.get("name", ""), task.unit, None, {})
    return write_saved_model(spec, folder, configs.to_plain(config), facts), growth, parent.count_params()


def _inputs(task):
    """Yields the inputs of training batches. The data are opened when the first one is asked for."""
    for inputs, *_ in task.train_dataset(0):
        yield inputs


def _change(config, settings, known):
    """Changes settings of a config, {dotted name: text}; `known` are the names of settings of `model` that it may lack."""
    names = {*dict(configs.flat(configs.to_plain(config))), *(f"model.{name}" for name in known)}
    for key, text in settings.items():
        if key not in names:
            section = key.partition(".")[0]
            known = ", ".join(sorted(name for name in names if name.partition(".")[0] == section) or sorted(names))
            raise ValueError(f"--config.{key} is not a setting of the model{did_you_mean(key, names)}; known: {known}")
        *sections, setting = key.split(".")
        section = functools.reduce(ConfigDict.__getitem__, sections, config)
        keeps_text = sections != ["model"] and isinstance(section[setting], str)
        with section.unlocked(), section.ignore_type():
            section[setting] = text if keeps_text else _literal(text)


def _literal(text):
    """The value of a Python literal; another text, such as a bare word, as it is."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def report(folder, facts, growth, before):
    """Prints what became of the weights, how near the grown model is to the one before, and where it is.

    Args:
      folder: where it is.
      facts, growth, before: what `grow` returns.
    """
    print(text_table(growth.rows))
    if growth.unexplained is not None:
        print("\nOn data that the router was not fitted to:")
        if growth.own_share:
            print(f"  tokens that go to the expert of their own block: {_percentages(growth.own_share)}")
        print(f"  unexplained share of the variance of each block's output: {_percentages(growth.unexplained)}")
    for note in growth.notes:
        print(f"\n{note}")
    print(f"\n{folder}: {printable(facts['model'])}, {facts['kind']}, {facts['parameters']:,} parameters, before {before:,}")


def _percentages(shares):
    return ", ".join(f"{100 * share:.1f} %" for share in shares)


def _blocks(text):
    """The argparse type of a list of block numbers, such as 0,2,3,5."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: it must be block numbers from 0 on, such as 0,2,3,5")
    return [int(part) for part in parts]


def main():
    parser = argparse.ArgumentParser(
        prog="python -m official.grow", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model(parser, "the dense model: a workdir, checkpoint, exported model or handle")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="folder to write: a new path or an empty folder")
    which = "blocks whose feed-forward layers become experts (default: spread evenly)"
    parser.add_argument("--experts", metavar="BLOCKS", type=_blocks, help=which)
    parser.add_argument(
        "--attention", metavar="BLOCKS", type=_blocks, help="for each shared attention, the block that it is taken from"
    )
    parser.add_argument("--no_average", action="store_true", help="take the weights, not their averages (ema_decay)")
    add_data_dir(parser, "folder of the data set (default: the recipe's)")
    add_task_modules(parser)
    parser.epilog = "Settings of the grown model: --config.SETTING=VALUE"
    given, changes = parse_with_settings(parser, FIXED)
    settings = dict(change.removeprefix("--config.").split("=", 1) for change in changes)
    try:
        grown = grow(
            given.model,
            given.output,
            settings,
            given.experts,
            given.attention,
            given.data_dir,
            not given.no_average,
            given.task_modules,
        )
    except (ValueError, OSError, tf.errors.OpError) as error:
        sys.exit(printable(f"error: {error}"))
    report(given.output, *grown)


if __name__ == "__main__":
    # Saving warns of untraced functions, and restoring of each value of a checkpoint that was not read.
    tf.get_logger().setLevel("ERROR")
    main()
