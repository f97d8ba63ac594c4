"""What a study found, as plain data for the page and report.json: verdicts, effects, survival.

Numbers come with the text in which they are shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bench import protocol, stats
from bench.design import Design
from bench.render.part import Given, Part
from bench.verdicts import figure

VERDICT_COLUMNS = (
    "says",
    "verdict",
    "why",
    "kind",
    "measure",
    "metric",
    "at",
    "scale",
    "estimate",
    "low",
    "high",
    "margin",
    "n",
    "method",
    "p",
    "p_holm",
    "tests",
    "seeds",
    "notes",
)
"""Columns of verdicts.csv; docs/statistics.md says what each holds."""
_GROUPS = (
    ("main", "Main effects", "a factor's level against the reference's, averaged over all other factors"),
    ("interaction", "Interactions", "how much the two together differ from the sum (or product) of their effects"),
    ("simple", "Simple effects", "a factor's effect at one level of another"),
    ("step", "Steps", "each row against the one before it; their order is confounded with what they add"),
    ("reference", "Cells against the reference", "one cell against one cell"),
)


def part(given: Given) -> Part:
    """Say what was found."""
    verdicts = given.verdicts
    said = {
        "verdicts": [
            {**one, **{f"{p}_text": figure(one[p]) for p in ("p", "p_holm") if one[p] is not None}} for one in verdicts
        ],
        "family": {"tests": verdicts[0]["tests"] if verdicts else 0, "method": "Holm", "level": 0.05},
        "effects": _effects(given.effects),
        "survival": _survival(given.design, given.content["runs"]),
    }
    return Part(said)


def verdict_table(verdicts: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The verdicts as a table, in the study's order."""
    rows = [{**one, "notes": "; ".join(one["notes"])} for one in verdicts]
    return pd.DataFrame.from_records(rows, columns=list(VERDICT_COLUMNS))


def _effects(effects: pd.DataFrame) -> list[dict[str, Any]]:
    """Effects by value: [{metric, label, tests, groups: [{kind, title, about, rows}]}], values in their order.

    Simple effects stand before main effects where an interaction's interval excludes none.
    """
    listed = []
    for name, rows in effects.groupby("metric", sort=False):
        records = [_row(row) for row in rows.to_dict("records")]
        interacting = any(row["kind"] == "interaction" and row["excludes_none"] for row in records)
        groups = [
            {"kind": kind, "title": title, "about": about, "rows": [row for row in records if row["kind"] == kind]}
            for kind, title, about in sorted(_GROUPS, key=lambda one: interacting and one[0] != "simple")
        ]
        metric = str(name)
        success = metric == "success"
        listed.append(
            {
                "metric": metric,
                "label": "success" if success else protocol.measure(metric).label,
                "detail": not success and protocol.is_detail(metric),
                "interacting": interacting,
                "tests": records[0]["tests"],
                "groups": [group for group in groups if group["rows"]],
            }
        )
    return listed


def _row(row: Mapping[Any, Any]) -> dict[str, Any]:
    """One effect as plain values, with its text."""
    plain = {str(key): _plain(value) for key, value in row.items() if key not in ("study", "asked", "metric")}
    none = 1.0 if plain["scale"] == "ratio" else 0.0
    low, high = plain["low"], plain["high"]
    signed = plain["scale"] == "difference"
    sign = "" if signed else "× "
    return {
        **plain,
        "excludes_none": low is not None and high is not None and not low <= none <= high,
        "text": sign + figure(plain["effect"], signed),
        "interval": _interval(low, high, signed),
        **{f"{name}_text": "" if plain[name] is None else figure(plain[name]) for name in ("p", "q")},
        "sign_flip_text": "" if plain["sign_flip_p"] is None else figure(plain["sign_flip_p"]),
        "pooled_interval": _interval(plain["pooled_low"], plain["pooled_high"], signed),
    }


def _interval(low: float | None, high: float | None, signed: bool) -> str:
    return f"[{figure(low, signed)}, {figure(high, signed)}]" if low is not None or high is not None else ""


def _plain(value: Any) -> Any:
    """None for what is missing or not finite; numpy's scalars as Python's."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)) or value is pd.NA:
        return None
    return value.item() if hasattr(value, "item") else value


def _survival(design: Design, runs: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, float]]]:
    """Share of each cell's runs that have neither diverged nor collapsed by each kimg; [] where none has.

    A run that never learned has failed from the start.
    """
    curves = {}
    for cell in design.cells:
        curves[cell.name] = [step._asdict() for step in stats.survival(ends(runs, cell.name))]
    return curves


def ends(runs: Sequence[Mapping[str, Any]], cell: str) -> list[tuple[float, bool]]:
    """Return where each run of a cell that has an outcome ended, in kimg, and whether it failed there."""
    return [_end(run) for run in runs if run["cell"] == cell and run["outcome"]]


def _end(run: Mapping[str, Any]) -> tuple[float, bool]:
    if run["outcome"] == "collapsed":
        return float(run["collapsed_at_kimg"]), True
    if run["outcome"] == "never_learned":
        return 0.0, True
    return float(run["kimg"]), run["outcome"] == "diverged"
