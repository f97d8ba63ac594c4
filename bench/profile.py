"""`python -m bench.profile STUDY`: what a run of each kind of cell costs on this machine, and where its time goes.

Short throw-away runs of the real loop on the study's data are timed, in alternation; what is found feeds the cost that
`bench.run --dry-run` says.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import measured, overview, site, timetable
from bench.command import OK, add_study_arguments, exit_code, open_design, orders_of, sources_of
from bench.design import Cell, Design, matches, selection
from bench.files import StoreError
from bench.launch import forecast
from bench.launch.start import chosen, places
from bench.study import Problem, StudyError
from bench.terminal import Terminal
from bench.yaml_places import nearest

STEPS = 30


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    add_study_arguments(parser, selection=False)
    parser.add_argument(
        "--cell",
        action="append",
        default=[],
        metavar="CELL",
        help="a cell's name, `reference`, or FACTOR=LEVEL,...; unset: one of each kind that costs alike",
    )
    parser.add_argument("--vs", metavar="CELL", help="set the cells against this one, in alternation")
    parser.add_argument("--steps", type=int, default=STEPS, metavar="N", help=f"G steps to count; default {STEPS}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there too")
    return parser.parse_args()


def main() -> int:
    """Time, print, keep."""
    given = arguments()
    if given.steps < 1:
        raise StudyError([Problem(f"--steps {given.steps}", "", "a number of G steps is due, at least 1")])
    design, store = open_design(given, whole=True)
    sources, orders = sources_of(design), orders_of(design)
    cells = list({cell.name: cell for said in given.cell for cell in named(design, said, "--cell")}.values())
    cells = cells or distinct(design)
    against = one(design, given.vs) if given.vs else None
    if against is not None and against not in cells:
        cells.append(against)
    refuse_ranks(design, cells)
    here = places(design)
    os.environ.update(here[0].environment)  # what a run of the local pool is started with, before torch is imported
    side_by_side = len(here) if chosen("auto", site.load(), design) != "slurm" else forecast.places(design)

    from bench import timing  # torch, only now
    from bench.norms import NormError
    from bench.own_modules import OwnModuleError
    from bench.preparation import DeviceError
    from bench.stopwatch import DivergedError

    asked = timing.Asked(cells, against, given.steps, side_by_side)
    quiet = Terminal(stderr=True)
    try:
        with quiet.status("") as status:
            found = timing.profile(design, store, orders, sources, asked, status.update)
    except (DeviceError, DivergedError, NormError, OwnModuleError) as error:
        raise StoreError(str(error)) from error
    names = {cell.name: overview.short_name(cell, design).replace(",", ", ") for cell in design.cells}
    Terminal().print(timetable.shown(found, names))
    for path in filter(None, (store.study(design.study.name) / measured.FILE, given.json)):
        found.write(path)
    return OK


def distinct(design: Design) -> list[Cell]:
    """The first cell of each shape: those of one shape cost the same."""
    kinds: dict[str, Cell] = {}
    for run in design.runs:
        kinds.setdefault(overview.shape_digest(run.setting), run.cell)
    return list(kinds.values())


def named(design: Design, said: str, option: str) -> list[Cell]:
    """The cells that an option means, at least one.  Raises StudyError, with what may be meant."""
    exact = [cell for cell in design.cells if said in (cell.name, cell.levels.get("row"))]
    if said == "reference":
        exact = [cell for cell in design.cells if cell.levels == design.study.reference]
    if exact:
        return exact
    known = [cell.levels.get("row", cell.name) for cell in design.cells]
    if "=" in said:
        wanted = selection(design.study, [said], option)
        if found := [cell for cell in design.cells if matches(cell.levels, wanted)]:
            return found
        why = next((item.why for item in design.exclusions if matches(item.levels, wanted)), None)
        message = f"excluded: {why}" if why else f"{design.study.name} has no such cell in its design"
    else:
        message = f"no such cell; there are {_some(known)}{nearest(said, known)}"
    raise StudyError([Problem(f"{option} {said}", "", message)])


def one(design: Design, said: str) -> Cell:
    """The cell that `--vs` means.  Raises StudyError for none or several."""
    found = named(design, said, "--vs")
    if len(found) > 1:
        message = f"one cell is due, and that is {len(found)}: {_some([cell.name for cell in found])}"
        raise StudyError([Problem(f"--vs {said}", "", message)])
    return found[0]


def refuse_ranks(design: Design, cells: Sequence[Cell]) -> None:
    """Raise StudyError where a run is of several processes: one is timed here."""
    for cell in cells:
        if int(cell.settings.get("train.world_size", 1)) > 1:
            message = f"{cell.name} is trained by several processes, and one is timed: --set train.world_size=1"
            raise StudyError([design.study.problem(("train", "world_size"), message)])


def _some(names: Sequence[str]) -> str:
    return "; ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


if __name__ == "__main__":
    sys.exit(exit_code(main))
