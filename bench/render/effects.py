"""Effects as plain data for the page and report.json, and as figures: forests, and two factors at a time.

Numbers come with the text in which they are shown.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bench import power, protocol
from bench.contrasts import contrast
from bench.design import Design
from bench.effects import WORDS, shower
from bench.questions import Question, crossings, questions
from bench.readings import Readings
from bench.render import drawings
from bench.render.answers import answers
from bench.render.part import Given, Part
from bench.verdicts import figure

GROUPS = (
    ("main", "Main effects", "a factor's level against the reference's, averaged over all other factors"),
    ("interaction", "Interactions", "how much the two together differ from the sum (or product) of their effects"),
    ("simple", "Simple effects", "a factor's effect at one level of another"),
    ("step", "Steps", "each row against the one before it; their order is confounded with what they add"),
    ("reference", "Cells against the reference", "one cell against one cell"),
)


def part(given: Given) -> Part:
    """Say and draw what the design asks by itself: `effects`, the primary measure's first, and `answers` in words."""
    listed = _listed(given)
    made = Part({"effects": listed, "answers": answers(given.design, listed)})
    made.shown["forests"] = {one["metric"]: chart for one in listed if (chart := drawings.forest(made, given, one))}
    made.shown["crossed"] = {one["metric"]: drawings.crossed(made, given, one) for one in listed}
    return made


def primary(design: Design, metrics: Sequence[Mapping[str, Any]]) -> str | None:
    """The value that a study is about: of its default measure, else the first; None where nothing was scored."""
    headline = [one for one in metrics if not one["detail"]]
    asked = power.default_measure(design.study)
    return next((one["name"] for one in [*(m for m in headline if m["asked"] == asked), *headline]), None)


def _listed(given: Given) -> list[dict[str, Any]]:
    """Effects by value: [{metric, label, tests, groups: [{kind, title, about, rows}], …}], the primary one first.

    Simple effects stand before main effects where an interaction's interval excludes none.
    """
    metrics = {one["name"]: one for one in given.content["metrics"]}
    first = primary(given.design, given.content["metrics"])
    asked = {(question.kind, question.name): question for question in questions(given.design)}
    listed = []
    for name, found in given.effects.groupby("metric", sort=False):
        metric = str(name)
        about = metrics.get(metric)
        rows = [_row(row, about, asked[row["kind"], row["effect_of"]]) for row in found.to_dict("records")]
        interacting = any(row["kind"] == "interaction" and row["excludes_none"] for row in rows)
        groups = [
            {"kind": kind, "title": title, "about": said, "rows": [row for row in rows if row["kind"] == kind]}
            for kind, title, said in sorted(GROUPS, key=lambda one: interacting and one[0] != "simple")
        ]
        listed.append(
            {
                "metric": metric,
                "label": protocol.measure(metric).label if about else "success",
                "meaning": about["meaning"] if about else "higher is better",
                "detail": bool(about and about["detail"]),
                "primary": metric == first,
                "scale": rows[0]["scale"],
                "interacting": interacting,
                "tests": rows[0]["tests"],
                "noise": _noise(about, rows[0]["scale"]),
                "groups": [group for group in groups if group["rows"]],
                "crossings": _crossings(given.design, given.readings, metric, rows) if about else [],
            }
        )
    return sorted(listed, key=lambda one: not one["primary"])


def _noise(about: Mapping[str, Any] | None, scale: str) -> dict[str, Any] | None:
    """One value's own spread over evaluation seeds, on the scale on which effects are taken; None where unknown."""
    sd = about["noise"]["sd_log" if scale == "ratio" else "value"] if about else None
    return {"sd": sd, "evaluations": about["noise"]["evaluations"]} if about and sd else None


def _row(row: Mapping[Any, Any], about: Mapping[str, Any] | None, question: Question) -> dict[str, Any]:
    """One effect as plain values, with its text."""
    plain = {str(key): _plain(value) for key, value in row.items() if key not in ("study", "asked", "metric")}
    none = 1.0 if plain["scale"] == "ratio" else 0.0
    low, high = plain["low"], plain["high"]
    signed = plain["scale"] == "difference"
    noise = _noise(about, plain["scale"])
    half = plain["noise_gain"] * noise["sd"] if noise and plain["noise_gain"] else None
    return {
        **plain,
        "factors": list(question.factors),
        "levels": list(question.levels),
        "given": list(question.given or ()),
        "by_seed": json.loads(plain["by_seed"] or "{}"),
        "noise_low": None if half is None else -half if signed else math.exp(-half),
        "noise_high": None if half is None else half if signed else math.exp(half),
        "excludes_none": low is not None and high is not None and not low <= none <= high,
        "text": ("" if signed else "× ") + figure(plain["effect"], signed),
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


# ---------------------------------------------------------------------------------------------------------
# Two factors at a time.


def _crossings(
    design: Design, readings: Readings, metric: str, rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """For each pair of factors the means at each pair of levels, seed by seed, and what they say in words."""
    reading = readings.of(metric)
    shown = shower(reading)
    found = []
    for crossing in crossings(design, reading.known):
        across, lines = sorted((0, 1), key=lambda place: -len(crossing.levels[place]))
        points = []
        for pair, weights in crossing.weights.items():
            mean = contrast(reading.cells, weights)
            points.append(
                {
                    "levels": [pair[across], pair[lines]],
                    "value": shown(mean.estimate),
                    "n": mean.n,
                    "by_seed": {str(seed): shown(value) for seed, value in mean.by_seed.items()},
                }
            )
        found.append(
            {
                "factors": [crossing.factors[across], crossing.factors[lines]],
                "levels": [list(crossing.levels[across]), list(crossing.levels[lines])],
                "scale": WORDS[reading.scale],
                "points": [point for point in points if point["value"] is not None],
                "over": list(crossing.over),
                **_in_words(crossing.factors, rows),
            }
        )
    return found


def _in_words(factors: tuple[str, str], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Say what two factors do together, and each at the other's levels."""
    together = [row for row in rows if row["kind"] == "interaction" and set(row["factors"]) == set(factors)]
    simple: dict[str, list[str]] = {}
    for row in rows:
        if row["kind"] == "simple" and {*row["factors"], row["given"][0]} == set(factors):
            of = f"{row['factors'][0]}: {row['levels'][0]} against {row['against']}"
            at = "=".join(row["given"])
            simple.setdefault(of, []).append(f"{_numbers(row)} at {at}")
    return {
        "aliases": sorted({row["aliases"] for row in together if row["aliases"]}),
        "together": [f"{', '.join(row['levels'])}: {_numbers(row)}, n = {row['n']}: {_said(row)}" for row in together],
        "simple": [f"{of}: {', '.join(found)}" for of, found in simple.items()],
    }


def _numbers(row: Mapping[str, Any]) -> str:
    return f"{row['text']} {row['interval']}".strip()


def _said(row: Mapping[str, Any]) -> str:
    if not row["interval"]:
        return "no interval"
    return "they interact" if row["excludes_none"] else "whether they interact is open"
