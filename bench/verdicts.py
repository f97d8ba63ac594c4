"""Claims, judged: supported, refuted, undecided (with the seeds it would take) or not estimable.

A study's claims are its primary family.  Each is tested in both directions by its own error, the p of the family are
adjusted by Holm, and a claim is decided where its adjusted p is at most 0.05.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from bench import stats
from bench.claims import Sides, compared, members
from bench.contrasts import Contrast, contrast, seed_correlation, seeds_needed, sign_flip_p, tail
from bench.design import Design
from bench.effects import shower, sides, unequal
from bench.readings import NOT_COMPUTED, Reading, Readings, moment
from bench.study_file import Claim

Word = Literal["supported", "refuted", "undecided", "not estimable", "skipped"]
LEVEL = 0.05
MOST_SEEDS = 1000
"""Beyond so many, `seeds` is not told: the claim will not be decided this way."""
SIGN = {"lower": -1, "fewer": -1, "negative": -1, "higher": 1, "more": 1, "positive": 1}


class Evidence(NamedTuple):
    """What the runs say of one claim."""

    p_for: float = 1.0
    """One-sided p of the claim's contrary."""
    p_against: float = 1.0
    """One-sided p of the claim."""
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    """As shown: a ratio, a difference, a share, a mean or a correlation, and its 95 % interval."""
    scale: Literal["ratio", "difference", "share", "mean", "correlation"] = "difference"
    n: int = 0
    method: str = "none"
    distance: float | None = None
    """From the estimate to what it is judged by, and the spread of one seed's: what more seeds are counted from."""
    sd: float | None = None
    reason: str = ""
    """Why nothing can be estimated."""
    notes: tuple[str, ...] = ()
    more: Mapping[str, Any] = {}
    """Further numbers, for report.json."""


def judge(design: Design, readings: Readings) -> list[dict[str, Any]]:
    """Judge each claim of the study, in its order, JSON-able; [] for a study that gives no evidence.

    Claims whose measure is not computed here are `skipped`, and no part of the family.
    """
    if not design.study.evidence:
        return []
    found = [_weigh(claim, design, readings) for claim in design.study.claims]
    family = [place for place, one in enumerate(found) if one.reason != NOT_COMPUTED]
    p = [min(1.0, 2 * min(one.p_for, one.p_against)) for one in found]
    adjusted = dict(zip(family, stats.holm([p[place] for place in family]), strict=True))
    return [
        _verdict(claim, one, p[place], adjusted.get(place), len(family))
        for place, (claim, one) in enumerate(zip(design.study.claims, found, strict=True))
    ]


def _verdict(claim: Claim, one: Evidence, p: float, adjusted: float | None, tests: int) -> dict[str, Any]:
    word: Word
    if one.reason:
        word = "skipped" if one.reason == NOT_COMPUTED else "not estimable"
    elif adjusted is not None and adjusted <= LEVEL:
        word = "supported" if one.p_for < one.p_against else "refuted"
    else:
        word = "undecided"
    seeds = None
    if word == "undecided" and one.distance and one.sd:
        seeds = seeds_needed(one.distance, one.sd, LEVEL / max(tests, 1), most=MOST_SEEDS)
    notes = list(one.notes)
    if word == "undecided" and p <= LEVEL:
        notes.append(f"alone it would be decided (p = {p:.2g}); with {tests} claims in the family it is not")
    if (
        word in ("supported", "refuted", "undecided")
        and one.method not in ("pearson", "barnard", "binomial")
        and one.n < 5
    ):
        notes.append(f"{one.n} seeds describe; they do not decide much")
    estimable = word in ("supported", "refuted", "undecided")
    return {
        "says": claim.says,
        "kind": claim.kind,
        "at": moment(claim.at),
        "verdict": word,
        "why": _why(claim, one, word, seeds),
        "estimate": one.estimate,
        "low": one.low,
        "high": one.high,
        "scale": one.scale,
        "margin": claim.margin,
        "n": one.n,
        "method": one.method,
        "p": p if estimable else None,
        "p_holm": adjusted if estimable else None,
        "tests": tests,
        "seeds": seeds,
        "notes": notes,
        **dict(one.more),
    }


def figure(value: float | None, signed: bool = False) -> str:
    """Write a number of a verdict to three digits; — where there is none."""
    if value is None or math.isnan(value):
        return "—"
    text = f"{value:+.3g}" if signed else f"{value:.3g}"
    return text.replace("-", "−")


def _why(claim: Claim, one: Evidence, word: Word, seeds: int | None) -> str:
    """The numbers behind a verdict, in a line."""
    if one.reason:
        return one.reason
    signed = one.scale in ("difference", "correlation")
    said = {"ratio": "× ", "share": "share ", "correlation": "r = "}.get(one.scale, "") + figure(one.estimate, signed)
    if one.low is not None or one.high is not None:
        said += f" [{figure(one.low, signed)}, {figure(one.high, signed)}]"
    said += f", n = {one.n}"
    if claim.margin is not None:
        said += f", margin {figure(claim.margin)}"
    if word == "undecided" and one.distance and one.sd:
        said += f"; about {seeds} seeds would decide it" if seeds else f"; more than {MOST_SEEDS} seeds would decide it"
    return said


# ---------------------------------------------------------------------------------------------------------
# Each kind of claim.


def _weigh(claim: Claim, design: Design, readings: Readings) -> Evidence:
    if claim.kind == "correlation":
        return _correlation(claim, design, readings)
    reading = readings.of(claim.measure, claim.at)
    if reading.reason:
        return Evidence(reason=reading.reason, more={"measure": claim.measure})
    found = _KINDS[claim.kind](claim, design, readings, reading)
    about = {"measure": claim.measure, "metric": reading.name, "label": reading.label, "real": reading.real}
    return found._replace(more={**about, **found.more})


def scaled_margin(claim: Claim, reading: Reading) -> float:
    """The margin on the measure's scale; 0 where none is stated."""
    if claim.margin is None:
        return 0.0
    return abs(math.log(claim.margin)) if reading.scale == "log" else claim.margin


def _difference(claim: Any, design: Design, readings: Readings, reading: Reading) -> Evidence:
    """The effect is on the expected side of the margin, or of nothing."""
    asked = compared(claim, design)
    if not asked.weights:
        return Evidence(reason=asked.reason)
    sign, bound = SIGN[claim.expect], scaled_margin(claim, reading)
    if reading.kind == "outcome":
        return _rates(reading, asked, lambda tails: _one_sided(tails(sign * bound), sign))
    one = contrast(reading.cells, asked.weights)
    p_for, p_against = _one_sided(tail(one, sign * bound), sign)
    distance = None if one.estimate is None else abs(one.estimate - sign * bound)
    return _of_contrast(one, reading, asked, readings, p_for, p_against, distance)


def _one_sided(tails: tuple[float, float], sign: int) -> tuple[float, float]:
    """Order (p not below, p not above) as (for, against) an effect that is expected on the side of `sign`.

    `tails[1]` is small where the effect is above the bound: p of “not above”.
    """
    return (tails[1], tails[0]) if sign > 0 else (tails[0], tails[1])


def _within(below: tuple[float, float], above: tuple[float, float]) -> tuple[float, float]:
    """Two one-sided tests: (p for, p against) an effect between two bounds, from the tails at each."""
    return max(below[1], above[0]), min(below[0], above[1])


def _equivalence(claim: Any, design: Design, readings: Readings, reading: Reading) -> Evidence:
    """The effect lies between −margin and margin (Schuirmann 1987, each side at 2.5 %)."""
    asked = compared(claim, design)
    if not asked.weights:
        return Evidence(reason=asked.reason)
    if claim.margin is None:
        return Evidence(reason="an equivalence without a margin cannot be judged: say how far apart is still alike")
    bound = scaled_margin(claim, reading)
    if reading.kind == "outcome":
        return _rates(reading, asked, lambda tails: _within(tails(-bound), tails(bound)))
    one = contrast(reading.cells, asked.weights)
    p_for, p_against = _within(tail(one, -bound), tail(one, bound))
    distance = None if one.estimate is None else abs(bound - abs(one.estimate))
    return _of_contrast(one, reading, asked, readings, p_for, p_against, distance)


def _interaction(claim: Any, design: Design, readings: Readings, reading: Reading) -> Evidence:
    """The effect of one factor depends on another: the difference of differences is not nothing, or has a sign."""
    asked = compared(claim, design)
    if not asked.weights:
        return Evidence(reason=asked.reason)
    one, bound = contrast(reading.cells, asked.weights), scaled_margin(claim, reading)
    if claim.expect:
        sign = SIGN[claim.expect]
        p_for, p_against = _one_sided(tail(one, sign * bound), sign)
        distance = None if one.estimate is None else abs(one.estimate - sign * bound)
    else:
        p_against, p_for = _within(tail(one, -bound), tail(one, bound))
        p_against = p_against if bound else 1.0
        distance = None if one.estimate is None else abs(abs(one.estimate) - bound)
    return _of_contrast(one, reading, asked, readings, p_for, p_against, distance)


def _order(claim: Any, design: Design, readings: Readings, reading: Reading) -> Evidence:
    """Each is on the expected side of the next: for, all of the steps must be; against, one of them is not."""
    steps = []
    for left, right in zip(claim.cells, claim.cells[1:], strict=False):
        step = claim.model_copy(update={"left": left, "right": right})
        found = _difference(step, design, readings, reading)
        if found.reason:
            return found
        steps.append(found)
    weakest = max(steps, key=lambda one: one.p_for)
    notes = tuple(dict.fromkeys(note for one in steps for note in one.notes))
    listed = [{"estimate": one.estimate, "low": one.low, "high": one.high, "n": one.n} for one in steps]
    said = ("the step that says least for it is shown", *notes)
    p_against = min(1.0, len(steps) * min(one.p_against for one in steps))
    return weakest._replace(p_against=p_against, notes=said, more={**weakest.more, "steps": listed})


def _threshold(claim: Any, design: Design, readings: Readings, reading: Reading) -> Evidence:
    """The mean of the cells is on the expected side of a value, by the margin where one is stated."""
    names = members(claim.cells, design)
    if not names:
        return Evidence(reason="no such cell was run")
    sign = SIGN[claim.expect]
    if reading.kind == "outcome":
        return _share_of(claim, reading, names, sign)
    if reading.scale == "log" and claim.value <= 0:
        return Evidence(reason=f"{claim.value:g} has no logarithm, and this measure is judged by its logarithm")
    value = math.log(claim.value) if reading.scale == "log" else claim.value
    one = contrast(reading.cells, {name: 1 / len(names) for name in names})
    edge = value + sign * scaled_margin(claim, reading)
    p_for, p_against = _one_sided(tail(one, edge), sign)
    distance = None if one.estimate is None else abs(one.estimate - edge)
    asked = Sides({name: 1 / len(names) for name in names})
    found = _of_contrast(one, reading, asked, readings, p_for, p_against, distance)
    return found._replace(scale="mean", more={**found.more, "value": claim.value})


def _share_of(claim: Any, reading: Reading, names: Sequence[str], sign: int) -> Evidence:
    values = [value for name in names for value in reading.cells[name].values()]
    k, n = round(sum(values)), len(values)
    bounds = stats.success_interval(k, n)
    edge = claim.value + sign * (claim.margin or 0.0)
    if bounds is None or not 0 <= edge <= 1:
        return Evidence(reason="no run has an outcome" if bounds is None else f"{edge:g} is no share of runs")
    p_below, p_above = stats.share_tails(k, n, edge)
    p_for, p_against = _one_sided((p_below, p_above), sign)
    more = {"value": claim.value, "left_runs": [k, n]}
    return Evidence(p_for, p_against, k / n, *bounds, "share", n, "binomial", more=more)


def _along(claim: Any, design: Design, readings: Readings) -> Evidence:
    """Spearman's rho over the snapshots of each run; its mean over the cells, one value a seed."""
    reading = readings.ranked_together(claim.x, claim.y)
    about = {"measure": reading.measure, "metric": reading.name, "label": reading.label}
    names = members(claim.cells, design) if claim.cells else [cell.name for cell in design.cells]
    if reading.reason or not names:
        return Evidence(reason=reading.reason or "no such cell was run", more=about)
    sign, asked = SIGN[claim.expect], Sides({name: 1 / len(names) for name in names})
    one = contrast(reading.cells, asked.weights)
    edge = sign * (claim.margin or 0.0)
    distance = None if one.estimate is None else abs(one.estimate - edge)
    found = _of_contrast(one, reading, asked, readings, *_one_sided(tail(one, edge), sign), distance)
    return found._replace(scale="correlation", more={**found.more, **about})


def _correlation(claim: Any, design: Design, readings: Readings) -> Evidence:
    """Pearson's r over runs on the measures' scales, with Fisher's interval; each run counts as one."""
    if claim.over == "snapshots":
        return _along(claim, design, readings)
    x, y = readings.of(claim.x, claim.at), readings.of(claim.y, claim.at)
    about = {"measure": f"{claim.x}, {claim.y}", "metric": f"{x.name}, {y.name}", "label": f"{y.label} with {x.label}"}
    reason = x.reason or y.reason
    names = members(claim.cells, design) if claim.cells else [cell.name for cell in design.cells]
    pairs = [
        (x.cells[name][seed], y.cells[name][seed])
        for name in names
        if not reason
        for seed in sorted(x.cells[name].keys() & y.cells[name].keys())
    ]
    found = stats.correlation(pairs)
    if reason or found is None:
        why = f"{len(pairs)} runs have both, and they must differ: four at least are due"
        return Evidence(reason=reason or why, more=about)
    p_for, p_against = _one_sided((found.p_below, found.p_above), SIGN[claim.expect])
    notes = ("over runs of several cells: what differs between cells counts",) if len(names) > 1 else ()
    more = {**about, "pairs": [list(pair) for pair in pairs]}
    return Evidence(
        p_for, p_against, found.r, found.low, found.high, "correlation", len(pairs), "pearson", notes=notes, more=more
    )


_KINDS: dict[str, Callable[[Any, Design, Readings, Reading], Evidence]] = {
    "difference": _difference,
    "equivalence": _equivalence,
    "interaction": _interaction,
    "order": _order,
    "threshold": _threshold,
}


# ---------------------------------------------------------------------------------------------------------
# From a contrast to evidence.


def _of_contrast(
    one: Contrast,
    reading: Reading,
    asked: Sides,
    readings: Readings,
    p_for: float,
    p_against: float,
    distance: float | None,
) -> Evidence:
    """Dress a contrast for showing; nothing is estimable without an interval."""
    success = readings.success()
    shown = shower(reading)
    left, right = sides(asked.weights)
    sd = one.se * math.sqrt(one.n) if one.se is not None else None
    more = {
        "sd": sd,
        "df": one.df,
        "rho": seed_correlation(reading.cells, asked.weights),
        "sign_flip_p": sign_flip_p(list(one.by_seed.values())) if one.method == "paired" and one.n > 1 else None,
        "by_seed": {str(seed): shown(value) for seed, value in one.by_seed.items()},
        "left_runs": [sum(success[cell][place] for cell in left) for place in (0, 1)],
        "right_runs": [sum(success[cell][place] for cell in right) for place in (0, 1)],
        "cells": {"left": left, "right": right},
        "aliases": list(asked.aliases),
    }
    notes = list(asked.notes)
    if unequal(asked.weights, success):
        notes.append("survivors only: the cells differ in success")
    if one.method == "satterthwaite" and one.n > 1:
        notes.append("not paired: cells have different seeds")
    scale: Literal["ratio", "difference"] = "ratio" if reading.scale == "log" else "difference"
    found = Evidence(
        p_for,
        p_against,
        shown(one.estimate),
        shown(one.low),
        shown(one.high),
        scale,
        one.n,
        one.method,
        distance,
        sd,
        notes=tuple(notes),
        more=more,
    )
    if one.estimate is None:
        return found._replace(reason="a compared cell has no value")
    if one.se is None:
        why = "one seed: nothing is known of the spread" if one.n < 2 else "every seed gives the same number"
        return found._replace(reason=f"{why} ({figure(found.estimate)})")
    return found


def _rates(
    reading: Reading, asked: Sides, judged: Callable[[Callable[[float], tuple[float, float]]], tuple[float, float]]
) -> Evidence:
    """Compare shares of runs; `judged` turns the tails at a bound into (p for, p against)."""
    values = [[v for cell in side for v in reading.cells[cell].values()] for side in sides(asked.weights)]
    counts = [number for side in values for number in (round(sum(side)), len(side))]
    found = stats.compare_rates(*counts)
    if found is None:
        return Evidence(reason="a compared side has no run with an outcome")
    p_for, p_against = judged(lambda bound: stats.rate_tails(counts[0], counts[1], counts[2], counts[3], bound))
    more = {"left_runs": counts[:2], "right_runs": counts[2:], "aliases": list(asked.aliases)}
    said = f"{counts[0]} of {counts[1]} runs against {counts[2]} of {counts[3]}"
    return Evidence(
        p_for,
        p_against,
        found.estimate,
        found.low,
        found.high,
        n=min(counts[1], counts[3]),
        method="barnard",
        notes=(said, *asked.notes),
        more=more,
    )
