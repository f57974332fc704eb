"""What the commands of this folder share: their arguments, and what they do with the rows they get."""

import argparse
import pathlib

from benchmarks.alternate import ContestantFailed, measure, table, write_json
from official.cli.arguments import positive


def parser(description):
    """An argument parser with --rounds and --json."""
    arguments = argparse.ArgumentParser(description=description.split("\n")[0])
    arguments.add_argument("--rounds", type=positive, default=20, help="timed steps of every contestant (default: 20)")
    arguments.add_argument("--json", type=pathlib.Path, help="file to write the results to")
    return arguments


def run(title, contestants, arguments, columns=("kept",), finish=lambda rows: {}):
    """Measures, prints the table, writes the JSON, and returns the rows.

    Args:
      columns: facts to print.
      finish: called once all are measured; adds facts to the rows and returns results of the whole, {name: number}.

    Raises:
      SystemExit: a contestant failed; with what it printed last.
    """
    print(f"{title}: {arguments.rounds} rounds, ratios of medians to the first row", flush=True)
    try:
        rows = measure(contestants, arguments.rounds)
    except ContestantFailed as failed:
        raise SystemExit(f"error: {failed}") from failed
    results = finish(rows)
    print(table(rows, columns))
    for name, value in results.items():
        print(f"{name}: {value:.4g}")
    if arguments.json:
        write_json(arguments.json, title=title, rounds=arguments.rounds, rows=rows, **results)
    return rows
