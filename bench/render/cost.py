"""What the runs of each cell cost: hours, speed, memory, size; and which cells no other beats at their price."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bench import figures, stats, table
from bench.design import Run
from bench.files import read_rows
from bench.render.part import Given, Part
from bench.render.scores import keyed
from bench.render.sketch import sketch
from bench.store import RunFolder

UNITS = {"cpu": "CPU-hours", "gpu": "GPU-hours"}
MIXED = "device-hours"


class Spent(NamedTuple):
    """What one run took."""

    run: Run
    status: str
    trained: Mapping[str, Any]
    """What trained.json says; empty where there is none."""
    hours: float | None
    """That led to its result: time × devices (GPUs, or threads of a CPU); None without a result."""
    open: float
    """Of a run without a result, what its log says."""
    repeated: float
    """Lost with attempts whose work a later one did again, by the logs."""

    @property
    def all(self) -> float:
        """All hours."""
        return (self.hours or 0.0) + self.open + self.repeated


NONE = "—"


def part(given: Given) -> Part:
    """Gather `cost`; None while no run has recorded its time."""
    spent = [one for run in table.in_order(given.design) if (one := _spent(run, given)) is not None]
    timed = [one for one in spent if one.hours is not None]
    if not timed:
        return Part({"cost": None})
    score = next((m for m in given.content["metrics"] if m["direction"] != "reference" and not m["detail"]), None)
    values = _values(given, score)
    of_cell = {cell["name"]: [one for one in spent if one.run.cell.name == cell["name"]] for cell in _cells(given)}
    cells = [_cell(cell, of_cell[cell["name"]], score, values) for cell in _cells(given)]
    priced = [row for row in cells if row["hours"]["value"] is not None and row["score"]["value"] is not None]
    places = [(row["hours"]["value"], row["score"]["value"]) for row in priced]
    kinds = {_kind(one.trained) for one in timed}
    said = {
        "unit": UNITS[kinds.pop()] if len(kinds) == 1 else MIXED,
        "devices": sorted({str(one.trained["device"]) for one in timed if one.trained.get("device")}),
        "packed": sum(bool(one.trained.get("packed")) for one in timed),
        "runs": len(timed),
        "spent": _number(sum(one.all for one in spent)),
        "repeated": _number(sum(one.repeated for one in spent)),
        "score": {key: score[key] for key in ("name", "label", "arrow", "meaning")} if score else None,
        "cells": cells,
        "front": [priced[place]["name"] for place in stats.pareto(places, score["direction"])] if score else [],
        "shown": [key for key in ("memory", "parameters") if any(row[key]["text"] != NONE for row in cells)],
    }
    made = Part({"cost": said})
    made.shown["cost_chart"] = _chart(made, said, priced, score, given) if score and len(priced) > 1 else None
    return made


def _cells(given: Given) -> Sequence[Mapping[str, Any]]:
    cells: Sequence[Mapping[str, Any]] = given.content["cells"]
    return cells


# ---------------------------------------------------------------------------------------------------------
# One run.


def _spent(run: Run, given: Given) -> Spent | None:
    """What a run took; None of one that has not ended, whose time still grows."""
    folder = given.store.run(run.run_id)
    state = folder.state()
    if state.status in ("missing", "running"):
        return None
    trained = state.trained or {}
    seconds = trained.get("seconds")
    workers = run.setting.train.world_size * (1 if _kind(trained) == "gpu" else int(trained.get("threads") or 1))
    lost, logged = repeated(folder) if not trained or state.attempt > 1 else (0.0, 0.0)
    hours = [each * workers / 3600 for each in (seconds or 0.0, 0.0 if trained else logged, lost)]
    return Spent(run, state.status, trained, hours[0] if seconds is not None else None, *hours[1:])


def _kind(trained: Mapping[str, Any]) -> str:
    return "cpu" if trained.get("device") in (None, "cpu") else "gpu"


def repeated(folder: RunFolder) -> tuple[float, float]:
    """Seconds of training that were lost because a later attempt did them again, and those that stand; by the logs.

    `seconds` of a row counts what its attempt took up from a checkpoint.  The checkpoint lies between the first row
    of the later attempt and the row before it, so what was lost is known to one row; an attempt without a row is not.
    """
    clock: dict[int, float] = {}
    spent = last = 0.0
    for number in folder.attempts():
        rows = [row for row in read_rows(folder.attempt(number) / "train.jsonl") if "seconds" in row and "step" in row]
        if not rows:
            continue
        begun = max((step for step in clock if step < rows[0]["step"]), default=None)
        last = float(rows[-1]["seconds"])
        spent += last - (clock[begun] if begun is not None else 0.0)
        clock.update({int(row["step"]): float(row["seconds"]) for row in rows})
    return max(0.0, spent - last), last


# ---------------------------------------------------------------------------------------------------------
# One cell.


def _values(given: Given, score: Mapping[str, Any] | None) -> dict[str, float]:
    """The primary score of each run that is done: run id → value."""
    if score is None:
        return {}
    ends = table.last_values(given.frame)
    ends = ends[ends["metric"] == score["name"]]
    return dict(zip(ends["run_id"], ends["value"].astype(float), strict=True))


def _cell(
    cell: Mapping[str, Any], spent: Sequence[Spent], score: Mapping[str, Any] | None, values: Mapping[str, float]
) -> dict[str, Any]:
    done = [one for one in spent if one.status == "done" and one.hours is not None]
    hours = [one.hours for one in done if one.hours is not None]
    estimate = cell["estimates"][score["name"]] if score else {"median": None, "median_text": NONE}
    sizes = next((one.trained["parameters"] for one in spent if one.trained.get("parameters")), None)
    return {
        "name": cell["name"],
        "label": cell["label"],
        "look": cell["look"],
        "reference": cell["reference"],
        "n": len(done),
        "hours": {**_number(statistics.median(hours) if hours else None), **_range(hours)},
        "spent": _number(sum(one.all for one in spent)),
        "repeated": _number(sum(one.repeated for one in spent)),
        "runs": len(spent),
        "rate": _number(_median(one.trained.get("images_per_second") for one in done)),
        "per_kimg": _number(
            _median(one.trained["seconds"] / one.trained["kimg"] for one in done if one.trained.get("kimg"))
        ),
        "steps": _number(_median(one.trained.get("step") for one in done)),
        "packed": any(one.trained.get("packed") for one in done),
        "memory": _memory(spent),
        "parameters": {**(sizes or {}), "text": f"{sizes['G']:,} + {sizes['D']:,}" if sizes else NONE},
        "score": {"value": estimate["median"], "text": estimate["median_text"]},
        "points": [[one.hours, values[one.run.run_id]] for one in done if one.run.run_id in values],
    }


def _memory(spent: Sequence[Spent]) -> dict[str, Any]:
    """The largest peak of a cell's runs: of the GPU where it has one, else of the process."""
    key = {"gpu": "peak_gpu_mib", "cpu": "peak_rss_mib"}
    peaks = [peak for one in spent if (peak := one.trained.get(key[_kind(one.trained)])) is not None]
    if not peaks:
        return {"mib": None, "text": NONE}
    most = max(peaks)
    return {"mib": most, "text": f"{most / 1024:.1f} GiB" if most >= 1024 else f"{most:.0f} MiB"}


def _median(values: Any) -> float | None:
    known = [float(value) for value in values if value is not None]
    return statistics.median(known) if known else None


def _range(hours: Sequence[float]) -> dict[str, Any]:
    if len(hours) < 2:
        return {"low": None, "high": None, "range": ""}
    return {"low": min(hours), "high": max(hours), "range": f"{_text(min(hours))} to {_text(max(hours))}"}


def _number(value: float | None) -> dict[str, Any]:
    return {"value": value, "text": _text(value)}


def _text(value: float | None) -> str:
    """Three digits, or all of a larger number."""
    return NONE if value is None else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


# ---------------------------------------------------------------------------------------------------------
# The figure.


def _chart(
    made: Part, said: Mapping[str, Any], priced: Sequence[Mapping[str, Any]], score: Mapping[str, Any], given: Given
) -> Any:
    picture = sketch(
        figures.cost,
        {row["name"]: figures.Priced(row["hours"]["value"], row["score"]["value"], row["points"]) for row in priced},
        given.looks,
        said["front"],
        title=f"{score['label']} {score['arrow']}",
        label=f"{said['unit']} a run",
        unit=score["axis_unit"],
        scale=score["scale"],
    )
    each = "; ".join(f"{row['label']} {row['score']['text']} at {row['hours']['text']}" for row in priced)
    on = ", ".join(row["label"] for name in said["front"] for row in priced if row["name"] == name)
    what = f"{score['label']}, {score['meaning']}, by {said['unit']} a run"
    alt = f"{what}. Medians: {each}. No cell beats {on}."
    caption = (
        f"{what}: medians over training seeds, failures ranked worst in the score; faint: single seeds; outlined and "
        "joined: cells that no other beats in both."
    )
    if said["packed"]:
        caption += " Runs shared their device, so the hours are no measurement of speed."
    caption += keyed(given.looks)
    title = f"{score['label']} by {said['unit']}"
    return made.draw(picture, "score-by-hours", title, alt, caption=caption, metrics=[score["name"]])
