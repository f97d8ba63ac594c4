"""Unfinished runs → this process, or a pool of subprocesses on this machine."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench import overview
from bench.datasets import Source
from bench.design import Design, Run
from bench.launch.inline import run_inline
from bench.launch.pool import Pool, cpu_slots, slots
from bench.launch.watch import Watch
from bench.orders import Orders
from bench.setting import Data, digest
from bench.store import OUTCOMES, Store, publish, write_bytes

OK, BAD_INPUT, STOPPED, FAILED = 0, 2, 75, 1


class Launched(NamedTuple):
    """How the asked runs stand when the executor returns."""

    code: int
    """0 every run has an outcome and its scores were tried, 2 bad input, 75 stopped and can go on, 1 a failure."""
    launched: int
    """Runs that were worked on."""


def places(design: Design) -> list[dict[str, str]]:
    """The places of the local pool for this study, as environments."""
    resources = design.study.resources
    if resources.gpus == 0:
        return [{**place, "CUDA_VISIBLE_DEVICES": ""} for place in cpu_slots(resources.parallel, resources.cpu_threads)]
    return slots(resources.parallel, resources.cpu_threads, resources.runs_per_gpu)


def unfinished(design: Design, store: Store, orders: Orders, sources: Mapping[Data, Source]) -> list[Run]:
    """Runs without an outcome, or with scores that are asked for and do not stand."""
    left = []
    for run in design.runs:
        folder = store.run(run.run_id)
        trained = folder.state().trained
        if trained is None or orders.unscored(folder, run.setting, trained["snapshots"], sources[run.setting.data]):
            left.append(run)
    return left


def launch(
    design: Design, whole: Design, store: Store, orders: Orders, sources: Mapping[Data, Source], executor: str
) -> Launched:
    """Bring every run of the design to its outcome and scores.

    `whole`: the study's design, of which `design` is what was asked for.

    Raises StoreError when the results folder cannot be written or a run's setting was edited.
    """
    study_dir = store.study(design.study.name)
    todo = unfinished(design, store, orders, sources)
    if not todo:
        return Launched(OK, 0)
    store.check_writable()
    for run in todo:
        store.run(run.run_id).write_setting(run.setting)
    runs = design_csv(whole).encode()
    write_bytes(study_dir / "study.yaml", design.study.text.encode())
    write_bytes(study_dir / "design.csv", runs)
    # Every list of runs that was ever launched stays: `bench.clean` spares what one of them names.
    publish(study_dir / "submissions" / f"{digest([run.run_id for run in whole.runs])}.csv", runs)
    orders_path = study_dir / "orders.json"
    orders.write(orders_path)
    code = prepare(todo, store, orders_path, study_dir)
    if code != OK:
        return Launched(code, 0)
    ids = [run.run_id for run in todo]
    if executor == "inline":
        codes = run_inline(store, orders_path, ids)
    else:
        states = store.states([run.run_id for run in design.runs])
        done = sum(state.status in OUTCOMES for state in states.values())
        names = {run.run_id: f"{overview.short_name(run.cell, design)}, seed {run.seed}" for run in design.runs}
        watch = Watch(names, done, overview.terminal())
        codes = Pool(store, orders_path, places(design), design.study.resources.retries, watch).run(ids)
    return Launched(worst(list(codes.values())), len(todo))


def design_csv(design: Design) -> str:
    """Write the list of runs as CSV: run_id, cell, one column a factor, seed."""
    text = io.StringIO()
    factors = list(design.cells[0].levels)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run_id", "cell", *factors, "seed"])
    for run in design.runs:
        writer.writerow([run.run_id, run.cell.name, *run.cell.levels.values(), run.seed])
    return text.getvalue()


def prepare(todo: Sequence[Run], store: Store, orders_path: Path, study_dir: Path) -> int:
    """Make in a child process what all runs need, once for each set and own module; return its exit code."""
    firsts: dict[Hashable, Run] = {}
    for run in todo:
        firsts.setdefault((run.setting.data, tuple(run.setting.sources), run.setting.network), run)
    for run in firsts.values():
        command = [sys.executable, "-m", "bench.job", str(store.run(run.run_id).path)]
        code = subprocess.run([*command, "--orders", str(orders_path), "--prepare", str(study_dir)]).returncode
        if code != OK:
            return BAD_INPUT if code == BAD_INPUT else FAILED
    return OK


def worst(codes: Sequence[int]) -> int:
    """Fold exit codes of runs: a failure before bad input before a stop."""
    if any(code not in (OK, BAD_INPUT, STOPPED) for code in codes):
        return FAILED
    for code in (BAD_INPUT, STOPPED):
        if code in codes:
            return code
    return OK
