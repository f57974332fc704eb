"""How long one call of a model takes in the runtimes that it can be exported to: python -m benchmarks.latency

Fresh weights in float32, images of the models' own size and texts of --length tokens, at batch 1 and 32: a call of the Keras
model, the signature of its SavedModel, ONNX Runtime, and TFLite in float32 and with int8 weights (requirements-onnx.txt has what
is needed besides). Ratios are to the Keras call. --json is written after every model and batch.
"""

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


def latencies(models, batches, length, rounds, settings, done):
    """Measures every model at every batch.

    Args:
      settings: {setting: value} of all models, in place of the zoo's.
      done: function of the results so far, called after each: list of dicts, model, batch and the rows of `measure`.

    Raises:
      ContestantFailed: one of them could not be made ready or ended.
    """
    results = []
    for name in models:
        with tempfile.TemporaryDirectory() as folder:
            write_files(pathlib.Path(folder), name, **settings)
            for batch in batches:
                rows = measure(contestants(folder, name, batch, length, settings), rounds)
                results.append(dict(model=name, batch=batch, rows=rows))
                print(f"\n{name}, batch {batch}: {rounds} rounds, ratios of medians to the first row\n{table(rows)}", flush=True)
                done(results)
    return results


def main():
    parser = arguments.parser(__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS, help=f"of the zoo (default: {' '.join(MODELS)})")
    parser.add_argument("--batches", nargs="+", type=arguments.positive, default=BATCHES, help="default: 1 32")
    parser.add_argument("--length", type=arguments.positive, default=128, help="tokens of a text (default: 128)")
    given = parser.parse_args()

    def write(results):
        if given.json:
            write_json(given.json, rounds=given.rounds, length=given.length, latencies=results)

    try:
        latencies(given.models, given.batches, given.length, given.rounds, {}, write)
    except (ContestantFailed, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
