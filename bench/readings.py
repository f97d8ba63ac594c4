"""What is measured of each run, at a moment of training: one number, on the scale on which effects are taken.

A measure is a metric or one of its values, an outcome (1 or 0), or a probe's.  Nothing is filled in: a run without the
number is not there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import pandas as pd

from bench import datasets, outcomes, protocol, stats, table, traces
from bench.design import Design, Run
from bench.probes import MEASURES
from bench.schedule import batches, nimg_after, schedule
from bench.store import Store
from bench.study_checks import OUTCOMES
from bench.study_file import Moment

NOT_COMPUTED = "not computed here"
"""The reason of a metric that this study, or its profile, does not ask for."""
NEAR = 0.02
"""A snapshot, or a probe's row, stands for a moment when it is no farther than this share of the run, or one step."""


class Reading(NamedTuple):
    """One measure at one moment, of every run that has it."""

    measure: str
    """As it was asked for."""
    name: str
    """The value's own name, which carries its protocol: `fid2k`."""
    label: str
    kind: Literal["metric", "outcome", "probe"]
    scale: Literal["log", "raw"]
    """Values below are logarithms where it is `log`: differences of them are ratios."""
    direction: protocol.Direction | None
    cells: dict[str, dict[int, float]]
    """Cell → seed → value."""
    real: float | None = None
    """The real set's own value, not its logarithm."""
    reason: str = ""
    """Why no run has it."""

    @property
    def known(self) -> list[str]:
        """Cells in which some run has a value."""
        return [cell for cell, values in self.cells.items() if values]


class Readings:
    """Every measure of a study's runs; each is read once, and kept as long as this lives."""

    def __init__(self, design: Design, store: Store, frame: pd.DataFrame) -> None:
        self._design, self._store, self._frame = design, store, frame
        self._runs = {run.run_id: run for run in design.runs}
        first = frame.drop_duplicates("run_id")
        self._ended = {row["run_id"]: row for row in first.to_dict("records") if row["status"] in ("done", "diverged")}
        self._last = table.last_values(frame)
        self._kept: dict[tuple[str, str], Reading] = {}
        self._lengths: dict[str, float] = {}
        self.traces = traces.Traces(design, store)

    def values(self) -> list[tuple[str, str]]:
        """List (asked, value's name) of what was scored."""
        return table.metrics_of(self._frame)

    def success(self) -> dict[str, tuple[int, int]]:
        """Cell → (k, n): runs that are done and neither collapsed nor never learned, of those with an outcome."""
        counts = {cell.name: (0, 0) for cell in self._design.cells}
        for row in self._ended.values():
            k, n = counts[row["cell"]]
            counts[row["cell"]] = (k + (row["outcome"] == "done"), n + 1)
        return counts

    def with_failures(self, name: str) -> dict[str, list[float | None]]:
        """Cell → the value at the end of each run with an outcome; None for one that is no success."""
        at_end = self._last[self._last["metric"] == name].set_index("run_id")["value"]
        found: dict[str, list[float | None]] = {cell.name: [] for cell in self._design.cells}
        for run_id, row in self._ended.items():
            if row["outcome"] != "done":
                found[row["cell"]].append(None)
            elif run_id in at_end.index:
                found[row["cell"]].append(float(at_end[run_id]))
        return found

    def of(self, measure: str, at: Any = "last") -> Reading:
        """Read a measure of every run at a moment: `last`, a share as `25%`, or a Moment."""
        key = (measure, at if isinstance(at, str) else at.model_dump_json())
        if key not in self._kept:
            self._kept[key] = self._read(measure, at)
        return self._kept[key]

    def ranked_together(self, x: str, y: str) -> Reading:
        """Spearman's rank correlation of two measures over the snapshots of each run that has four with both."""
        kept = sorted(self._frame["kimg"].dropna().unique())
        moments = [(self.of(x, Moment(kimg=kimg)), self.of(y, Moment(kimg=kimg))) for kimg in kept if kimg > 0]
        last = self.of(x), self.of(y)
        cells: dict[str, dict[int, float]] = {cell.name: {} for cell in self._design.cells}
        for run in self._design.runs:
            cell, seed = run.cell.name, run.seed
            here = [(a.cells.get(cell, {}).get(seed), b.cells.get(cell, {}).get(seed)) for a, b in moments]
            rho = stats.rank_correlation([(a, b) for a, b in here if a is not None and b is not None])
            if rho is not None:
                cells[cell][seed] = rho
        reason = "" if any(cells.values()) else "no run has four snapshots with both, which differ"
        label = f"{last[1].label} with {last[0].label}"
        known = next((one.reason for one in last if one.reason == NOT_COMPUTED), reason)
        return Reading(f"{x}, {y}", f"{last[0].name}, {last[1].name}", label, "metric", "raw", None, cells, None, known)

    def _read(self, measure: str, at: Any) -> Reading:
        if measure in OUTCOMES and at != "last":
            why = "an outcome is of the whole run: it has no other moment"
            return Reading(measure, measure, measure.replace("_", " "), "outcome", "raw", None, {}, None, why)
        if measure in OUTCOMES:
            return self._outcome(measure)
        if measure in MEASURES:
            return self._probe(measure, at)
        return self._metric(measure, at)

    # -- metrics ------------------------------------------------------------------------------------------

    def _metric(self, measure: str, at: Any) -> Reading:
        names = _meant(measure, self.values())
        what = protocol.METRICS.get(measure)
        if len(names) != 1:
            why = f"{measure} has several values; say which: {', '.join(names)}" if names else "no run has this score"
            if what and measure not in self._design.study.metrics and not names:
                why = NOT_COMPUTED
            scale = what.scale if what else "raw"
            return Reading(measure, measure, what.label if what else measure, "metric", scale, None, {}, None, why)
        name = names[0]
        what = protocol.measure(name)
        frame = self._last if at == "last" else self._frame
        rows = frame[(frame["metric"] == name) & frame["value"].notna()]
        pairs = list(zip(rows["run_id"], rows["value"], strict=True)) if at == "last" else self._at(rows, at)
        reals = rows["real"].dropna()
        real = float(reals.iloc[0]) if len(reals) else None
        return self._reading(measure, name, what.label, "metric", what.scale, what.direction, pairs, real, at)

    def _reading(
        self,
        measure: str,
        name: str,
        label: str,
        kind: Literal["metric", "probe"],
        scale: Literal["log", "raw"],
        direction: protocol.Direction | None,
        pairs: list[tuple[str, float]],
        real: float | None,
        at: Any,
    ) -> Reading:
        """Sort values by cell and seed, and take logarithms."""
        known = [(run_id, value) for run_id, value in pairs if math.isfinite(value)]
        reason = "" if known else ("no run has this score" if at == "last" else f"no run has a value at {moment(at)}")
        if scale == "log" and any(value <= 0 for _, value in known):
            known, reason = [], "a value is not positive: no ratio can be taken"
        cells: dict[str, dict[int, float]] = {cell.name: {} for cell in self._design.cells}
        for run_id, value in known:
            run = self._runs[run_id]
            cells[run.cell.name][run.seed] = math.log(value) if scale == "log" else float(value)
        ordered = {cell: dict(sorted(found.items())) for cell, found in cells.items()}
        return Reading(measure, name, label, kind, scale, direction, ordered, real, reason)

    # -- outcomes -----------------------------------------------------------------------------------------

    def _outcome(self, measure: str) -> Reading:
        """1 for a run that is what is asked, 0 for one that is not; `done` is success."""
        cells: dict[str, dict[int, float]] = {cell.name: {} for cell in self._design.cells}
        for row in self._ended.values():
            unjudged = outcomes.unknown(row["outcome_note"] if isinstance(row["outcome_note"], str) else None)
            if measure in ("collapsed", "never_learned") and row["status"] == "done" and unjudged:
                continue
            cells[row["cell"]][row["seed"]] = float(row["outcome"] == measure)
        reason = "" if any(cells.values()) else "no run has an outcome that the scores could judge"
        ordered = {cell: dict(sorted(found.items())) for cell, found in cells.items()}
        label = measure.replace("_", " ")
        return Reading(measure, measure, label, "outcome", "raw", None, ordered, None, reason)

    # -- probes -------------------------------------------------------------------------------------------

    def _probe(self, measure: str, at: Any) -> Reading:
        what = MEASURES[measure]
        rows = self.traces.of([measure])
        if what.probe != "log" and what.probe not in (*self._design.study.probes, "dead_units"):
            reason = f"the study does not watch {what.probe}"
            return Reading(measure, measure, what.label, "probe", what.scale, None, {}, None, reason)
        if at == "last":
            last = rows[rows["status"] == "done"].drop_duplicates("run_id", keep="last")
            pairs = list(zip(last["run_id"], last["value"], strict=True))
        else:
            pairs = self._at(rows, at)
        return self._reading(measure, measure, what.label, "probe", what.scale, None, pairs, None, at)

    # -- moments ------------------------------------------------------------------------------------------

    def _at(self, rows: pd.DataFrame, at: Any) -> list[tuple[str, float]]:
        """Each run's value nearest to the moment, where one is near enough; runs without an outcome apart."""
        found = []
        for run_id, points in rows.groupby("run_id", sort=False):
            if run_id not in self._ended:
                continue
            target, near = self._moment(self._runs[str(run_id)], at)
            if target is None:
                continue
            distance, value = min(
                (abs(kimg - target), value) for kimg, value in zip(points["kimg"], points["value"], strict=True)
            )
            if distance <= near:
                found.append((str(run_id), float(value)))
        return found

    def _moment(self, run: Run, at: Any) -> tuple[float | None, float]:
        """Return the moment in kimg, and how far from it a value may stand."""
        setting = run.setting
        length = self._length(run)
        near = max(NEAR * length, setting.train.n_critic * max(batches(setting)) / 1000)
        if isinstance(at, str):
            return length * float(at[:-1]) / 100, near
        if at.kimg is not None:
            return at.kimg, near
        if at.epoch is not None:
            return at.epoch * self._n_train(run) / 1000, near
        if at.g_steps is not None:
            return nimg_after(setting, at.g_steps) / 1000, near
        return self._at_seconds(run, at.seconds), near

    def _length(self, run: Run) -> float:
        if run.run_id not in self._lengths:
            steps = schedule(run.setting, self._n_train(run)).steps
            self._lengths[run.run_id] = nimg_after(run.setting, steps) / 1000
        return self._lengths[run.run_id]

    def _n_train(self, run: Run) -> int:
        return datasets.describe(run.setting.data, datasets.data_root()).parts["train"]

    def _at_seconds(self, run: Run, seconds: float) -> float | None:
        """How far a run was after so many seconds; None where it shared its device: its time is no measure."""
        folder = self._store.run(run.run_id)
        if (folder.state().trained or {}).get("packed"):
            return None
        before = [row for row in folder.log() if row.get("seconds") is not None and row["seconds"] <= seconds]
        return float(before[-1]["kimg"]) if before else None


def _meant(measure: str, values: list[tuple[str, str]]) -> list[str]:
    """Which values a measure's name means: that of this very name, else those of the metric that carry its name."""
    names = [name for _, name in values]
    if measure in names:
        return [measure]
    asked = {"fid", "fd"} if measure == "fd" else {measure}
    of = [name for one, name in values if one in asked and not protocol.is_detail(name)]
    same = [name for name in of if re.match(rf"{re.escape(measure)}(?![a-z_])", name)]
    return same if len(same) == 1 else of


def moment(at: Any) -> str:
    """Say a moment in words: `the end`, `25%`, `8 kimg`."""
    if isinstance(at, str):
        return "the end" if at == "last" else at
    said: Mapping[str, Any] = at.model_dump(exclude_none=True)
    words = {"kimg": "kimg", "epoch": "epochs", "g_steps": "G steps", "seconds": "s"}
    return ", ".join(f"{value:g} {words[key]}" for key, value in said.items())
