"""`python -m bench.status STUDY`: what is done, running, queued, missing; from files, then Slurm; writing nothing."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from typing import Any

from rich.live import Live

from bench import overview, standing
from bench.command import OK, add_study_arguments, exit_code, open_design
from bench.design import Design
from bench.harmless import complain
from bench.liveness import WATCH_S
from bench.store import RunState, Store
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
    states = standing.states(design, store)
    if store.witness.suspects and not given.watch:
        said = f"{len(store.witness.suspects)} heartbeats look old: watching them for {WATCH_S:.0f} s"
        complain(f"{said}, since a clock that is wrong would look the same")
        states = standing.states(design, store, settled=True)
    if given.json:
        print(json.dumps(as_json(design, store, states), indent=1))
    elif given.watch:
        with Live(overview.status_table(design, store, states), console=console, auto_refresh=False) as live:
            while True:
                time.sleep(2.0)
                live.update(overview.status_table(design, store), refresh=True)
    else:
        console.print(overview.status_table(design, store, states))
    return OK


def as_json(design: Design, store: Store, states: Mapping[str, RunState]) -> dict[str, Any]:
    """The status for programs: `docs/results.md` names the keys."""
    labels = overview.labels(design, store, states)
    rows = [
        {"run": run.run_id, "cell": run.cell.levels, "seed": run.seed}
        | vars(states[run.run_id])
        | {"label": labels[run.run_id]._asdict() if run.run_id in labels else None}
        for run in design.runs
    ]
    mixed = [mixture._asdict() for mixture in overview.mixtures(design, store, states)]
    note = standing.unanswered(design, store, states)
    return {"study": design.study.name, "note": note, "mixed": mixed, "runs": rows}


if __name__ == "__main__":
    sys.exit(exit_code(main))
