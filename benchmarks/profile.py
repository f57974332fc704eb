"""Where one step of a contestant goes, by kind of operation: python -m benchmarks.profile FILE FUNCTION JSON

The seconds are those of threads: of two that work at a time both count, so they can add up to more than the step took.
"""

import argparse
import collections
import json
import pathlib
import runpy
import tempfile
import time

import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

# Frames around operations, whose time is that of what stands inside them.
FRAMES = ("Run", "Process", "EagerExecute", "EagerKernelExecute", "TFE_Py_ExecuteCancelable", "train_function")


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
            # An operation is called name:kind; what has no colon is a frame or one of XLA's loops.
            kind = name.split(":")[-1].split("#")[0].strip()
            if kind not in FRAMES and not kind.startswith("__inference"):
                totals[kind][0] += event.duration_ps / 1e12
                totals[kind][1] += 1
    return totals, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file")
    parser.add_argument("function")
    parser.add_argument("settings", type=json.loads)
    parser.add_argument("--rows", type=int, default=25)
    arguments = parser.parse_args()
    step, _ = runpy.run_path(arguments.file)[arguments.function](**arguments.settings)
    for _ in range(3):
        step()
    totals, seconds = profile(step)
    print(f"one step: {seconds * 1e3:.0f} ms")
    for kind, (own, calls) in sorted(totals.items(), key=lambda item: -item[1][0])[: arguments.rows]:
        print(f"{own * 1e3:9.1f} ms {calls:6d}  {kind}")


if __name__ == "__main__":
    main()
