"""Shared by the benchmark commands: common arguments, and measuring, printing and writing of results."""

import argparse
import pathlib

from benchmarks.harness import CaseFailed, measure, table, write_json
from official.cli.arguments import positive


def parser(description):
    """An argument parser with --rounds and --json."""
    arguments = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=positive, default=20, help="timed steps of each case (default: 20)")
    arguments.add_argument("--json", type=pathlib.Path, help="file to write the results to")
    return arguments


def run(title, cases, arguments, columns=("kept",), finish=lambda rows: {}):
    """Measures, prints the table, writes the JSON, and returns the rows.

    Args:
      title: of the table.
      cases: list of benchmarks.harness.Case; ratios are to the first.
      arguments: parsed arguments of `parser`.
      columns: facts to print.
      finish: called with the measured rows; adds facts to them and returns further results, {name: number}.

    Raises:
      SystemExit: a case failed; the message has its last output.
    """
    print(f"{title}: {arguments.rounds} rounds, ratios of medians to the first row", flush=True)
    try:
        rows = measure(cases, arguments.rounds)
    except CaseFailed as failed:
        raise SystemExit(f"error: {failed}") from failed
    results = finish(rows)
    print(table(rows, columns))
    for name, value in results.items():
        print(f"{name}: {value:.4g}")
    if arguments.json:
        write_json(arguments.json, title=title, rounds=arguments.rounds, rows=rows, **results)
    return rows
