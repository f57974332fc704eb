"""Time of one step of a case by kind of operation: python -m benchmarks.profile FILE FUNCTION JSON

The arguments are those of benchmarks/worker.py. Operations run one after the other, each on all threads, so that their times
add up to the time of the step.
"""

import argparse
import collections
import json
import pathlib
import re
import runpy
import tempfile
import time

import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from benchmarks.harness import write_json
from official.cli.arguments import positive

# The frame around a function compiled by XLA, which has no name of its own.
COMPILED_FRAME = "ExecutorState::ProcessAsync::Start"
CLOSING = 0.2  # seconds in which TensorFlow's threads end the last events, after the step's result is there


def profile(step):
    """{kind of operation: (thread seconds, calls)} of one call of `step`, and the seconds it took."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        with tf.profiler.experimental.Profile(folder):
            step()
        seconds = time.perf_counter() - start
        space = xplane_pb2.XSpace()
        space.ParseFromString(next(pathlib.Path(folder).rglob("*.xplane.pb")).read_bytes())
    totals = collections.defaultdict(lambda: [0.0, 0])
    for plane in space.planes:
        for event in (event for line in plane.lines for event in line.events):
            name = plane.event_metadata[event.metadata_id].name
            kind = _kind(name.split("#")[0])
            if kind:
                totals[kind][0] += event.duration_ps / 1e12
                totals[kind][1] += 1
    return totals, seconds


def _kind(event):
    """The kind of an operation, whose event is called name:kind; None for other events."""
    if event == COMPILED_FRAME:
        return "compiled by XLA"
    match = re.fullmatch(r"[^: ]+:(\w+)", event)
    return match and match[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file")
    parser.add_argument("function")
    parser.add_argument("settings", type=json.loads)
    parser.add_argument("--rows", type=positive, default=15)
    parser.add_argument("--json", help="file to write the results to")
    given = parser.parse_args()
    tf.config.threading.set_inter_op_parallelism_threads(1)
    step, facts = runpy.run_path(given.file)[given.function](**given.settings)
    for _ in range(3):
        step()
    totals, seconds = profile(step)
    print(f"one step: {seconds * 1e3:.0f} ms")
    operations = sorted(((kind, own * 1e3, calls) for kind, (own, calls) in totals.items()), key=lambda row: -row[1])
    for kind, milliseconds, calls in operations[: given.rows]:
        print(f"{milliseconds:9.1f} ms {calls:6d}  {kind}")
    if given.json:
        rest = operations[given.rows :]
        others = ("all others", sum(row[1] for row in rest), sum(row[2] for row in rest))
        operations = [*operations[: given.rows], others]
        write_json(given.json, settings=given.settings, facts=facts, milliseconds=seconds * 1e3, operations=operations)


if __name__ == "__main__":
    main()
