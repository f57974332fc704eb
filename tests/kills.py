"""Kills a run again and again, and compares what it becomes with a run of the same command that nobody stopped.

    python -m tests.kills --config=vision/configs/digits.py --kills=20 --seed=0 -- --config.train.steps=100

What follows `--` are further arguments of official.train. Each kill is a SIGKILL in one of four phases, at a seeded random moment
of it: while the run starts, while it trains, while it writes a checkpoint, and, for the last quarter, while it exports. How long
the phases take is measured, first on the run that nobody stops. The command says where each kill came, then every difference of
weights, moments, tables and files, and exits with 1 if there is one.
"""

import argparse
import io
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import tensorflow as tf

from official.checkpoints import files
from official.files.checked_json import read_json
from official.files.layout import CHECKPOINTS, OBJECT_GRAPH, SUMMARY_JSON, TENSORBOARD
from official.files.tables import read_table
from tests.official.events import events
from tests.official.tiny import ROOT, environment

START, TRAINING, CHECKPOINT, SEALED, EXPORT = "start", "training", "checkpoint", "the training after one", "export"
BEGINNINGS = {TRAINING: b"\nTraining to step ", EXPORT: b"\nExporting the model to "}  # what a run prints when the phase begins
LIMIT = 1800  # seconds that a run may take
# What two runs of one command may differ in: times, memory, the state of the checkout, and the number of saves in a session.
MEASURED = ("seconds", "_per_second", "flop_utilisation", "peak_memory_bytes", "git_commit", "git_modified")
NOT_COMPARED = {f"{name}/.ATTRIBUTES/VARIABLE_VALUE" for name in ("seconds", "save_counter")} | {OBJECT_GRAPH}
METRICS = "metrics/.ATTRIBUTES/py_state"  # an .npz file, which has the time at which it was written


def differences_after_kills(arguments, folder, kills, seed=0, tell=print):
    """Runs a command once without a stop, and once more with kills, after each of which the same command is started again.

    Where the second run is finished before its last kill, another one begins, and each is compared.

    Args:
      arguments: of official.train, a list of strings without --workdir.
      folder: an empty pathlib.Path.
      kills: number of kills.
      seed: of their moments.
      tell: function that is called with a sentence about each run and each kill.

    Returns:
      A list of sentences, one for each difference; empty if there is none.

    Raises:
      RuntimeError: a run ended with an error, or takes over half an hour.
    """
    unstopped = folder / "unstopped"
    _, times = run_until(arguments, unstopped)
    longest = longest_delays(times, is_finished=True)
    tell("The run that nobody stopped: " + ", ".join(f"{phase} {seconds:.2f} s" for phase, seconds in longest.items()))
    moments = random.Random(seed)
    before_export = [(START, TRAINING, CHECKPOINT)[i % 3] for i in range(kills - kills // 4)]
    moments.shuffle(before_export)
    found, runs = [], 1
    for kill, phase in enumerate([*before_export, *[EXPORT] * (kills // 4)], 1):
        is_killed = False
        while not is_killed:
            workdir = folder / f"killed-{runs}"
            # The phase may be over already, so a kill comes at the latest in the export, after which there is nothing to kill.
            delays = {at: moments.uniform(0, longest[at]) for at in dict.fromkeys((phase, EXPORT))}
            is_killed, times = run_until(arguments, workdir, delays)
            longest |= longest_delays(times, not is_killed)  # the machine may be less busy, or more, than before
            if not is_killed:
                found += differences(unstopped, workdir)
                runs += 1
        last = list(times)[-1]
        tell(f"Kill {kill} of {kills}: {times[last]:.2f} s after the beginning of {last}; {state(workdir)}")
    workdir = folder / f"killed-{runs}"
    run_until(arguments, workdir)
    return found + differences(unstopped, workdir)


def run_until(arguments, workdir, delays=None):
    """Runs the driver to its end, or kills it.

    Args:
      arguments: as of `differences_after_kills`.
      workdir: a pathlib.Path; output is added to a file beside it, WORKDIR.log.
      delays: {phase: seconds after its beginning at which the process is killed}; None for never.

    Returns:
      Whether it was killed, and {phase: seconds from its beginning to the end of the process} of the phases that it came to, in
      their order. CHECKPOINT is the first one after the start, and SEALED follows it.

    Raises:
      RuntimeError: as of `differences_after_kills`.
    """
    log = workdir.with_name(f"{workdir.name}.log")
    before = names(workdir / CHECKPOINTS)
    command = [sys.executable, "-m", "official.train", f"--workdir={workdir}", *arguments]
    with log.open("ab") as output:
        printed = output.tell()
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=output, stderr=subprocess.STDOUT)
    began, killed = {START: time.perf_counter()}, False
    try:
        while process.poll() is None and not killed:
            time.sleep(0.002)  # a checkpoint of a small model takes 20 ms
            text = log.read_bytes()[printed:]
            new = names(workdir / CHECKPOINTS) - before
            signs = {phase: sign in text for phase, sign in BEGINNINGS.items()}
            signs |= {CHECKPOINT: bool(new), SEALED: any(name.endswith(files.SUMS) for name in new)}
            now = time.perf_counter()
            for phase, has_begun in signs.items():
                if has_begun:
                    began.setdefault(phase, now)
            killed = any(phase in began and now - began[phase] >= delay for phase, delay in (delays or {}).items())
            if now - began[START] > LIMIT:
                raise RuntimeError(f"the run in {workdir} takes over {LIMIT} seconds; see {log}")
    finally:
        process.kill()
        code = process.wait()
    if code and not (killed and code == -signal.SIGKILL):
        raise RuntimeError(f"the run in {workdir} ended with code {code}:\n{log.read_bytes()[printed:].decode(errors='replace')}")
    end = time.perf_counter()
    return bool(code), {phase: end - since for phase, since in began.items()}


def longest_delays(times, is_finished):
    """{phase: seconds}, within which a kill comes, of those phases that a run has gone through.

    Training is its part before the first checkpoint, which every session has, and a third of the rest, so that several kills find
    something to train. Of the export it is two thirds, since the next one may be faster.

    Args:
      times: of `run_until`.
      is_finished: whether the run was, and not killed.
    """
    longest = {}
    if TRAINING in times:
        longest[START] = times[START] - times[TRAINING]
    if SEALED in times:
        longest[CHECKPOINT] = times[CHECKPOINT] - times[SEALED]
    if CHECKPOINT in times and EXPORT in times:
        longest[TRAINING] = times[TRAINING] - times[CHECKPOINT] + (times[CHECKPOINT] - times[EXPORT]) / 3
    if is_finished:
        longest[EXPORT] = times[EXPORT] * 2 / 3
    return longest


def names(folder):
    """The names in a folder, a set; empty if the folder is missing."""
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def state(workdir):
    """What a kill left, a clause: the newest checkpoint that is whole, and what was begun."""
    damaged = []
    newest = files.newest_whole(workdir / CHECKPOINTS, damaged.append)
    stems = [name for name in names(workdir / CHECKPOINTS) if name.startswith("step-")]
    sealed = {name.removesuffix(files.SUMS) for name in stems if name.endswith(files.SUMS)}
    begun = sorted(name for name in stems if name.partition(".")[0] not in sealed)
    begun += sorted(path.name for path in workdir.glob("*.partial")) if workdir.exists() else []
    of = pathlib.Path(newest).name if newest else "none"
    return f"newest whole checkpoint: {of}, begun: {', '.join(begun) or 'nothing'}"


def differences(expected, found):
    """Sentences about what differs between the workdirs of two finished runs, pathlib.Paths. Times may differ."""
    told = []
    for name in sorted(_files(expected) ^ _files(found)):
        told.append(f"{name} is only in {expected if (expected / name).exists() else found}")
    for prefix in sorted(path.with_suffix("") for path in expected.rglob("*.index")):
        name = prefix.relative_to(expected)
        if (found / f"{name}.index").exists():
            told += [f"{name}: {tensor} differs{by}" for tensor, by in _different_tensors(prefix, found / name)]
    pairs = {**tables(expected), **_scalars(expected)}, {**tables(found), **_scalars(found)}
    for name in sorted(pairs[0].keys() | pairs[1].keys()):
        told += [f"{name}: {what}" for what in _different_rows(*(pair.get(name, []) for pair in pairs))]
    return told


def tables(workdir):
    """{file: rows as dicts} of the tables and the summary, without what is measured."""
    rows = {file.name: read_table(file) for file in sorted(workdir.glob("*.csv"))}
    if (workdir / SUMMARY_JSON).exists():
        summary = read_json(workdir / SUMMARY_JSON)
        rows |= {SUMMARY_JSON: [summary], f"metrics of {SUMMARY_JSON}": [summary.pop("metrics")]}
    return {name: [{k: v for k, v in row.items() if not k.endswith(MEASURED)} for row in table] for name, table in rows.items()}


def _scalars(workdir):
    """The same of TensorBoard's scalars: a row has the values of a tag by their steps."""
    found = {}
    for (split, tag), values in events(workdir).items() if (workdir / TENSORBOARD).exists() else ():
        if split != TENSORBOARD and not tag.endswith(MEASURED):
            found[f"{TENSORBOARD}/{split} {tag}"] = [{step: value.SerializeToString() for step, value in values}]
            assert len(values) == len({step for step, _ in values}), f"a step of {split}/{tag} is there twice"
    return found


def _files(workdir):
    """Paths of all files but TensorBoard's, whose names have times, relative to the workdir."""
    paths = {path.relative_to(workdir) for path in workdir.rglob("*") if path.is_file()}
    return {path for path in paths if path.parts[0] != TENSORBOARD}


def _different_rows(expected, found):
    if len(expected) != len(found):
        yield f"{len(found)} rows and not {len(expected)}"
    for number, (row, other) in enumerate(zip(expected, found, strict=False), 1):
        for key in [*row, *(key for key in other if key not in row)]:
            if row.get(key) != other.get(key):
                yield f"row {number}, {key}: {other.get(key)} and not {row.get(key)}"


def _different_tensors(prefix, other):
    """Yields (name, how much) of the tensors of two checkpoints whose bytes differ, or which one of them lacks."""
    expected, found = _tensors(prefix), _tensors(other)
    for name in sorted(expected.keys() | found.keys()):
        value, other = expected.get(name), found.get(name)
        if value is None or other is None:
            yield name, " by being only in one of them"
        elif value.shape != other.shape or value.dtype != other.dtype:
            yield name, f" by its shape or type: {other.shape} {other.dtype} and not {value.shape} {value.dtype}"
        elif value.tobytes() != other.tobytes():
            yield name, f" by {np.abs(value - other).max():.3g}" if np.issubdtype(value.dtype, np.floating) else ""


def _tensors(prefix):
    """{name: array} of a checkpoint, with the arrays of the metrics' state."""
    reader = tf.train.load_checkpoint(files.readable(str(prefix)))
    compared = set(reader.get_variable_to_shape_map()) - NOT_COMPARED - {METRICS}
    values = {name: np.asarray(reader.get_tensor(name)) for name in compared}
    if reader.has_tensor(METRICS):
        with np.load(io.BytesIO(reader.get_tensor(METRICS)), allow_pickle=False) as state:
            values |= {f"metrics {name}": state[name] for name in state}
    return values


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="the recipe")
    parser.add_argument("--kills", type=int, default=20, help="number of kills (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills (default: 0)")
    parser.add_argument("arguments", nargs="*", help="further arguments of official.train, after --")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        arguments = [f"--config={given.config}", *given.arguments]
        found = differences_after_kills(arguments, pathlib.Path(folder), given.kills, given.seed)
    print("\n".join(found) or f"After {given.kills} kills nothing differs.")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
