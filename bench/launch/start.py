"""Unfinished runs → this process, a pool of subprocesses on this machine, or Slurm."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

from bench import measured, overview
from bench.datasets import Source
from bench.design import Design, Run
from bench.files import write_bytes
from bench.launch.cluster import OnSlurm, Work, follow, submit
from bench.launch.inline import run_inline
from bench.launch.places import Place, places_here
from bench.launch.pool import Pool, Terms
from bench.launch.preparing import prepare
from bench.launch.slurm import too_short
from bench.launch.todo import longest_first, unfinished
from bench.launch.watch import Watch
from bench.orders import Orders
from bench.protocol import requests
from bench.setting import Data, digest
from bench.site import Site
from bench.store import OUTCOMES, Store
from bench.study import StudyError
from bench.terminal import Terminal

OK, BAD_INPUT, STOPPED, FAILED = 0, 2, 75, 1
WRITERS = 16
DOWNLOADED = ("inception", "dinov2")
"""Extractors whose weights do not come with the project."""


class Launched(NamedTuple):
    """How the asked runs stand when the executor returns."""

    code: int
    """0 every run has an outcome and its scores were tried, 2 bad input, 75 stopped and can go on, 1 a failure."""
    launched: int
    """Runs that were worked on, or are in jobs."""
    is_over: bool = True
    """Nobody is left at work, and nobody is in a hurry: the report may be built."""


def places(design: Design) -> list[Place]:
    """The places of the local pool for this study."""
    return places_here(design.study.resources)


def chosen(asked: str, site: Site, design: Design) -> str:
    """Which executor `--executor` means: auto is the site's, or Slurm where the study speaks of it and sbatch is.

    Raises StudyError when it is Slurm and jobs of the study's length cannot work.
    """
    resources, meant = design.study.resources, asked
    if asked == "auto":
        meant = site.executor or ("slurm" if resources.slurm is not None else "local")
        if meant == "slurm" and shutil.which("sbatch") is None:
            meant = "local"
    if meant == "slurm" and (short := too_short(resources)):
        raise StudyError([design.study.problem(("resources", "hours"), short)])
    return meant


def launch(
    design: Design,
    whole: Design,
    store: Store,
    orders: Orders,
    sources: Mapping[Data, Source],
    executor: str,
    on_slurm: OnSlurm,
) -> Launched:
    """Bring every run of the design to its outcome and scores; with Slurm, submit what will.

    `whole`: the study's design, of which `design` is what was asked for.  `executor`: inline, local or slurm.

    Raises StoreError when the results folder cannot be written or a run's setting was edited.
    """
    study_dir = store.study(design.study.name)
    todo = unfinished(design, store, orders, sources)
    record(whole, store)
    if not todo:
        return Launched(OK, 0)
    store.check_writable()
    with ThreadPoolExecutor(WRITERS) as pool:  # a disk makes many files safe in the time of one
        list(pool.map(lambda run: store.run(run.run_id).write_setting(run.setting), todo))
    # Two drivers of one study may ask for different scores: each has its own orders.
    orders_path = study_dir / orders_name(orders)
    orders.write(orders_path)
    if executor == "slurm":
        work = Work(design, store, orders, orders_name(orders), sources)

        def for_jobs(runs: Sequence[Run]) -> int:
            if not is_for_driver(runs, orders, sources):
                return OK
            return prepare(runs, store, orders_path, study_dir, "driver")

        console = Terminal()
        code, queued = submit(work, on_slurm, for_jobs, console)
        if on_slurm.wait and queued:
            code = worst([code, follow(work, named(design), console)])
        return Launched(code, queued, is_over=on_slurm.wait)
    code = prepare(todo, store, orders_path, study_dir)
    if code != OK:
        return Launched(code, 0)
    if executor == "inline":
        codes = run_inline(store, orders_path, [run.run_id for run in todo])
    else:
        states = store.states([run.run_id for run in design.runs])
        profiled = measured.rates(study_dir, orders.cpu_threads)
        rates = overview.known_rates(overview.rates_of(design, states), profiled)
        ids = [run.run_id for run in longest_first(todo, rates, sources)]
        done = sum(state.status in OUTCOMES for state in states.values())
        watch = Watch(named(design), done, Terminal())
        runs = {run.run_id: run for run in todo}

        def is_finished(run_id: str) -> bool:
            return not unfinished(replace(design, runs=(runs[run_id],)), store, orders, sources)

        terms = Terms(is_finished, retries=design.study.resources.retries)
        supervisor = Pool(store, orders_path, places(design), watch, terms)
        codes = supervisor.run(ids)
        if supervisor.stop.insisted:
            return Launched(worst(list(codes.values())), len(todo), is_over=False)
    return Launched(worst(list(codes.values())), len(todo))


def is_for_driver(runs: Sequence[Run], orders: Orders, sources: Mapping[Data, Source]) -> bool:
    """Whether runs need something from here before their jobs start: a download, or a try of a module of one's own."""
    used = {run.setting.data: sources[run.setting.data] for run in runs}
    if any(run.setting.sources for run in runs) or not all(source.present for source in used.values()):
        return True
    asked = (
        request
        for data, source in used.items()
        for request in requests(orders.metrics, orders.evaluate, data, "", "", source)
    )
    return any(request.settings.get("extractor") in DOWNLOADED for request in asked)


def orders_name(orders: Orders) -> str:
    """Where orders are kept, from the study's folder."""
    return f"orders/{digest(orders.model_dump(mode='json'))}.json"


def named(design: Design) -> dict[str, str]:
    """Run id → cell and seed, in words."""
    return {run.run_id: f"{overview.short_name(run.cell, design)}, seed {run.seed}" for run in design.runs}


def record(whole: Design, store: Store) -> None:
    """Keep the study as submitted and its list of runs; write nothing that stands already.

    Every list that was ever launched stays: `bench.clean` spares what one of them names.
    """
    folder, runs = store.study(whole.study.name), design_csv(whole).encode()
    listed = folder / "submissions" / f"{digest([run.run_id for run in whole.runs])}.csv"
    for path, content in {
        folder / "study.yaml": whole.study.text.encode(),
        folder / "design.csv": runs,
        listed: runs,
    }.items():
        if not path.exists() or path.read_bytes() != content:
            write_bytes(path, content)


def design_csv(design: Design) -> str:
    """Write the list of runs as CSV: run_id, cell, one column a factor, seed."""
    text = io.StringIO()
    factors = list(design.cells[0].levels)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run_id", "cell", *factors, "seed"])
    for run in design.runs:
        writer.writerow([run.run_id, run.cell.name, *run.cell.levels.values(), run.seed])
    return text.getvalue()


def worst(codes: Sequence[int]) -> int:
    """Fold exit codes of runs: a failure before bad input before a stop."""
    if any(code not in (OK, BAD_INPUT, STOPPED) for code in codes):
        return FAILED
    for code in (BAD_INPUT, STOPPED):
        if code in codes:
            return code
    return OK
