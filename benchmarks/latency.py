"""Latency of one call of a model in the runtimes it can be exported to: python -m benchmarks.latency

Fresh float32 weights, images of the model's size or texts of --length tokens, batch sizes 1 and 32. The cases are a call of the
Keras model, the signature of its SavedModel, ONNX Runtime, and TFLite in float32 and with int8 weights; they need
the extra onnx of pyproject.toml. Ratios are to the Keras call. The file of --json is written after every model and batch size,
and what it contains is not measured again.
"""

import json
import pathlib
import sys
import tempfile

from benchmarks import command
from benchmarks.harness import Case, CaseFailed, measure, table, write_json
from benchmarks.runtime_cases import KINDS, write_files

MODELS = ("widenet_ti16", "widenet_b16", "widenet_base_e4")
BATCHES = (1, 32)


def cases(folder, name, batch, length, settings):
    """One case for each of benchmarks.runtime_cases.KINDS."""
    common = dict(folder=str(folder), name=name, batch=batch, length=length, settings=settings)
    return [Case(kind, "benchmarks/runtime_cases.py", "runtime", dict(common, kind=kind)) for kind in KINDS]


def latencies(models, batches, length, rounds, at_most, settings, results, done):
    """Measures every model at every batch size that is not among the results yet.

    Args:
      models: names of the zoo.
      batches: batch sizes.
      length: tokens of a text.
      rounds, at_most: of benchmarks.harness.measure, for each model and batch size.
      settings: {setting: value}, overrides for all models.
      results: list of dicts of an earlier call.
      done: function that is called with the results so far after each model and batch size.

    Returns:
      The results, a list of dicts: model, batch, rounds, and the rows of `measure`.

    Raises:
      CaseFailed: a case could not be set up, or ended early.
    """
    measured = {(group["model"], group["batch"]) for group in results}
    for name in models:
        missing = [batch for batch in batches if (name, batch) not in measured]
        if not missing:
            continue
        with tempfile.TemporaryDirectory() as folder:
            write_files(pathlib.Path(folder), name, **settings)
            for batch in missing:
                rows = measure(cases(folder, name, batch, length, settings), rounds, at_most=at_most)
                group = dict(model=name, batch=batch, rounds=len(rows[0]["seconds"]), rows=rows)
                results.append(group)
                title = f"{name}, batch {batch}: {group['rounds']} rounds, ratios of medians to the first row"
                print(f"\n{title}\n{table(rows)}", flush=True)
                done(results)
    return results


def main():
    parser = command.parser(__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS, help=f"models of the zoo (default: {' '.join(MODELS)})")
    parser.add_argument("--batches", nargs="+", type=command.positive, default=BATCHES, help="batch sizes (default: 1 32)")
    parser.add_argument("--length", type=command.positive, default=128, help="tokens of a text (default: 128)")
    parser.add_argument("--minutes", type=float, default=20.0, help="time limit for a model and batch size (default: 20)")
    given = parser.parse_args()
    earlier = []
    if given.json and given.json.exists():
        found = json.loads(given.json.read_text())
        if found["length"] != given.length:
            sys.exit(
                f"error: {given.json} has results for texts of {found['length']} tokens: delete it, or change --length or --json"
            )
        earlier = found["latencies"]

    def write(results):
        if given.json:
            write_json(given.json, length=given.length, latencies=results)

    try:
        latencies(given.models, given.batches, given.length, given.rounds, 60 * given.minutes, {}, earlier, write)
    except (CaseFailed, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
