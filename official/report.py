"""Runs side by side, as one HTML page: python -m official.report --workdir=runs/a runs/b --output=page.html

The page needs no network and no other file. It has warnings, results with their spread over seeds, speed and memory, the settings
in which the runs differ, curves over steps and over time, and each expert's load over depth and time. Runs that differ only in
train.seed are one row of the results. A run that still trains, or that was stopped, is shown as far as it has come; the command
only reads, so it may be repeated at any time.
"""

import argparse
import pathlib
import sys

from official.comparison.page import MARK, comparison_page
from official.comparison.runs import read_runs
from official.files.atomic import atomic_write
from official.files.layout import check_output


def write_report(workdirs, output):
    """Writes a page that compares runs.

    Args:
      workdirs: paths of the runs' workdirs.
      output: path of the page; a page of this command there is replaced.

    Raises:
      ValueError: a path that is not allowed, or a file of a run that is not what it should be.
      OSError: a file cannot be read or written.
    """
    output = pathlib.Path(output)
    check_output(output, output.is_file() and MARK.encode() in output.read_bytes(), "a page of this command")
    page = comparison_page(read_runs(workdirs))
    output.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(output, page.encode("utf-8", "backslashreplace"))


def main():
    parser = argparse.ArgumentParser(
        prog="python -m official.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--workdir", required=True, action="append", help="folder of a run; others may follow it")
    parser.add_argument("--output", required=True, help="the page; one that this command wrote is replaced")
    parser.add_argument("more", metavar="DIR", nargs="*", help="folders of more runs")
    given = parser.parse_intermixed_args()
    try:
        write_report([*given.workdir, *given.more], given.output)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(given.output)


if __name__ == "__main__":
    main()
