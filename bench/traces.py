"""What runs wrote while they trained → one tidy table: losses from train.jsonl, probes from probes.jsonl."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bench.design import Design, Run
from bench.probes import MEASURES
from bench.store import RunFolder, Store
from bench.table import in_order

COLUMNS = ("cell", "seed", "run_id", "status", "step", "nimg", "kimg", "measure", "value")
"""docs/results.md says what each holds."""


def collect(design: Design, store: Store, measures: Collection[str] = tuple(MEASURES)) -> pd.DataFrame:
    """Gather one row a run × step × measure, in the design's order; what was not finite or not taken has no row."""
    found: list[tuple[Any, ...]] = []
    for run in in_order(design):
        folder = store.run(run.run_id)
        status = folder.state().status
        for row, name, value in _values(run, folder, measures):
            at = (row["step"], row.get("nimg"), float(row["kimg"]))
            found.append((run.cell.name, run.seed, run.run_id, status, *at, name, value))
    return pd.DataFrame.from_records(found, columns=COLUMNS)


class Traces:
    """All measures of a study's runs; their files are read once, when the first is asked for."""

    def __init__(self, design: Design, store: Store) -> None:
        self._design, self._store = design, store

    @cached_property
    def _all(self) -> pd.DataFrame:
        return collect(self._design, self._store)

    def of(self, measures: Collection[str]) -> pd.DataFrame:
        """Rows of some measures, as `collect` gives them."""
        return self._all[self._all["measure"].isin(measures)].reset_index(drop=True)


def thinned(trace: pd.DataFrame, points: int = 60) -> pd.DataFrame:
    """Return a trace with at most so many points a run and measure; one that has no more as it is.

    A point is the mean over one of equal stretches of kimg, at its middle.
    """
    if trace.empty or trace.groupby(["run_id", "measure"]).size().max() <= points:
        return trace
    width = trace["kimg"].max() / points
    stretch = np.clip(np.ceil(trace["kimg"] / width) - 1, 0, points - 1)  # a row is the mean up to its kimg
    by = ["cell", "seed", "run_id", "status", "measure"]
    means = trace.assign(kimg=(stretch + 0.5) * width).groupby([*by, "kimg"], sort=False)["value"].mean()
    return means.reset_index()


def _values(run: Run, folder: RunFolder, measures: Collection[str]) -> Iterator[tuple[Mapping[str, Any], str, float]]:
    wanted = [name for name in MEASURES if name in measures]
    logged = [name for name in wanted if MEASURES[name].probe == "log"]
    probed = [name for name in wanted if MEASURES[name].probe != "log"]
    for row in folder.log() if logged else []:
        for name in logged:
            if (value := of_log(row, name, run)) is not None:
                yield row, name, value
    for row in folder.probe_log() if probed else []:
        for name in probed:
            if (value := row["values"].get(name)) is not None:
                yield row, name, float(value)


def of_log(row: Mapping[str, Any], name: str, run: Run) -> float | None:
    """Return a measure of the training log; None for what is not there or not finite.

    The critic's estimate is −loss_D, where the loss is Wasserstein's (Arjovsky et al. 2017, algorithm 1).
    """
    estimates = name == "critic_estimate"
    if estimates and run.setting.loss != "wasserstein":
        return None
    value = row.get("loss_D" if estimates else name)
    if value is None or not math.isfinite(value):
        return None
    return -float(value) if estimates else float(value)
