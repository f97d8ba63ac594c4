"""The command: load → expand → resolve → launch → score → tabulate → report.

`python -m bench.run STUDY` does what is missing of a study and no more; run it again to go on.
"""

from __future__ import annotations

import argparse
import json
import sys

from bench import overview, power, rulebook, site, study
from bench.command import (
    OK,
    STOPPED,
    add_study_arguments,
    exit_code,
    open_design,
    orders_of,
    report_command,
    sources_of,
)
from bench.launch import forecast
from bench.launch.cluster import OnSlurm, Work
from bench.launch.start import chosen, launch, orders_name, places
from bench.terminal import Terminal


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    if "--schema" in sys.argv[1:]:
        print(json.dumps(study.schema(), indent=1))
        raise SystemExit(OK)
    if "--rules" in sys.argv[1:]:
        if "--markdown" in sys.argv[1:]:
            print(rulebook.markdown(), end="")
        else:
            Terminal().print(rulebook.listed())
        raise SystemExit(OK)
    parser = argparse.ArgumentParser(
        prog="python -m bench.run",
        description="Plan a study, train every run that is missing, score all, and write the report.",
        epilog="Exit codes: 0 every asked run has an outcome (or, under Slurm without --wait, is queued), 2 bad input, "
        "75 stopped and can go on, 1 a failure.",
    )
    add_study_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="show the plan and its cost; start nothing")
    parser.add_argument("--sd", type=float, help="with --dry-run: spread of runs within a cell, for its power")
    parser.add_argument(
        "--executor",
        choices=("auto", "inline", "local", "slurm"),
        default="auto",
        help="auto: Slurm where the study or the site file speaks of it and sbatch is here, else this machine",
    )
    parser.add_argument("--wait", action="store_true", help="under Slurm: follow the jobs to their end, then report")
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of a study file")
    parser.add_argument(
        "--rules", action="store_true", help="list which combinations are denied or doubtful, and why (--markdown)"
    )
    return parser.parse_args()


def main() -> int:
    """Run the pipeline."""
    given = arguments()
    console = Terminal()
    design, store = open_design(given)
    sources = sources_of(design)
    whole = open_design(given, whole=True)[0] if given.only or given.limit else design
    orders, here = orders_of(whole), site.load()
    executor = chosen(given.executor, here, design)
    on_slurm = OnSlurm(here, report_command(given), given.wait)
    if given.dry_run:
        slots = forecast.places(design) if executor == "slurm" else len(places(design))
        console.print(overview.plan(design, store, orders, sources, slots))
        can_show = power.said(whole, power.spread(whole, store, given.sd))
        console.print(overview.notes("what this design can show", can_show))
        if executor == "slurm":
            forecast.show(Work(design, store, orders, orders_name(orders), sources), on_slurm, console)
        return OK
    console.print(overview.head(design, sources))
    launched = launch(design, whole, store, orders, sources, executor, on_slurm)
    if not launched.is_over or (launched.code != OK and not launched.launched):
        return launched.code

    from bench.render import report  # pandas and matplotlib, only now

    page = report.build(whole, store, given.reports)
    states = store.states([run.run_id for run in design.runs])
    console.print(overview.counts_line(states, overview.labels(design, store, states)))
    if launched.code == STOPPED:
        console.print("not at its end; what is done is kept, and the same command goes on")
    console.print(f"report: {page}")
    if judged := report.verdicts(page):
        console.print(overview.verdicts(judged))
    return launched.code


if __name__ == "__main__":
    sys.exit(exit_code(main))
