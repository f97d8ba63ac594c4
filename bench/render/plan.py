"""The study as it was planned, what it can show, and how what was run departs from the plan."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import figures, power
from bench.design import Design, Run
from bench.readings import Readings
from bench.render.content import APART, plain, plural
from bench.render.part import Given, Part
from bench.setting import resolved
from bench.store import Store

ENDED = ("done", "diverged")


def part(given: Given) -> Part:
    """Gather `design`."""
    return Part({"design": _design(given)})


def _design(given: Given) -> dict[str, Any]:
    design, study, runs = given.design, given.design.study, given.content["runs"]
    reference = figures.reference_levels(design)
    levels: dict[str, dict[str, None]] = {}
    for cell in design.cells:
        for factor, level in cell.levels.items():
            levels.setdefault(factor, {})[level] = None
    return {
        "recipe": study.recipe,
        "kind": _kind(design),
        "aliases": list(design.aliases),
        "factors": [
            {
                "name": factor,
                "levels": [{"name": level, "reference": reference.get(factor) == level} for level in present],
            }
            for factor, present in levels.items()
        ],
        "fixed": {key: plain(value) for key, value in study.fixed.items() if key not in APART},
        "shared": _shared(design),
        "seeds": list(study.seeds),
        "metrics": list(study.metrics),
        "evaluate": {key: plain(value) for key, value in study.evaluate.model_dump(mode="json").items()},
        "warnings": [{"text": text, "cells": names} for text, names in _warned(design, reference).items()],
        "forced": [{"cell": cell.name, "why": cell.forced} for cell in design.cells if cell.forced],
        "departures": _departures(design),
        "progress": _progress(design, runs),
        "power": _power(design, given.readings),
        "deviations": list(_deviations(given)),
    }


def _kind(design: Design) -> str:
    """Name the kind of design in words."""
    study = design.study
    if study.rows:
        return "a ladder of rows"
    if isinstance(study.design, str):
        return {"full": "full crossing", "one_at_a_time": "the reference and each other level alone"}[study.design]
    return f"a {study.design.fraction} fraction"


def _warned(design: Design, reference: Mapping[str, str]) -> dict[str, list[str]]:
    """List the cells under each warning."""
    shared = figures.shared_levels(design)
    found: dict[str, list[str]] = {}
    for cell in design.cells:
        for text in cell.warnings:
            found.setdefault(text, []).append(figures.short_name(cell, reference, shared))
    return found


def _shared(design: Design) -> dict[str, str]:
    """All knobs that are equal in every run, resolved to the last number."""
    settings = [resolved(run.setting) for run in _one_of_each(design)]
    if not settings:
        return {}
    return {
        key: plain(value)
        for key, value in settings[0].items()
        if key not in APART and value is not None and all(other[key] == value for other in settings)
    }


def _departures(design: Design) -> dict[str, dict[str, str]]:
    """Cell → the knobs in which its runs differ from the reference's; {} where the reference was not run."""
    settings = {run.cell.name: resolved(run.setting) for run in _one_of_each(design)}
    base = next((cell.name for cell in design.cells if cell.levels == design.study.reference), None)
    if base not in settings:
        return {}
    return {
        cell.name: {
            key: "none" if value is None else plain(value)
            for key, value in settings[cell.name].items()
            if key not in APART and value != settings[base][key]
        }
        for cell in design.cells
    }


def _one_of_each(design: Design) -> list[Run]:
    """One run of each cell: those of other seeds have the same setting but for the seed."""
    return list({run.cell.name: run for run in reversed(design.runs)}.values())


# ---------------------------------------------------------------------------------------------------------
# Planned and done.


def _progress(design: Design, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Count the cells and runs that were planned, and those with an outcome."""
    open_cells = {run["cell"] for run in runs if run["status"] not in ENDED}
    ended = sum(run["status"] in ENDED for run in runs)
    complete = len(design.cells) - len(open_cells)
    line = f"{ended} of {plural(len(runs), 'run')} have an outcome, "
    line += f"{complete} of {plural(len(design.cells), 'cell')} in every seed"
    return {
        "cells": len(design.cells),
        "complete_cells": complete,
        "runs": len(runs),
        "ended_runs": ended,
        "line": line,
    }


def _power(design: Design, readings: Readings) -> dict[str, Any]:
    """What the design finds with 80 % power, by the spread of these very runs where there is one."""
    names = [power.default_measure(design.study), *(name for _, name in readings.values())]
    spreads = [power.pooled(readings.of(name)) for name in dict.fromkeys(filter(None, names))]
    found = next((one for one in spreads if one.sd is not None), None)
    seen = found or power.Spread(names[0], "raw", None, "")
    return {"measure": found and found.measure, "sd": found and found.sd, "lines": power.said(design, seen)}


# ---------------------------------------------------------------------------------------------------------
# Departures from the plan.


def _deviations(given: Given) -> Iterator[dict[str, str]]:
    """List what was not as the study file has it, or not the same for all runs: {what, text}."""
    design, study, runs = given.design, given.design.study, given.content["runs"]
    for override in study.overrides:
        yield {"what": "override", "text": f"--set {override} lies over the study file"}
    yield from ({"what": "earlier plan", "text": text} for text in earlier(design, given.store))
    for cell in design.cells:
        if cell.forced:
            yield {"what": "forced", "text": f"{cell.name} runs against the rules: {cell.forced}"}
    for mixture in given.content["mixed"]:
        yield {"what": mixture["badge"], "text": mixture["line"]}
    dirty = [run["run_id"] for run in runs if run["dirty"]]
    if dirty:
        text = f"{plural(len(dirty), 'run')} trained with changes that are in no commit: {_some(dirty)}"
        yield {"what": "dirty tree", "text": text}
    again = [run for run in runs if (run["trained_in"] or 0) > 1]
    if again:
        most = max(run["trained_in"] for run in again)
        text = f"{plural(len(again), 'run')} took more than one attempt, with the same seed, up to {most}: "
        yield {"what": "retries", "text": text + _some([run["run_id"] for run in again])}
    for status, text in (
        ("diverged", "ended before its length, which counts as an outcome"),
        ("stopped", "stopped on the way and can go on"),
        ("failed", "failed, and is a hole until it is tried again"),
    ):
        early = [run["run_id"] for run in runs if run["status"] == status]
        if early:
            yield {"what": status, "text": f"{plural(len(early), 'run')}: each {text} ({_some(early)})"}


Runs = dict[str, tuple[str, str]]
"""A list of runs: run id → (cell, seed)."""


def earlier(design: Design, store: Store) -> Iterator[str]:
    """How the lists of runs that were launched under this name differ from this one."""
    here: Runs = {run.run_id: (run.cell.name, str(run.seed)) for run in design.runs}
    folder = store.study(design.study.name)
    others = [listed for path in sorted((folder / "submissions").glob("*.csv")) if (listed := _read(path)) != here]
    gone = {run_id: place for one in others for run_id, place in one.items() if run_id not in here}
    places, cells = set(here.values()), _cells(here)
    if dropped := sorted(_cells(gone) - cells):
        yield f"launched under this name, and not in this design: {plural(len(dropped), 'cell')}, {_some(dropped)}"
    if seeds := sorted({seed for cell, seed in gone.values() if cell in cells and (cell, seed) not in places}, key=int):
        yield f"launched under this name, and not in this design: seeds {', '.join(seeds)}"
    if other := [place for place in gone.values() if place in places]:
        yield f"launched under other settings too, for the same cell and seed: {plural(len(other), 'run')}"
    if added := sorted({cell for one in others for cell in cells - _cells(one)}):
        yield f"not in every list that was launched under this name: {plural(len(added), 'cell')}, {_some(added)}"
    submitted = folder / "study.yaml"
    if submitted.is_file() and submitted.read_bytes() != design.study.text.encode():
        yield "the study file has changed since it was last launched"


def _cells(runs: Runs) -> set[str]:
    return {cell for cell, _ in runs.values()}


def _read(path: Path) -> Runs:
    rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8", errors="replace")))
    return {row["run_id"]: (row["cell"], row["seed"]) for row in rows if row.get("seed", "").isdecimal()}


def _some(names: Sequence[str], shown: int = 4) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")
