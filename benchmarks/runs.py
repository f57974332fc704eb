"""The trained runs of a comparison: each is made once, and its results are kept in the file of --json."""

import pathlib
import sys

from benchmarks.harness import write_json
from official.cli.arguments import positive
from official.files.checked_json import read_json
from official.files.layout import printable
from official.training.seeds import RunFailed, call_each


def add_runs(parser, seeds):
    """Adds --workdir, --json and --seeds, whose default is `seeds`, to an argparse.ArgumentParser."""
    parser.add_argument("--workdir", required=True, type=pathlib.Path, help="folder of the runs")
    parser.add_argument("--json", required=True, type=pathlib.Path, help="file to write the results to, and to resume from")
    parser.add_argument("--seeds", type=positive, default=seeds, help="number of seeds (default: %(default)s)")


def all_runs(file, wanted, make, content, title, parallel=1):
    """Makes the runs that a file does not have yet, and writes it after each one. Prints all; exits with an error if one fails.

    Args:
      file: a pathlib.Path. The runs in it are not made again.
      wanted: list of (dict of what tells a run from the others, tuple of the arguments of `make`), one for each run.
      make: function that makes a run and returns the dict of its results; raises RunFailed.
      content: function of the list of all runs that returns the dict of what the file holds, with the list as "runs".
      title: name of the value in a run that is printed beside its seed.
      parallel: number of runs at a time.

    Returns:
      list of all runs in the file: dicts of what tells them from the others, and of their results.
    """

    def show(run):
        print(f"{run[title]}, seed {run['seed']}: {run['accuracy']:.4f} after {run['minutes']:.1f} minutes", flush=True)

    try:
        runs = read_json(file, keys={"runs": list})["runs"] if file.exists() else []
        missing = []
        for key, arguments in wanted:
            finished = next((run for run in runs if key.items() <= run.items()), None)
            if finished:
                show(finished)
            else:
                missing.append((key, arguments))
        for (key, _), found in call_each(lambda key, arguments: make(*arguments), missing, parallel):
            runs.append({**key, **found})
            write_json(file, **content(runs))
            show(runs[-1])
    except (RunFailed, ValueError, OSError) as error:
        sys.exit(printable(f"error: {error}"))
    return runs
