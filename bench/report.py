"""`python -m bench.report STUDY`: rebuild the tables and the report from what is there; train and score nothing."""

from __future__ import annotations

import argparse
import sys

from bench import overview
from bench.command import OK, add_study_arguments, exit_code, open_design
from bench.render import report
from bench.terminal import Terminal


def main() -> int:
    """Build the report and print where it stands."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    add_study_arguments(parser, selection=False)
    parser.add_argument("--again", action="store_true", help="build it even when nothing has changed")
    given = parser.parse_args()
    design, store = open_design(given, whole=True)
    console = Terminal()
    page = report.build(design, store, given.reports, again=given.again)
    console.print(f"report: {page}", soft_wrap=True)
    if judged := report.verdicts(page):
        console.print(overview.verdicts(judged))
    return OK


if __name__ == "__main__":
    sys.exit(exit_code(main))
