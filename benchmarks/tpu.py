"""Training steps compiled for TPUs on a machine without one: python -m benchmarks.tpu --model=widenet_b16 --chip=v3 --batch=16

XLA's compiler for TPUs says whether the whole step of one core compiles and fits, what memory it takes, and what it estimates it
to cost. The step is that of the paper's pretraining in bfloat16 (benchmarks/train_hlo.py), without the exchange of gradients
between cores. Needs an environment of its own: sh benchmarks/peers/setup.sh tpu. A small model takes half a minute a chip on two
cores, a large one several minutes and up to 15 GB of memory.

With --json, results are added to the file, and those that are in it are not computed again: the same command resumes a stopped
one. --largest looks for the largest batch of a core. --settings changes the model: '{"depth": 2}'.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from benchmarks.harness import ROOT, machine, write_json
from benchmarks.peers.environments import TPU
from benchmarks.peers.tpu_compiler import CHIPS
from official.cli.arguments import positive

# The models of the paper's two tables, the smallest step first.
MODELS = ("widenet_b16", "vit_b16", "vit_moe_b16", "widenet_l16", "vit_l16", "vit_moe_l16", "widenet_h16")
MODELS += ("albert_base", "bert_base", "widenet_base_e4", "widenet_base_e8", "widenet_base_e16")
CORES = {"v2": 2, "v3": 2, "v4": 2}  # of a chip; the others have one, or two that work as one
RECIPE_BATCH = 4096  # of both recipes
GIB = 2**30


class Refused(Exception):
    """A process ended early; the message has the last lines that it printed."""


def compile_step(model, chip, batch, settings=None, folder=None):
    """What the compiler says of a training step.

    Args:
      model, batch, settings: `name`, `batch` and others of benchmarks.train_hlo.compiled_model.
      chip: a key of benchmarks.peers.tpu_compiler.CHIPS.
      folder: where the program is kept, also for the next chip; None for nowhere.

    Returns:
      The dict of benchmarks.peers.tpu_compiler.compiled and `model`, `settings`, `chip`, `batch`, `parameters` and `git_commit`.

    Raises:
      Refused: the step could not be made, or the compiler ended without a word.
    """
    settings = settings or {}
    with tempfile.TemporaryDirectory() as temporary:
        program = pathlib.Path(folder or temporary) / f"{model}-{batch}.hlo"
        facts, result = program.with_name(f"{program.name}.json"), pathlib.Path(temporary) / "result.json"
        if not facts.exists():
            arguments = json.dumps(dict(settings, name=model, batch=batch))
            _run([sys.executable, "-m", "benchmarks.train_hlo", program, arguments])
        _run([TPU.python, "-I", ROOT / TPU.file, "compile", program, chip, result])
        found = json.loads(result.read_text())
        parameters = json.loads(facts.read_text())["parameters"]
    commit = machine()["git_commit"]
    return dict(model=model, settings=settings, chip=chip, batch=batch, parameters=parameters, git_commit=commit, **found)


def _run(command):
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise Refused(f"{command[1]} ended with code {done.returncode}:\n" + "\n".join(done.stdout.splitlines()[-15:]))


def used(row):
    """Bytes of a core that a step takes: what it is given, gives back beside it, and needs meanwhile."""
    memory = row["memory"]
    return sum(memory.values()) - 2 * memory["replaced"]


def size(count):
    """Bytes in words."""
    return f"{count / GIB:.2f} GiB" if count >= GIB / 10 else f"{count / 2**20:.1f} MiB"


def fits(row):
    return "error" not in row


def is_too_large(row):
    """Whether the compiler refused a step only because of its memory."""
    return "error" in row and re.search(r"out of memory|exceeded .*capacity", row["error"], re.IGNORECASE) is not None


def estimated_largest(rows):
    """The largest batch of a core, from rows of one model and chip; 0 if nothing is known.

    Memory is taken as a line through the two largest batches that compiled, or, of a single one, what is not the weights as
    proportional to the batch, which is careful.
    """
    rows = sorted((row for row in rows if fits(row)), key=lambda row: row["batch"])
    if not rows:
        return 0
    last = rows[-1]
    per_example = (used(last) - last["memory"]["arguments"]) / last["batch"]
    if len(rows) > 1:
        per_example = (used(last) - used(rows[-2])) / (last["batch"] - rows[-2]["batch"])
    return last["batch"] + max(int((last["limit"] - used(last)) / max(per_example, 1)), 0)


def find_largest(compiled, start, tries=6):
    """The largest batch that compiles, among multiples of `start`, by estimates that the compiler confirms.

    Args:
      compiled: function of a batch to its row.
      start: a batch that is likely to fit.
      tries: compilations at most.

    Returns:
      (largest that compiled or 0, whether the next one was refused).
    """
    rows = {start: compiled(start)}
    while True:
        good = max((batch for batch, row in rows.items() if fits(row)), default=0)
        bad = min((batch for batch, row in rows.items() if not fits(row)), default=None)
        if (bad is not None and bad - good <= start) or len(rows) >= tries:
            return good, bad == good + start
        estimate = estimated_largest(rows.values()) // start * start
        highest = bad - start if bad is not None else max(estimate, good + start)
        batch = min(max(estimate, good + start), highest)
        rows[batch] = compiled(batch)


def cores_needed(largest, batch=RECIPE_BATCH):
    """Cores that a batch needs if each takes at most `largest` examples, and all equally many; None if even one does not fit."""
    return next((batch // share for share in range(min(largest, batch), 0, -1) if batch % share == 0), None)


def recipes(rows):
    """Rows {model, chip, largest, is_tried, cores, chips} of what the paper's batch needs; estimates.

    `is_tried` says whether the compiler took the largest batch and refused one of at most an eighth more.
    """
    found = []
    for model, chip in dict.fromkeys((row["model"], row["chip"]) for row in rows if not row["settings"]):
        own = [row for row in rows if (row["model"], row["chip"], row["settings"]) == (model, chip, {})]
        good = max((row["batch"] for row in own if fits(row)), default=0)
        bad = min((row["batch"] for row in own if is_too_large(row)), default=None)
        is_tried = bad is not None and bad <= good * 9 / 8
        largest = good if is_tried else estimated_largest(own)
        cores = cores_needed(largest)
        chips = cores and -(-cores // CORES.get(chip, 1))
        found.append(dict(model=model, chip=chip, largest=largest, is_tried=is_tried, cores=cores, chips=chips))
    return found


def line(row):
    """A row in words."""
    name = f"{row['model']}{row['settings'] or ''}, {row['chip']}, batch {row['batch']}"
    if not fits(row):
        return f"{name}: refused, {row['error'].splitlines()[0][:300]}"
    kinds = ", ".join(f"{kind} {size(count)}" for kind, count in row["memory"].items())
    cycles = sum(row["cycles"].values())
    shares = sorted(row["cycles"].items(), key=lambda item: -item[1])
    of_kinds = ", ".join(f"{kind} {own / cycles:.1%}" for kind, own in shares if own)
    numbers = ", ".join(f"{count} {opcode}" for opcode, count in row["counts"].items() if count)
    costs = f"{row['flops'] / 1e9:.1f} GFLOP, {row['bytes'] / 1e9:.2f} GB, {cycles / 1e6:.2f} million cycles"
    memory = f"{size(used(row))} of {size(row['limit'])} ({kinds})"
    return f"{name}: {memory}\n  {costs}: {of_kinds}\n  {numbers}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="of either zoo, several times for several (default: the paper's)")
    parser.add_argument("--chip", action="append", choices=list(CHIPS), help="several times for several (default: v3)")
    parser.add_argument("--batch", type=positive, default=16, help="examples of a core (default: 16, the paper's on 256 cores)")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON of settings of the model to change")
    parser.add_argument("--largest", action="store_true", help="look for the largest multiple of the batch that fits")
    parser.add_argument("--programs", type=pathlib.Path, help="folder to keep the programs in: as HLO, and as they were compiled")
    parser.add_argument("--json", type=pathlib.Path, help="file to add the results to")
    given = parser.parse_args()
    if not TPU.python.exists():
        raise SystemExit(f"error: its environment is missing; make it with: sh benchmarks/peers/setup.sh {TPU.name}")
    exists = given.json is not None and given.json.exists()
    rows = json.loads(given.json.read_text())["tpu_steps"] if exists else []
    with tempfile.TemporaryDirectory() as folder:
        if given.programs:
            folder = given.programs
            folder.mkdir(parents=True, exist_ok=True)
            for facts in folder.glob("*.hlo.json"):  # the step may have changed since
                facts.unlink()
        for model in given.model or MODELS:
            for chip in given.chip or ["v3"]:

                def compiled(batch, model=model, chip=chip):
                    key = dict(model=model, chip=chip, batch=batch, settings=given.settings)
                    for row in rows:
                        if key.items() <= row.items():
                            return row
                    rows.append(compile_step(model, chip, batch, given.settings, folder))
                    print(line(rows[-1]), flush=True)
                    if given.json:
                        write_json(given.json, tpu_steps=rows, recipes=recipes(rows))
                    return rows[-1]

                try:
                    compiled(given.batch)
                    if given.largest:
                        find_largest(compiled, given.batch)
                except Refused as error:
                    raise SystemExit(f"error: {error}") from error
    for row in recipes(rows):
        needed = f"{row['cores']} cores, {row['chips']} chips" if row["cores"] else "none fits"
        how = "tried" if row["is_tried"] else "estimated"
        print(f"{RECIPE_BATCH} examples with {row['model']} on {row['chip']}: at most {row['largest']} a core ({how}), {needed}")


if __name__ == "__main__":
    main()
