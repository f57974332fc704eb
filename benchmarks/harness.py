"""Measures cases in turns on one machine, so that its noise affects all of them equally.

Each case runs in a process of its own (benchmarks/worker.py): no thread pool or memory is shared, and other libraries can have
their own environments. In every round each case runs one step, in an order that rotates. The result is the ratio of its median to
that of the first case, with a 95 % bootstrap interval over the rounds.
"""

import dataclasses
import json
import math
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

import numpy as np

from official.files.atomic import atomic_write

ROOT = pathlib.Path(__file__).parent.parent


@dataclasses.dataclass(frozen=True)
class Case:
    """A benchmark case: what a worker runs, and its row in the table.

    Attributes:
      name: of the row.
      file: Python file that defines `function`, relative to the repository's root.
      function: sets up the case; see benchmarks/worker.py.
      settings: arguments of the function, plain JSON.
      note: how its work differs from that of the first case.
      python: the interpreter; None for this one.
      isolated: whether another one runs isolated from this checkout.
    """

    name: str
    file: str
    function: str
    settings: dict = dataclasses.field(default_factory=dict)
    note: str = ""
    python: str | None = None
    isolated: bool = True


class CaseFailed(Exception):
    """A worker ended early; the message has the last lines that it printed."""


class _Process:
    def __init__(self, case):
        self.case = case
        isolated = ["-I"] if case.python and case.isolated else []
        # Each environment chooses its Keras itself.
        environment = {key: value for key, value in os.environ.items() if key != "TF_USE_LEGACY_KERAS"}
        environment["TF_CPP_MIN_LOG_LEVEL"] = "3"
        if not isolated:
            environment["PYTHONPATH"] = str(ROOT)
        command = [case.python or sys.executable, *isolated, str(ROOT / "benchmarks/worker.py")]
        command += [str(ROOT / case.file), case.function, json.dumps(case.settings)]
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115, open as long as the process runs
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, env=environment, cwd=ROOT
        )
        self._answer()

    def step(self):
        self._say("step")
        return self._answer()["seconds"]

    def finish(self):
        """Ends the process; returns its peak_bytes and facts."""
        self._say("end")
        end = self._answer()
        self._process.wait()
        return end

    def kill(self):
        self._process.kill()
        self._process.wait()

    def _say(self, line):
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # _answer reports that the process ended

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            end = "\n".join(self._log.read().splitlines()[-15:])
            raise CaseFailed(f"{self.case.name} ended with code {self._process.wait()}:\n{end}")
        return json.loads(line)


def measure(cases, rounds, warmup=2, at_most=math.inf):
    """Runs all cases in turns.

    Args:
      cases: list of Case; ratios are to the first.
      rounds: number of timed steps of each.
      warmup: number of steps of each before those.
      at_most: seconds after which no further round begins. Warm-up steps of all cases together get a fourth of it.

    Returns:
      List of dicts, one per case: name, note, facts, seconds (list), median_seconds, ratio, ratio_interval, peak_bytes.

    Raises:
      CaseFailed: a case could not be set up, or ended early.
    """
    processes = []
    try:
        for case in cases:
            processes.append(_Process(case))
            warm = 0.0
            for _ in range(warmup):
                if warm <= at_most / 4 / len(cases):
                    warm += processes[-1].step()
        seconds = np.zeros((len(processes), 0))
        for number in range(rounds):
            if seconds.sum() > at_most:
                break
            times = np.zeros((len(processes), 1))
            for index in np.roll(np.arange(len(processes)), -number):
                times[index] = processes[index].step()
            seconds = np.concatenate([seconds, times], axis=1)
            if sys.stderr.isatty():
                end = "\n" if number + 1 == rounds else ""
                print(f"\rround {number + 1} of {rounds}", end=end, file=sys.stderr, flush=True)
        ends = [process.finish() for process in processes]
    finally:
        for process in processes:
            process.kill()
    rows = []
    for process, own, end in zip(processes, seconds, ends, strict=True):
        rows.append(
            {
                "name": process.case.name,
                "note": process.case.note,
                "seconds": own.round(6).tolist(),
                "median_seconds": float(np.median(own)),
                "ratio": float(np.median(own) / np.median(seconds[0])),
                "ratio_interval": ratio_interval(own, seconds[0]),
                **end,
            }
        )
    return rows


def ratio_interval(seconds, base, samples=2000):
    """95 % bootstrap interval of median(seconds) / median(base); both are resampled by round."""
    random = np.random.default_rng(0)
    rounds = random.integers(len(base), size=(samples, len(base)))
    ratios = np.median(seconds[rounds], axis=1) / np.median(base[rounds], axis=1)
    return [float(bound) for bound in np.percentile(ratios, [2.5, 97.5])]


def machine():
    """The machine and the commit of a measurement."""
    model = next((line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.processor())
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), "git_commit": commit}


def _cpuinfo():
    path = pathlib.Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def table(rows, columns=()):
    """The rows as text: name, median, ratio and interval, peak memory, and the facts in `columns`."""
    header = ["", "median ms", "ratio", "95 %", "peak MiB", *columns]
    lines = [header]
    for row in rows:
        low, high = row["ratio_interval"]
        facts = [_text(row["facts"].get(column, "")) for column in columns]
        own = [f"{row['median_seconds'] * 1e3:.1f}", f"{row['ratio']:.3f}", f"{low:.3f}-{high:.3f}"]
        lines.append([row["name"], *own, f"{row['peak_bytes'] / 2**20:.0f}", *facts])
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    text = [
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    ]
    notes = [(row["name"], row["note"] or row["facts"].get("differs")) for row in rows]
    notes = [f"  {name}: {note}" for name, note in notes if note]
    return "\n".join([*text, *notes])


def _text(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_json(path, **results):
    """Writes results and machine as JSON, atomically."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, (json.dumps({"machine": machine(), **results}, indent=2) + "\n").encode())
    print(f"\nwritten to {path}")
