"""Whether another method would say the same: each main effect and each claim under other estimates, metric by metric.

Nothing here is a headline.  Each check changes one thing: the snapshot, the pairing, the error, the kind of test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from bench import protocol, table
from bench.claims import compared
from bench.contrasts import Contrast, contrast, sign_flip_p, smallest_p
from bench.effects import pooled_contrasts, shower
from bench.questions import questions
from bench.readings import Reading
from bench.render.part import Given, Part
from bench.render.selection import Selection, selected
from bench.verdicts import LEVEL, SIGN, figure, scaled_margin

Bounds = tuple[float | None, float | None, float | None]
"""(estimate, low, high), as shown."""
Judge = Callable[[float | None, float | None], str]
"""(low, high), as shown → `lower`, `higher`, `for`, `against`, `undecided`; "" where there is no interval."""
CHECKS = {
    "selected": "on selected snapshots",
    "unpaired": "unpaired",
    "pooled": "with one pooled error",
    "signs": "by sign flips",
}
_NOTHING: Bounds = (None, None, None)


def part(given: Given) -> Part:
    """Gather `sensitivity` (None where no effect was estimated), and write it as a table."""
    chosen = {name: selected(given.frame, name) for _, name in given.readings.values() if not protocol.is_detail(name)}
    groups = [
        {"metric": metric["name"], "label": metric["label"], "rows": rows}
        for metric in given.content["metrics"]
        if not metric["detail"] and (rows := list(_effects(given, metric["name"], chosen[metric["name"]])))
    ]
    claims = list(_claims(given, chosen))
    if not groups and not claims:
        return Part({"sensitivity": None})
    rows = [*(row for group in groups for row in group["rows"]), *claims]
    said = {
        "groups": groups,
        "claims": claims,
        "selection": {name: one.line for name, one in chosen.items() if one},
        "agreement": _agreement(given, groups),
        "signs": _blind(rows),
    }
    return Part({"sensitivity": said}, files={"tables/sensitivity.csv": table.to_csv(_table(rows))})


def _blind(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Say that sign flips cannot tell anything, where that is so."""
    least = {row["checks"]["signs"]["least"] for row in rows} - {None}
    if not least or min(least) <= LEVEL:
        return None
    return f"Sign flips cannot tell here: with so few seeds their least p is {figure(min(least))}."


def _table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    about = ("kind", "name", "against", "metric", "at", "scale", "n")
    flat = []
    for row in rows:
        bounds = {
            f"{check}_{key}": found[key]
            for check, found in row["checks"].items()
            if check != "signs"
            for key in ("effect", "low", "high")
        }
        signs = row["checks"]["signs"]
        flat.append(
            {key: row[key] for key in about}
            | {key: row[key] for key in ("effect", "low", "high", "conclusion")}
            | bounds
            | {"sign_flip_p": signs["p"], "smallest_sign_flip_p": signs["least"], "says": row["says"]}
        )
    return pd.DataFrame.from_records(flat)


# ---------------------------------------------------------------------------------------------------------
# Effects and claims under each check.


def _effects(given: Given, name: str, chosen: Selection | None) -> Iterator[dict[str, Any]]:
    """The main effects of one value; of a ladder, its steps."""
    estimated = given.effects[given.effects["metric"] == name]
    reading = given.readings.of(name)
    asked: dict[tuple[str, str, str], dict[str, float]] = {
        (one.kind, one.name, one.against): one.weights for one in questions(given.design, reading.known)
    }
    for row in estimated[estimated["kind"].isin(["main", "step"])].to_dict("records"):
        plain = {str(key): None if pd.isna(value) else value for key, value in row.items()}
        weights = asked[str(plain["kind"]), str(plain["effect_of"]), str(plain["against"])]
        checks = {
            "selected": _on_selected(chosen, weights, reading),
            "unpaired": (plain["effect"], plain["unpaired_low"], plain["unpaired_high"]),
            "pooled": (plain["pooled_effect"], plain["pooled_low"], plain["pooled_high"]),
        }
        about = {
            "kind": plain["kind"],
            "metric": name,
            "name": plain["effect_of"],
            "against": plain["against"],
            "at": "the end",
            "n": int(row["n"]),
            "greyed": bool(row["greyed"]),
        }
        headline = (plain["effect"], plain["low"], plain["high"])
        signs = (plain["sign_flip_p"], plain["smallest_sign_flip_p"])
        yield _row(about, reading, headline, checks, signs, _sides(reading))


def _claims(given: Given, chosen: Mapping[str, Selection | None]) -> Iterator[dict[str, Any]]:
    """The claims that are one contrast of numbers; outcomes are compared by counts and have no such checks."""
    for claim, verdict in zip(given.design.study.claims, given.verdicts, strict=False):
        if claim.kind not in ("difference", "equivalence", "interaction"):
            continue
        reading, asked = given.readings.of(claim.measure, claim.at), compared(claim, given.design)
        one = contrast(reading.cells, asked.weights) if asked.weights else None
        if reading.reason or reading.kind == "outcome" or one is None or one.estimate is None:
            continue
        shown = shower(reading)
        unpaired = contrast(reading.cells, asked.weights, paired=False)
        checks = {
            "selected": _on_selected(chosen.get(reading.name), asked.weights, reading)
            if claim.at == "last"
            else _NOTHING,
            "unpaired": (shown(unpaired.estimate), shown(unpaired.low), shown(unpaired.high)),
            "pooled": tuple(map(shown, pooled_contrasts(reading.cells, [asked.weights])[0])),
        }
        about = {
            "kind": "claim",
            "name": claim.says,
            "against": "",
            "at": verdict["at"],
            "n": one.n,
            "verdict": verdict["verdict"],
            "metric": reading.name,
            "label": reading.label,
            "greyed": any("differ in success" in note for note in verdict["notes"]),
        }
        headline = (shown(one.estimate), shown(one.low), shown(one.high))
        yield _row(about, reading, headline, checks, _signs(one), _for_and_against(claim, reading))


def _signs(one: Contrast) -> tuple[float | None, float | None]:
    if one.method != "paired" or one.n < 2:
        return None, None
    return sign_flip_p(list(one.by_seed.values())), smallest_p(one.n)


def _on_selected(chosen: Selection | None, weights: Mapping[str, float], reading: Reading) -> Bounds:
    if chosen is None or not all(cell in chosen.cells for cell in weights):
        return _NOTHING
    found, shown = contrast(chosen.cells, weights), shower(reading)
    return shown(found.estimate), shown(found.low), shown(found.high)


def _sides(reading: Reading) -> Judge:
    """On which side of nothing an interval lies."""
    none = 1.0 if reading.scale == "log" else 0.0

    def judge(low: float | None, high: float | None) -> str:
        if low is None and high is None:
            return ""
        return (
            "lower" if high is not None and high < none else "higher" if low is not None and low > none else "undecided"
        )

    return judge


def _for_and_against(claim: Any, reading: Reading) -> Judge:
    """What an interval says of a claim: all of it on the expected side of the margin, or on the other."""
    shown, margin = shower(reading), scaled_margin(claim, reading)
    below, above = shown(-margin), shown(margin)

    def judge(low: float | None, high: float | None) -> str:
        if low is None and high is None:
            return ""
        beyond = (high is not None and high < below) or (low is not None and low > above)
        if claim.kind == "equivalence":
            within = low is not None and high is not None and low >= below and high <= above
            return "for" if within else "against" if beyond else "undecided"
        if not claim.expect:
            return "for" if beyond else "undecided"
        up = SIGN[claim.expect] > 0
        edge = above if up else below
        over, under = low is not None and low > edge, high is not None and high < edge
        return "for" if (over if up else under) else "against" if (under if up else over) else "undecided"

    return judge


def _row(
    about: Mapping[str, Any],
    reading: Reading,
    headline: Bounds,
    checks: Mapping[str, Bounds],
    signs: tuple[float | None, float | None],
    judge: Judge,
) -> dict[str, Any]:
    """One effect or claim with all its checks, and a sentence on what they change."""
    signed = reading.scale == "raw"
    conclusion = judge(headline[1], headline[2])
    listed: dict[str, dict[str, Any]] = {
        name: {**_shown(bounds, signed), "conclusion": judge(bounds[1], bounds[2])} for name, bounds in checks.items()
    }
    p, least = signs
    sure = None if p is None else p <= LEVEL
    at_estimate = judge(headline[0], headline[0])
    listed["signs"] = {
        "p": p,
        "least": least,
        "text": "" if p is None else figure(p),
        "least_text": "" if least is None else figure(least),
        "conclusion": at_estimate if sure else "undecided" if least is not None and least <= LEVEL else "",
    }
    return {
        **about,
        "scale": "difference" if signed else "ratio",
        **_shown(headline, signed),
        "conclusion": conclusion,
        "checks": listed,
        "changes": sorted(_differing(conclusion, listed)),
        "says": _says(conclusion, listed),
    }


def _shown(bounds: Bounds, signed: bool) -> dict[str, Any]:
    effect, low, high = bounds
    known = low is not None or high is not None
    return {
        "effect": effect,
        "low": low,
        "high": high,
        "text": "" if effect is None else ("" if signed else "× ") + figure(effect, signed),
        "interval": f"[{figure(low, signed)}, {figure(high, signed)}]" if known else "",
    }


def _differing(conclusion: str, checks: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Check → its conclusion, of those that have another one."""
    return {name: found["conclusion"] for name, found in checks.items() if found["conclusion"] not in ("", conclusion)}


def _says(conclusion: str, checks: Mapping[str, Mapping[str, Any]]) -> str:
    """Say in a sentence whether the conclusion changes."""
    if not conclusion:
        return "No interval: there is no conclusion to change."
    others = _differing(conclusion, checks)
    words = "It stays undecided" if conclusion == "undecided" else f"It stays “{conclusion}”"
    if not others:
        return f"{words} in each check."
    return "It changes: " + "; ".join(f"{word} {CHECKS[name]}" for name, word in others.items()) + "."


# ---------------------------------------------------------------------------------------------------------
# Metric by metric.


def _agreement(given: Given, groups: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Each main effect in every metric, side by side; None with fewer than two metrics that have a better direction."""
    headline = {metric["name"]: metric for metric in given.content["metrics"] if not metric["detail"]}
    judged = [name for name, metric in headline.items() if metric["direction"] != "reference"]
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for group in groups:
        for row in group["rows"]:
            toward = _toward(row, headline[group["metric"]]["direction"])
            decided = row["conclusion"] in ("lower", "higher")
            place = found.setdefault((row["name"], row["against"]), {})
            place[group["metric"]] = {"text": row["text"], "toward": toward, "decided": decided}
    if len(judged) < 2 or not found:
        return None
    columns = [{key: metric[key] for key in ("name", "label", "arrow", "meaning")} for metric in headline.values()]
    labels = {column["name"]: column["label"] for column in columns}
    rows = [
        {"name": name, "against": against, "metrics": cells, "says": _agree(cells, labels)}
        for (name, against), cells in found.items()
    ]
    return {"columns": columns, "rows": rows}


def _toward(row: Mapping[str, Any], direction: str) -> str:
    none = 1.0 if row["scale"] == "ratio" else 0.0
    if direction == "reference" or row["effect"] is None or row["effect"] == none:
        return ""
    return "better" if (row["effect"] < none) == (direction == "lower") else "worse"


def _agree(cells: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str]) -> str:
    """Say in a sentence whether the metrics point the same way."""
    ways = {way: [name for name, one in cells.items() if one["toward"] == way] for way in ("better", "worse")}
    sure = {way: ", ".join(labels[name] for name in ways[way] if cells[name]["decided"]) for way in ways}
    n, total = len(ways["better"]), len(ways["better"]) + len(ways["worse"])
    if sure["better"] and sure["worse"]:
        return f"The metrics disagree: better by {sure['better']}, worse by {sure['worse']}."
    decided = next((f"decided by {sure[way]}" for way in ways if sure[way]), "decided by none")
    if total and n in (0, total):
        return f"{'Better' if n else 'Worse'} by {'all ' if total > 1 else ''}{total}; {decided}."
    return (
        f"Better by {n} of {total}, worse by {total - n}; {decided}." if total else "No metric has a better direction."
    )
