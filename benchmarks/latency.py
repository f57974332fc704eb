"""How long one call of a model takes in the runtimes that it can be exported to: python -m benchmarks.latency

Fresh weights in float32, images of the models' own size and texts of --length tokens, at batch 1 and 32: a call of the Keras
model, the signature of its SavedModel, ONNX Runtime, and TFLite in float32 and with int8 weights (requirements-onnx.txt has what
is needed besides). Ratios are to the Keras call. --json is written after every model and batch, and what stands there is not
measured again.
"""

import json
import pathlib
import sys
import tempfile

from benchmarks import arguments
from benchmarks.alternate import Contestant, ContestantFailed, measure, table, write_json
from benchmarks.runtime_contestants import KINDS, write_files

MODELS = ("widenet_ti16", "widenet_b16", "widenet_base_e4")
BATCHES = (1, 32)


def contestants(folder, name, batch, length, settings):
    """One of each of benchmarks.runtime_contestants.KINDS."""
    common = dict(folder=str(folder), name=name, batch=batch, length=length, settings=settings)
    return [Contestant(kind, "benchmarks/runtime_contestants.py", "runtime", dict(common, kind=kind)) for kind in KINDS]


def latencies(models, batches, length, rounds, at_most, settings, results, done):
    """Measures every model at every batch that is not among the results yet.

    Args:
      at_most: seconds of a model and batch (benchmarks.alternate.measure).
      results: list of dicts of an earlier call.
      settings: {setting: value} of all models, in place of the zoo's.
      done: function of the results so far, called after each: list of dicts, model, batch, rounds and the rows of `measure`.

    Raises:
      ContestantFailed: one of them could not be made ready or ended.
    """
    measured = {(group["model"], group["batch"]) for group in results}
    for name in models:
        missing = [batch for batch in batches if (name, batch) not in measured]
        if not missing:
            continue
        with tempfile.TemporaryDirectory() as folder:
            write_files(pathlib.Path(folder), name, **settings)
            for batch in missing:
                rows = measure(contestants(folder, name, batch, length, settings), rounds, at_most=at_most)
                group = dict(model=name, batch=batch, rounds=len(rows[0]["seconds"]), rows=rows)
                results.append(group)
                title = f"{name}, batch {batch}: {group['rounds']} rounds, ratios of medians to the first row"
                print(f"\n{title}\n{table(rows)}", flush=True)
                done(results)
    return results


def main():
    parser = arguments.parser(__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS, help=f"of the zoo (default: {' '.join(MODELS)})")
    parser.add_argument("--batches", nargs="+", type=arguments.positive, default=BATCHES, help="default: 1 32")
    parser.add_argument("--length", type=arguments.positive, default=128, help="tokens of a text (default: 128)")
    parser.add_argument("--minutes", type=float, default=20.0, help="of a model and batch; then no further round (default: 20)")
    given = parser.parse_args()
    earlier = []
    if given.json and given.json.exists():
        found = json.loads(given.json.read_text())
        if found["length"] != given.length:
            sys.exit(
                f"error: {given.json} is of texts of {found['length']} tokens: delete it, or give another --length or --json"
            )
        earlier = found["latencies"]

    def write(results):
        if given.json:
            write_json(given.json, length=given.length, latencies=results)

    try:
        latencies(given.models, given.batches, given.length, given.rounds, 60 * given.minutes, {}, earlier, write)
    except (ContestantFailed, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
