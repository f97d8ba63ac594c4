"""A report that follows its study: built again as runs end and scores come, until all are there."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from bench import datasets
from bench.command import orders_of
from bench.datasets import Source
from bench.design import Design
from bench.orders import Orders
from bench.render import freshness, report
from bench.setting import Data
from bench.store import OUTCOMES, RunState, Store
from bench.terminal import Terminal

RELOAD_S = 30
"""The page loads itself anew so often, or after each look at the files where those are rarer."""
Mirror = Callable[[Design, Store], None]


def follow(
    design: Design, store: Store, reports: Path, console: Terminal, every_s: float, mirror: Mirror | None = None
) -> Path:
    """Build the report whenever something that it says has changed, until every run has its outcome and its scores.

    every_s: between two looks at the files; after a build at least as long as the build took.  mirror: called at each
    look.  Prints a line a build.  Returns the page's path.  Raises as `report.build` does.
    """
    orders, reload_s = orders_of(design), max(RELOAD_S, round(every_s))
    while True:
        began = time.monotonic()
        # What is read before building may be older than the report, never newer: the last look builds the last report.
        states = store.states([run.run_id for run in design.runs])
        over = is_over(design, store, states, orders)
        if mirror is not None:
            mirror(design, store)
        shown = None if over else reload_s
        if not freshness.up_to_date(design, store, reports, shown):
            page = report.build(design, store, reports, reload_s=shown)
            ended = sum(state.status in OUTCOMES for state in states.values())
            console.print(f"{ended} of {len(states)} runs; written {page}", soft_wrap=True)
        if over:
            return freshness.report_folder(design, reports) / "index.html"
        time.sleep(max(every_s, time.monotonic() - began))


def is_over(design: Design, store: Store, states: dict[str, RunState], orders: Orders) -> bool:
    """Whether nothing can come any more: each run has its outcome, each score that is asked for has been tried."""
    if any(state.trained is None for state in states.values()):
        return False
    sources: dict[Data, Source] = {}
    for run in design.runs:
        data, folder = run.setting.data, store.run(run.run_id)
        if data not in sources:
            sources[data] = datasets.describe(data, datasets.data_root())
        labels = (states[run.run_id].trained or {}).get("snapshots", [])
        for left in orders.unscored(folder, run.setting, labels, sources[data]):
            if not all((folder.scores / f"{one.id}.json").exists() for one in left.requests):
                return False
    return True
