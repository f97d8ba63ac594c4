"""`python -m bench.status STUDY`: what is done, running, missing; read from files, writing nothing."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time

from rich.live import Live

from bench import overview
from bench.command import OK, add_study_arguments, exit_code, open_design
from bench.terminal import Terminal


def main() -> int:
    """Print the status of every run."""
    parser = argparse.ArgumentParser(prog="python -m bench.status", description=__doc__)
    add_study_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object for programs")
    parser.add_argument("--watch", action="store_true", help="keep showing it until Ctrl-C")
    given = parser.parse_args()
    design, store = open_design(given)
    console = Terminal()
    if given.json:
        states = store.states([run.run_id for run in design.runs])
        labels = overview.labels(design, store, states)
        rows = [
            {"run": run.run_id, "cell": run.cell.levels, "seed": run.seed}
            | dataclasses.asdict(states[run.run_id])
            | {"label": labels[run.run_id]._asdict() if run.run_id in labels else None}
            for run in design.runs
        ]
        mixed = [mixture._asdict() for mixture in overview.mixtures(design, store, states)]
        print(json.dumps({"study": design.study.name, "mixed": mixed, "runs": rows}, indent=1))
    elif given.watch:
        with Live(overview.status_table(design, store), console=console, auto_refresh=False) as live:
            while True:
                time.sleep(2.0)
                live.update(overview.status_table(design, store), refresh=True)
    else:
        console.print(overview.status_table(design, store))
    return OK


if __name__ == "__main__":
    sys.exit(exit_code(main))
